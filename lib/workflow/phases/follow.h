// Waiting for the data movement, as compare, test, migrate, rollback and commit do it: with
// progress, the reason of every wait, the flags of the migration row, and an end when an operator
// is needed.
#pragma once

#include "workflow/runner.h"

namespace exodus {

/// Status of a direction. An interlay that does not answer is asked again for
/// kInterlaySilent_ms_max, then `unreachable`.
Result<MovementStatus> movement_status(PhaseRun& run, Direction direction);

/// Waits until the direction follows and nothing is left to fill or repair. Error `safety` when it
/// is blocked or failed.
Status wait_following(PhaseRun& run, Direction direction);

struct LagWindow {
    int64_t lag_ms_max = 0;  ///< over the window
    int64_t for_ms = 0;
    MovementStatus last;
};
/// Waits until the lag stayed at or below `lag_ms` for `for_ms` without a break. Error `timeout`
/// when for `patience` nothing was filled and the lag reached no new low; none: waits as long as it
/// takes.
Result<LagWindow> wait_lag(PhaseRun& run, Direction direction, int64_t lag_ms, int64_t for_ms,
                           std::optional<milliseconds> patience = std::nullopt);

/// The stream that feeds the side which shall gain the authority.
Direction feeding(Side gaining);

/// Waits for the lag at which the authority may go to `gaining` (cutover.max_lag). Error
/// `unreachable` when that side takes nothing for PhaseContext::side_away.
Result<LagWindow> wait_lag_of_hand_over(PhaseRun& run, Side gaining);

/// Waits until a direction stands by and is proven. For the way back before a switch.
Status prove_standby(PhaseRun& run, Direction direction);

/// Stops a direction for good: removes everything that exodus keeps for it. The row must not want
/// it any more.
Status forget(PhaseRun& run, Direction direction);

/// What exodus left on a side; lines for the outcome. An unreachable side is a line too.
std::vector<std::string> residue_lines(PhaseRun& run, Side side);

}  // namespace exodus
