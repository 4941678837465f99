// exodus interlay: the worker in the foreground. Composes the proxy, the mover and the control
// socket; SIGTERM drains, a second one ends now. It never decides anything: the state file says
// what it does.
#include <atomic>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/interlay_access.h"
#include "cli/interlay_events.h"
#include "cli/signals.h"
#include "cli/telemetry.h"
#include "cli/workspace.h"
#include "interlay/interlay.h"
#include "net/control_client.h"
#include "net/control_server.h"
#include "workflow/exit_codes.h"
#include "workflow/mover.h"

namespace exodus::cli {

namespace {

constexpr const char* kNobodyThere = "nobody runs there: start without --takeover";

struct InterlayFlags {
    bool takeover = false;
};

/// Everything the process consists of, in the order of construction; destroyed in the opposite
/// order.
struct Parts {
    std::unique_ptr<StateSource> interlay_state;
    std::unique_ptr<StateSource> mover_state;
    std::unique_ptr<WorkerRegistry> registry;
    std::unique_ptr<DivergenceLog> divergences;
    std::unique_ptr<EventQueue> events;
    std::unique_ptr<TrafficShared> traffic;
    std::unique_ptr<Mover> mover;
    std::unique_ptr<Interlay> interlay;
    std::unique_ptr<TelemetrySource> telemetry_source;
    std::unique_ptr<TelemetryServer> telemetry;  ///< null: off
    std::jthread watch;                          ///< instead of it, for the events alone
    std::unique_ptr<ControlServer> control;
};

Status open_state(const Settings& settings, const MigrationRow& row, Parts& parts) {
    auto first = open_state_source(settings.state_path, settings.migration);
    if (!first) return tl::unexpected(std::move(first.error()));
    auto second = open_state_source(settings.state_path, settings.migration);
    if (!second) return tl::unexpected(std::move(second.error()));
    auto registry = open_worker_registry(settings.state_path, settings.migration);
    if (!registry) return tl::unexpected(std::move(registry.error()));
    auto divergences = open_divergence_log(settings.state_path, settings.migration);
    if (!divergences) return tl::unexpected(std::move(divergences.error()));
    auto events = EventQueue::open(settings.state_path, row.id);
    if (!events) return tl::unexpected(std::move(events.error()));
    parts.events = std::move(*events);
    parts.interlay_state = std::move(*first);
    parts.mover_state = std::move(*second);
    parts.registry = std::move(*registry);
    parts.divergences = std::move(*divergences);
    return {};
}

/// The handlers of both halves, and the few that concern the process as a whole.
ControlHandlers compose_handlers(Parts& parts) {
    ControlHandlers handlers = parts.interlay->handlers();
    for (auto& [name, handler] : parts.mover->handlers()) handlers[name] = std::move(handler);
    handlers[control_op::kLookNow] = [look = handlers[control_op::kLookNow],
                                      mover = parts.mover.get()](const nlohmann::json& request) {
        mover->look_now();
        return look(request);
    };
    handlers["reload"] = [interlay = parts.interlay.get(), look = handlers[control_op::kLookNow]](
                             const nlohmann::json&) -> Result<nlohmann::json> {
        EXODUS_TRY(interlay->reload_tls());
        return look({{"op", control_op::kLookNow}});
    };
    handlers[control_op::kKnob] = [knob = handlers[control_op::kKnob]](
                                      const nlohmann::json& request) -> Result<nlohmann::json> {
        if (request.value("name", "") == "log-level") {
            EXODUS_TRY(set_log_level(request.value("value", "")));
            return nlohmann::json::object();
        }
        return knob(request);
    };
    // A successor moves the data from here on: two movers at once would be two writers.
    handlers[control_op::kDrain] = [drain = handlers[control_op::kDrain],
                                    &parts](const nlohmann::json& request) {
        if (request.value("successor", false)) {
            parts.mover->stop();
            if (parts.telemetry) parts.telemetry->close();  // the successor takes its port
            parts.watch.request_stop();
        }
        return drain(request);
    };
    record_requests(handlers, *parts.events);
    return handlers;
}

void announce(Cli& cli, const Workspace& space, const Parts& parts, const MigrationRow& row) {
    const Side authority = row.route.authority;
    const std::string control = parts.control->path();
    cli.out.line(
        fmt::format("listening on {}",
                    cli.out.bold(fmt::format("{}", fmt::join(parts.interlay->addresses(), ", ")))));
    cli.out.line(fmt::format(
        "  authoritative  {} {}   (state {}, epoch {})", cli.out.bold(to_string(authority)),
        space.settings.endpoint(authority).address(), to_string(row.state), row.route.epoch));
    cli.out.line(fmt::format("  source         {}", space.settings.source.address()));
    cli.out.line(fmt::format("  target         {}", space.settings.target.address()));
    cli.out.line(fmt::format("  control        {}   pid {}", control, ::getpid()));
    cli.out.line(
        fmt::format("  SIGTERM lets clients finish (at most {}), a second one ends at once",
                    human_duration(space.settings.interlay.drain_timeout_ms)));
    const std::string telemetry = parts.telemetry ? parts.telemetry->url() : "";
    if (!telemetry.empty()) cli.out.line("  dashboard      " + telemetry);
    std::fflush(stdout);
    cli.out.object({{"type", "listening"},
                    {"addresses", parts.interlay->addresses()},
                    {"authority", to_string(authority)},
                    {"state", to_string(row.state)},
                    {"epoch", row.route.epoch},
                    {"control", control},
                    {"telemetry", telemetry},
                    {"pid", ::getpid()}});
}

/// Asks the interlay that runs for its sockets, so that no client is refused while one process
/// replaces the other.
Result<std::vector<FileDescriptor>> take_sockets(const std::string& path) {
    auto sockets = take_listeners(path, milliseconds(limits::kControlTimeout_ms));
    if (sockets) return sockets;
    Error error = std::move(sockets.error());
    if (error.code == ErrorCode::unreachable) error.hint = kNobodyThere;
    return fail(std::move(error), "takeover");
}

Result<nlohmann::json> hello_of(ControlPort& port) {
    return port.call({{"op", control_op::kHello}}, milliseconds(limits::kControlTimeout_ms));
}

Error runs_already(const nlohmann::json& hello, const std::string& path) {
    return Error{
        ErrorCode::locked,
        fmt::format("an interlay of this migration runs already (pid {}, {})",
                    hello.value("pid", 0), path),
        "leave it, end it with exodus ctl drain, or replace it with exodus interlay --takeover"};
}

/// --dry-run: asks the interlay that runs who it is, and nothing else of anybody.
int rehearse(Cli& cli, const InterlayFlags& flags, const Settings& settings, ControlPort& port) {
    const auto there = hello_of(port);
    if (there && !flags.takeover)
        return cli.out.error("interlay", runs_already(*there, control_path(settings)));
    if (!there && flags.takeover) {
        Error error = there.error();
        if (error.code == ErrorCode::unreachable) error.hint = kNobodyThere;
        return cli.out.error("interlay", error);
    }
    const std::string addresses = fmt::format("{}", fmt::join(settings.interlay.listen, ", "));
    cli.out.line(flags.takeover
                     ? fmt::format("dry run: would take over from pid {} and listen on {}",
                                   there->value("pid", 0), addresses)
                     : "dry run: would listen on " + addresses);
    return cli.out.result("interlay", kDone, {{"headline", "dry run: nothing was started"}});
}

int serve(Cli& cli, const InterlayFlags& flags) {
    Signals signals([&cli](int) {
        cli.out.note(Severity::info, "draining: sessions end at their next request boundary");
    });
    if (cli.globals.verbose == 0 && !cli.globals.quiet) {
        if (auto status = set_log_level("info"); !status)
            return cli.out.error("interlay", status.error());
    }
    int exit_code = kDone;
    WorkspaceOptions opening;
    if (cli.globals.dry_run) opening.mode = OpenMode::read_only;
    auto space = Workspace::open(cli, opening, exit_code);
    if (!space) return exit_code;
    const Settings& settings = space->settings;
    const std::string path = control_path(settings);
    const auto failed = [&](const Error& error) {
        return cli.out.error("interlay", error, "no application was accepted; nothing was changed");
    };
    const auto predecessor = make_control_client(path);
    if (cli.globals.dry_run) return rehearse(cli, flags, settings, *predecessor);
    std::vector<FileDescriptor> taken;
    if (flags.takeover) {
        auto sockets = take_sockets(path);
        if (!sockets) return failed(sockets.error());
        taken = std::move(*sockets);
    } else if (const auto there = hello_of(*predecessor)) {
        return failed(runs_already(*there, path));
    }
    Parts parts;
    const auto take_port = [&]() -> Status {
        auto telemetry = bind_telemetry(settings);
        if (!telemetry) return tl::unexpected<Error>(std::move(telemetry).error());
        parts.telemetry = std::move(*telemetry);
        return {};
    };
    // A predecessor has the port until it is asked to end.
    if (!flags.takeover) {
        if (auto status = take_port(); !status) return failed(status.error());
    }
    if (auto status = open_state(settings, space->row, parts); !status)
        return failed(status.error());
    const FamilyContext context{settings, *space->dialer, *space->journal, space->directory};
    parts.traffic = space->family->make_traffic(context);
    parts.mover = std::make_unique<Mover>(*space->family, context, *parts.mover_state);
    auto interlay = Interlay::start({.traffic = *parts.traffic,
                                     .state = *parts.interlay_state,
                                     .registry = *parts.registry,
                                     .divergences = *parts.divergences,
                                     .settings = settings.interlay,
                                     .source = settings.source,
                                     .target = settings.target,
                                     .following = parts.mover->following(Direction::forward),
                                     .version = EXODUS_VERSION,
                                     .control_path = path},
                                    std::move(taken));
    if (!interlay) return failed(interlay.error());
    parts.interlay = std::move(*interlay);
    signals.on_second([&parts] {
        parts.interlay->stop_now();
        parts.interlay->wait_for(milliseconds(limits::kInterlayEnd_ms));
    });
    if (flags.takeover) {
        // The predecessor accepts no more and moves no more data when it has answered.
        const auto drained = predecessor->call({{"op", control_op::kDrain}, {"successor", true}},
                                               milliseconds(limits::kInterlayStart_ms));
        if (!drained) return failed(drained.error());
        // Applications are served by now: what only watches must not end that.
        if (auto status = take_port(); !status)
            cli.out.note(Severity::warn, status.error().message + "; " + status.error().hint);
    }
    parts.telemetry_source = make_telemetry_source(cli, *space, compose_handlers(parts),
                                                   {.divergences = *parts.divergences,
                                                    .events = *parts.events,
                                                    .probes = parts.telemetry != nullptr});
    // Before the control socket, on which a successor ends it.
    if (!parts.telemetry) parts.watch = watch_status(*parts.telemetry_source);
    auto control =
        ControlServer::start({.path = path,
                              .handlers = compose_handlers(parts),
                              .listeners = [&parts] { return parts.interlay->listeners(); },
                              .replace = flags.takeover});
    if (!control) return failed(control.error());
    parts.control = std::move(*control);
    if (auto status = parts.mover->start(); !status) return failed(status.error());
    auto row = parts.mover_state->read();
    if (!row) return failed(row.error());
    if (parts.telemetry) parts.telemetry->serve(*parts.telemetry_source);
    announce(cli, *space, parts, *row);
    tell_started(*parts.events, *row,
                 fmt::format("{}", fmt::join(parts.interlay->addresses(), ", ")), flags.takeover);

    bool draining = false;
    while (!parts.interlay->wait_for(milliseconds(limits::kInterlayPoll_ms))) {
        if (signals.token().stop_requested() && !draining) {
            draining = true;
            tell_draining(*parts.events, "asked by a signal");
            parts.interlay->request_drain();
        }
    }
    parts.interlay->wait();
    parts.control.reset();
    parts.telemetry.reset();
    parts.watch = {};
    parts.mover->stop();
    tell_ended(*parts.events);
    const auto last = parts.mover_state->read();
    const std::string_view authority =
        to_string(last ? last->route.authority : row->route.authority);
    cli.out.line(
        fmt::format("ended; authoritative: {}. The data stands still until an interlay runs again: "
                    "exodus interlay",
                    authority));
    return cli.out.result("interlay", kDone,
                          {{"headline", "drained and ended"}, {"authority", authority}});
}

}  // namespace

void add_interlay(Cli& cli) {
    auto flags = std::make_shared<InterlayFlags>();
    CLI::App* sub =
        cli.add("interlay", "the worker that applications connect to, in the foreground",
                [&cli, flags] { return serve(cli, *flags); });
    cli.add_setting(sub, "--listen", "interlay.listen", "addresses, comma-separated", "ADDR");
    cli.add_setting(sub, "--threads", "interlay.threads", "event loops", "N");
    cli.add_setting(sub, "--control", "interlay.control", "control socket (default: STATE.sock)",
                    "PATH");
    cli.add_setting(sub, "--http", "interlay.http", "address of the telemetry server", "ADDR");
    cli.add_setting(sub, "--drain-timeout", "interlay.drain_timeout",
                    "how long to wait for clients at the end", "DURATION");
    sub->add_flag("--takeover", flags->takeover,
                  "replace the interlay that runs, without refusing a client");
}

}  // namespace exodus::cli
