// commit: the target is authoritative for good. At `ready` it performs the switch first. Waits for
// the watch window, verifies a last time, closes the reverse stream and removes what exodus left on
// both sides.
#pragma once

#include "base/limits.h"
#include "workflow/phase_context.h"

namespace exodus {

struct CommitOptions {
    std::optional<int64_t> watch_ms;  ///< none: settings.cutover.watch_ms
    bool keep_reverse = false;  ///< the reverse stream goes on feeding the source after the commit
};

PhaseOutcome run_commit(PhaseContext& context, const CommitOptions& options);

}  // namespace exodus
