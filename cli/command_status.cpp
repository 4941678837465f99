// exodus status: where the migration stands, the authoritative side first. Reads only; needs no
// lock, and works when the configuration, the endpoints or the interlay do not.
#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "cli/cli.h"
#include "cli/outcome.h"
#include "cli/signals.h"
#include "cli/workspace.h"
#include "workflow/exit_codes.h"
#include "workflow/phases/status.h"

namespace exodus::cli {

namespace {

struct StatusFlags {
    bool watch = false;
    bool gates = false;
    bool workers = false;
    bool history = false;
    bool offline = false;
    int64_t interval_ms = 2000;
};

std::string upper(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return out;
}

/// Width in columns of UTF-8 text without wide characters.
std::size_t columns(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
}

std::string pad(std::string text, std::size_t width) {
    const std::size_t used = columns(text);
    if (used < width) text.append(width - used, ' ');
    return text;
}

std::string percent(double value) { return value <= 0 ? "no" : fmt::format("{:g} %", value); }

/// Two columns under SOURCE and TARGET; `mark` makes the left or right cell bold.
void row(Output& out, std::string_view label, const std::string& left, const std::string& right,
         std::optional<Side> mark = std::nullopt) {
    constexpr std::size_t kLeft = 27;
    std::string first = pad(left, kLeft);
    std::string second = right;
    if (mark == Side::source) first = out.bold(first);
    if (mark == Side::target) second = out.bold(second);
    out.line(fmt::format("  {} {}{}", pad(std::string(label), 16), first, second));
}

std::string health_text(const EndpointHealth& health, bool probed) {
    if (!probed) return "not asked";
    if (!health.reachable) return "UNREACHABLE";
    std::string out = printable(health.version);
    if (!health.role.empty()) out += ", " + health.role;
    return out;
}

std::string gate_text(const Output& out, const GateLine& gate) {
    const std::string text = fmt::format("{} {}", gate.name, gate.verdict);
    if (gate.verdict == "PASS") return out.good(text);
    return gate.verdict == "FAIL" || gate.verdict == "MISSING" ? out.bad(text) : out.warn(text);
}

void print_summary(Output& out, const StatusReport& s) {
    std::string versions;
    if (s.source.reachable && s.target.reachable)
        versions = fmt::format("{} → {}", s.source.version, s.target.version);
    if (versions.empty()) versions = s.row.family;
    std::string state = upper(to_string(s.row.state));
    if (!s.explained.empty()) state += fmt::format(" ({})", printable(s.explained));
    out.line(fmt::format("{}   {}      {}      epoch {}", out.bold(s.row.name), printable(versions),
                         out.bold(state), s.row.route.epoch));
    out.line();
    const Side authority = s.row.route.authority;
    const bool source = authority == Side::source;
    row(out, "", "SOURCE " + s.source_address, "TARGET " + s.target_address);
    row(out, "AUTHORITATIVE", source ? "** YES **" : "no", source ? "no" : "** YES **", authority);
    if (s.row.route.hold) {
        row(out, "serves writes", "HELD", "HELD");
    } else {
        row(out, "serves writes", s.writes == Side::source ? "YES" : "no",
            s.writes == Side::target ? "YES" : "no");
    }
    const bool canary = s.reads_source_percent > 0 && s.reads_target_percent > 0;
    row(out, "serves reads", percent(s.reads_source_percent),
        percent(s.reads_target_percent) + (canary ? " (canary)" : ""));
    if (s.row.route.mirror_percent > 0) {
        row(out, "mirrored reads", "",
            fmt::format("{:g} % (compared, never served)", s.row.route.mirror_percent));
    }
    row(out, "health", health_text(s.source, s.endpoints_probed),
        health_text(s.target, s.endpoints_probed));
    for (const auto& [side, health] :
         {std::pair(Side::source, &s.source), std::pair(Side::target, &s.target)}) {
        if (s.endpoints_probed && !health->reachable) {
            out.line(
                fmt::format("  {} {}: {}", pad("", 16), to_string(side), printable(health->error)));
        }
    }
    if (!s.data_flow.empty())
        out.line(fmt::format("  {} {}", pad("data flow", 16), printable(s.data_flow)));
    if (!s.way_back.empty())
        out.line(fmt::format("  {} {}", pad("way back", 16), printable(s.way_back)));
    out.line(fmt::format("  {} {}", pad("interlay", 16),
                         s.interlay_reachable ? "runs"
                         : s.workers.empty()  ? "not running"
                                              : out.bad("registered, but does not answer")));
    if (s.running) {
        const auto& [owner, phase, command, since_ms] = *s.running;
        out.line(fmt::format("  {} {}, by {}@{} (pid {}), for {}", pad("runs now", 16),
                             printable(command), printable(owner.user), printable(owner.host),
                             owner.pid, human_duration(wall_ms() - since_ms)));
    }
    out.line();
    std::string gates;
    for (const GateLine& gate : s.gates)
        gates += (gates.empty() ? "" : "   ") + gate_text(out, gate);
    if (!gates.empty()) out.line(fmt::format("  {} {}", pad("gates", 9), gates));
    if (!s.compare_line.empty())
        out.line(fmt::format("  {} {}", pad("compare", 9), printable(s.compare_line)));
    if (!s.data_line.empty())
        out.line(fmt::format("  {} {}", pad("data", 9), printable(s.data_line)));
    if (!s.items_line.empty())
        out.line(fmt::format("  {} {}", pad("items", 9), printable(s.items_line)));
    if (!s.decisions.empty())
        out.line(fmt::format("  {} {}", pad("owner", 9), printable(s.decisions.front())));
    for (const std::string& skip : s.skipped)
        out.line(fmt::format("  {} {}", pad("skipped", 9), out.warn(printable(skip))));
    for (const std::string& flag : s.flags)
        out.line(fmt::format("  {} {}", pad("flag", 9), out.warn(printable(flag))));
}

void print_more(Output& out, const StatusReport& s, const StatusFlags& flags,
                WorkflowStore& store) {
    if (flags.gates) {
        out.line();
        for (const GateLine& gate : s.gates) {
            out.line(fmt::format("  {} {}", gate_text(out, gate), printable(gate.why)));
        }
    }
    if (flags.workers) {
        out.line();
        if (s.workers.empty()) out.line("  no interlay is registered");
        for (const WorkerRow& worker : s.workers) {
            out.line(fmt::format(
                "  worker {}  pid {} on {}  listens {}  epoch {}  writes in flight {}  held {}  "
                "seen {} ago{}",
                worker.id, worker.pid, worker.host, worker.listen, worker.epoch,
                worker.writes_in_flight, worker.held, human_duration(wall_ms() - worker.seen_ms),
                worker.blocker.empty() ? "" : "  waits for " + printable(worker.blocker)));
        }
    }
    if (flags.history) {
        out.line();
        if (const auto epochs = store.epochs(s.row.id, limits::kHistoryLines_max)) {
            for (const EpochRow& epoch : *epochs) {
                out.line(fmt::format(
                    "  {}  epoch {:<4} {} → {}  authority {}  {}  {}{}", iso8601(epoch.at_ms),
                    epoch.epoch, to_string(epoch.from), to_string(epoch.to),
                    to_string(epoch.authority), epoch.by, printable(epoch.command),
                    epoch.reason.empty() ? "" : fmt::format("  \"{}\"", printable(epoch.reason))));
            }
        }
        for (const std::string& decision : s.decisions)
            out.line("  decision  " + printable(decision));
    }
    out.line();
    print_next(out, s.next);
}

nlohmann::json history_json(WorkflowStore& store, int64_t migration) {
    auto list = nlohmann::json::array();
    if (const auto epochs = store.epochs(migration, limits::kHistoryLines_max)) {
        for (const EpochRow& epoch : *epochs) {
            list.push_back({{"epoch", epoch.epoch},
                            {"at", iso8601(epoch.at_ms)},
                            {"from", to_string(epoch.from)},
                            {"to", to_string(epoch.to)},
                            {"authority", to_string(epoch.authority)},
                            {"command", epoch.command},
                            {"reason", epoch.reason},
                            {"by", epoch.by}});
        }
    }
    return list;
}

int show(Cli& cli, const StatusFlags& flags) {
    int exit_code = kDone;
    WorkspaceOptions opening = kReading;
    opening.read_secrets = !flags.offline;
    auto space = Workspace::open(cli, opening, exit_code);
    if (!space) return exit_code;
    std::optional<Signals> signals;
    if (flags.watch) signals.emplace([](int) {});
    ProgressPrinter printer(cli.out);
    PhaseContext context =
        space->phase_context(cli, printer, signals ? signals->token() : std::stop_token{});
    std::optional<Deadline> end;
    if (cli.globals.timeout_ms > 0) end = Deadline::in(milliseconds(cli.globals.timeout_ms));
    const StatusOptions options{.probe_endpoints = !flags.offline && space->config_good &&
                                                   !space->settings.source.family.empty()};
    for (;;) {
        auto report = read_status(context, options);
        if (!report) return cli.out.error("status", report.error());
        nlohmann::json json = to_json(*report);
        if (flags.history) json["history"] = history_json(*space->store, report->row.id);
        if (flags.watch && !cli.out.json() && ::isatty(STDOUT_FILENO) == 1)
            fmt::print("\x1b[H\x1b[2J");
        print_summary(cli.out, *report);
        print_more(cli.out, *report, flags, *space->store);
        if (!flags.watch) return cli.out.result("status", kDone, json);
        json["type"] = "status";
        cli.out.object(json);
        std::fflush(stdout);
        const milliseconds pause(flags.interval_ms);
        if (!wait_unless_stopped(signals->token(), end ? std::min(pause, end->left()) : pause) ||
            (end && end->passed())) {
            return cli.out.result("status", kDone, json);
        }
    }
}

}  // namespace

void add_status(Cli& cli) {
    auto flags = std::make_shared<StatusFlags>();
    CLI::App* sub = cli.add("status", "where the migration stands, the authoritative side first",
                            [&cli, flags] { return show(cli, *flags); });
    sub->add_flag("-w,--watch", flags->watch, "show it again and again until interrupted");
    add_duration(sub, "--interval", flags->interval_ms,
                 "time between two views of --watch (default: 2s)");
    sub->add_flag("--gates", flags->gates, "every gate with its reason");
    sub->add_flag("--workers", flags->workers, "every registered interlay");
    sub->add_flag("--history", flags->history, "every change of epoch, and all decisions");
    sub->add_flag("--offline", flags->offline,
                  "only the state file: asks neither the endpoints nor for passwords");
}

}  // namespace exodus::cli
