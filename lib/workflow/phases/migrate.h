// migrate: copy, follow, ready; then, when asked, the switch by strategy. Run again, it resumes or
// says that the goal holds.
#pragma once

#include "workflow/phase_context.h"

namespace exodus {

enum class MigrateGoal {
    ready,     ///< default, --until ready
    copied,    ///< --until copied
    switched,  ///< --switch (and everything before it)
    canary,    ///< --canary-reads P
    activate,  ///< --activate SIDE (blue-green)
    pause,     ///< --pause: the copy rests; the stream goes on
    resume,    ///< --resume: the copy goes on, under the migrate that waits or the next one
    throttle,  ///< --throttle KEY=V alone: sets it and ends
};

struct MigrateOptions {
    MigrateGoal goal = MigrateGoal::ready;
    std::optional<Strategy> strategy;  ///< none: settings.migrate.strategy
    double canary_percent = 0;         ///< with MigrateGoal::canary; 0 takes all reads back
    Side activate = Side::target;
    std::optional<int64_t> hold_timeout_ms;
    std::optional<int64_t> max_lag_ms;
    std::map<std::string, std::string> throttle;
};

PhaseOutcome run_migrate(PhaseContext& context, const MigrateOptions& options);

}  // namespace exodus
