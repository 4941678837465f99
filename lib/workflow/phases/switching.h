// The switch of the authority as migrate, commit, rollback and the rehearsals of test use it:
// readiness measured anew, gate, confirmation, cutover, and the words for how it ended.
#pragma once

#include "workflow/runner.h"

namespace exodus {

/// Measures kReadiness for a cutover and stores it: lag, repairs, the way back (stands by and
/// proven), sessions, capacity. `gaining`: the side that would get the authority. Waits for the lag
/// first.
Status measure_readiness(PhaseRun& run, Side gaining);

/// Switch with gate G6, approval and typed confirmation. An abort is error `safety`; the authority
/// is unchanged then.
Status switch_to_target(PhaseRun& run, const std::string& strategy);

/// The cutover with the sides exchanged, from `switched`; ends in `success` (rolled_back, or ready
/// for a toggle).
Status switch_to_source(PhaseRun& run, MigrationState success, const std::string& action);

/// Numbers of a cutover into the outcome; the error of an aborted one.
Status judge_cutover(PhaseRun& run, const CutoverReport& report, const std::string& action);

}  // namespace exodus
