// How a phase ended, for people and for --json. The same shape for all phase commands, approve and
// deny.
#pragma once

#include "cli/cli.h"
#include "workflow/phase_context.h"

namespace exodus::cli {

/// Prints the outcome and returns `exit_code` (the outcome's own, or that of a signal).
int report_outcome(Cli& cli, const PhaseOutcome& outcome, int exit_code);

/// The next command, and what else is allowed, on two lines.
void print_next(Output& out, const std::vector<std::string>& next);

nlohmann::json to_json(const GateReport& report);

}  // namespace exodus::cli
