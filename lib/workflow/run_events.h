// The events of a phase's run: that it began, and how it ended. Pure functions; the store makes
// them durable together with the run and the command log, so that neither is there without the
// other.
#pragma once

#include "store/records.h"
#include "workflow/phase_context.h"

namespace exodus {

/// `command` as it was typed.
NewEvent run_began(const PhaseContext& context, const PhaseOutcome& outcome,
                   const std::string& command, int attempt);
/// `how`: "done", "stopped", "failed", or "refused" when the run did not begin.
NewEvent run_ended(const PhaseContext& context, const PhaseOutcome& outcome, const char* how);
/// The text about one whose process ended without a word.
std::string run_died(const RunRow& run);

}  // namespace exodus
