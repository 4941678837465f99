// exodus events: what happened, as rows with growing ids; --follow waits for more.
#include <fmt/format.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "cli/cli.h"
#include "cli/event_json.h"
#include "cli/signals.h"
#include "cli/workspace.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

int show(Cli& cli, bool follow, int64_t since, std::size_t limit) {
    int exit_code = kDone;
    auto space = Workspace::open(cli, kReading, exit_code);
    if (!space) return exit_code;
    std::optional<Signals> signals;
    if (follow) signals.emplace([](int) {});
    std::optional<Deadline> end;
    if (cli.globals.timeout_ms > 0) end = Deadline::in(milliseconds(cli.globals.timeout_ms));
    uint64_t shown = 0;
    for (;;) {
        auto events = space->store->events_since(space->row.id, since, limits::kEventsPage_max);
        if (!events) return cli.out.error("events", events.error());
        for (const EventRow& event : *events) {
            since = event.id;
            cli.out.object(event_json(event));
            std::string severity = event.severity;
            if (severity == "critical") severity = cli.out.bad(severity);
            if (severity == "warn") severity = cli.out.warn(severity);
            cli.out.line(fmt::format("{:>6}  {}  {:<8}  {:<24}  {}", event.id, iso8601(event.at_ms),
                                     severity, event.code, printable(event.text)));
            if (++shown == limit && !follow) break;
        }
        std::fflush(stdout);
        if (!follow && (events->size() < limits::kEventsPage_max || shown >= limit)) break;
        if (follow && !wait_unless_stopped(signals->token(), milliseconds(limits::kEventsPoll_ms)))
            break;
        if (end && end->passed()) break;
    }
    if (shown == 0) cli.out.note(Severity::info, "no events");
    return cli.out.result("events", kDone, {{"count", shown}, {"last_id", since}});
}

}  // namespace

void add_events(Cli& cli) {
    struct Flags {
        bool follow = false;
        int64_t since = 0;
        std::size_t limit = 1000;
    };
    auto flags = std::make_shared<Flags>();
    CLI::App* sub = cli.add("events", "what happened, oldest first", [&cli, flags] {
        return show(cli, flags->follow, flags->since, flags->limit);
    });
    sub->add_flag("-f,--follow", flags->follow, "wait for more until interrupted");
    sub->add_option("--since", flags->since, "only events after this id")->type_name("ID");
    sub->add_option("--limit", flags->limit, "at most this many (default: 1000)")
        ->check(CLI::PositiveNumber)
        ->type_name("N");
}

}  // namespace exodus::cli
