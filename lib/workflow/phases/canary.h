// Read steps of the canary strategy: a share of sessions reads from the target for an observation
// window; a breach of the limits takes all reads back by itself. Writes stay where they are.
#pragma once

#include "workflow/runner.h"

namespace exodus {

/// Moves reads in one step to `percent` and observes it. Error `safety` after a breach: all reads
/// are at the source then.
Status canary_step(PhaseRun& run, double percent);

/// All steps of the settings that lie above the present share.
Status canary_steps(PhaseRun& run);

}  // namespace exodus
