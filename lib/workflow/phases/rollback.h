// rollback: all traffic to the source, nothing lost. Before the switch it stops the movement and
// removes what exodus left on the target (`aborted`); after it, it is the cutover with the sides
// exchanged (`rolled_back`).
#pragma once

#include "workflow/phase_context.h"

namespace exodus {

struct RollbackOptions {
    std::optional<int64_t> hold_timeout_ms;
    /// After the rollback of a switch: both movements end, nothing of exodus stays (`aborted`).
    bool give_up = false;
};

PhaseOutcome run_rollback(PhaseContext& context, const RollbackOptions& options);

}  // namespace exodus
