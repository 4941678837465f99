// What --dry-run tells: the steps of a phase, and the gates on its way as far as the state file can
// judge them. Writes nothing and asks no server.
#pragma once

#include <string>
#include <vector>

#include "workflow/runner.h"

namespace exodus {

/// Puts the plan of `frame` and the verdicts of its gates into the outcome.
Status tell_plan(PhaseRun& run, const PhaseFrame& frame);

/// The steps C0 to C8 of a cutover in words: "C1 hold writes, for at most 3 s; reads go on".
std::vector<std::string> cutover_plan(Side gaining, int64_t hold_timeout_ms);

}  // namespace exodus
