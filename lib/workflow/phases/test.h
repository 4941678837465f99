// test: smoke requests, replay of a captured workload, rehearsed switch and rollback under the
// current load, crash drills, a full verify after them. Ends in `tested` when gate G4 holds.
#pragma once

#include "workflow/phase_context.h"

namespace exodus {

struct TestOptions {
    std::string smoke_file;   ///< format: workflow/request_file.h; empty: none
    std::string replay_file;  ///< the same format, or what analyze --capture wrote; empty: none
    double replay_speed = 1;  ///< 2: twice as fast as captured; 0: as fast as it goes
    std::string target_namespace;  ///< where replayed writes go on the target; empty: only reads
                                   ///< are replayed
    bool drill_switch = true;      ///< --drill switch,rollback,crash
    bool drill_rollback = true;
    bool drill_crash = true;
    std::optional<int64_t> hold_timeout_ms;
};

PhaseOutcome run_test(PhaseContext& context, const TestOptions& options);

}  // namespace exodus
