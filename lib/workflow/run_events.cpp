#include "workflow/run_events.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "core/json_text.h"

namespace exodus {

using nlohmann::json;

NewEvent run_began(const PhaseContext& context, const PhaseOutcome& outcome,
                   const std::string& command, int attempt) {
    const Owner& owner = context.owner;
    return NewEvent{"info", "phase.began",
                    fmt::format("{} began: exodus {}, by {} ({}){}{}", outcome.phase, command,
                                owner_name(owner), owner.channel,
                                context.reason.empty() ? "" : ": ", context.reason),
                    json_text({{"phase", outcome.phase},
                               {"command", command},
                               {"attempt", attempt},
                               {"by", owner_name(owner)},
                               {"via", owner.channel},
                               {"reason", context.reason}})};
}

NewEvent run_ended(const PhaseContext& context, const PhaseOutcome& outcome, const char* how) {
    // A stop was asked for, and an answer was given: neither is anybody's trouble.
    const bool fine = outcome.exit_code == 0 || std::string_view(how) == "stopped";
    return NewEvent{fine ? "info" : "warn", "phase.ended",
                    fmt::format("{} {} (exit code {}), by {}: {}", outcome.phase, how,
                                outcome.exit_code, owner_name(context.owner), outcome.headline),
                    json_text({{"phase", outcome.phase},
                               {"verdict", how},
                               {"exit_code", outcome.exit_code},
                               {"by", owner_name(context.owner)},
                               {"state", to_string(outcome.state)},
                               {"authority", to_string(outcome.authority)},
                               {"epoch", outcome.epoch}})};
}

std::string run_died(const RunRow& run) {
    return fmt::format("{} of {}, by {}, did not end: its process is gone", run.phase,
                       iso8601(run.started_ms), owner_name(run.owner));
}

}  // namespace exodus
