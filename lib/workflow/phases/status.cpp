#include "workflow/phases/status.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "workflow/gate_text.h"
#include "workflow/limits.h"
#include "workflow/next_step.h"

namespace exodus {

using nlohmann::json;

namespace {

using S = MigrationState;

Result<GateReport> gate_now(PhaseContext& context, const MigrationRow& row, Gate gate) {
    auto now = context_now(context.store, row.id, context.settings, context.tool_version);
    if (!now) return tl::unexpected(now.error());
    return evaluate(gate, GateInput{context.store, context.settings, row, *now, wall_ms()});
}

GateLine line_of(const GateReport& report) {
    GateLine line{std::string(to_string(report.gate)), verdict_word(report.verdict), {}};
    if (report.verdict == GateVerdict::skipped) line.why = report.skipped_by;
    if (const auto lines = failed_lines(report); line.why.empty() && !lines.empty())
        line.why = lines.front();
    return line;
}

/// A gate that is ahead, with all that it lacks: what has to be done, by whom, before its command
/// passes.
Result<GateLine> gate_ahead(PhaseContext& context, const MigrationRow& row, Gate gate) {
    auto report = gate_now(context, row, gate);
    if (!report) return tl::unexpected(std::move(report.error()));
    GateLine line = line_of(*report);
    line.why = fmt::format("{}", fmt::join(failed_lines(*report), "; "));
    return line;
}

/// A gate whose state is behind the migration passed when it was asked; what counts now is what is
/// still ahead.
Status read_gates(PhaseContext& context, StatusReport& out) {
    for (const Gate gate :
         {Gate::pretest, Gate::analyze, Gate::compare, Gate::test, Gate::follow}) {
        auto report = gate_now(context, out.row, gate);
        if (!report) return tl::unexpected(report.error());
        const bool was_there =
            !report->rows.empty() &&
            std::any_of(report->rows.begin(), report->rows.end(),
                        [](const GateRow& row) { return row.verdict != GateVerdict::missing; });
        GateLine line = line_of(*report);
        if (!was_there && report->verdict != GateVerdict::skipped)
            line = {line.name, "MISSING", line.why};
        // Readiness evidence speaks of one moment; once `ready` stands, its age is no news.
        if (gate == Gate::follow && report->verdict == GateVerdict::stale &&
            out.row.state >= S::ready && out.row.state <= S::committed) {
            line = {line.name, "PASS", ""};
        }
        out.gates.push_back(std::move(line));
    }
    auto decided = context.store.latest_decision(out.row.id, current_attempt(out.row),
                                                 {"approve", "deny"}, "switch");
    if (!decided) return tl::unexpected(decided.error());
    GateLine approval{"approval", "MISSING", "exodus approve switch --reason TEXT"};
    if (!context.settings.migrate.manual_approval) approval = {"approval", "PASS", ""};
    if (decided->has_value()) {
        const bool same = (*decided)->config_hash == context.settings.config_hash ||
                          context.settings.config_hash.empty();
        if ((*decided)->kind == "deny")
            approval = {"approval", "FAIL", "denied: " + (*decided)->reason};
        else
            approval = same ? GateLine{"approval", "PASS", ""}
                            : GateLine{"approval", "STALE", "the configuration changed since"};
    }
    out.gates.push_back(std::move(approval));
    for (const auto& [state, gate] :
         {std::pair{S::ready, Gate::switch_over}, {S::switched, Gate::commit}}) {
        if (out.row.state != state) continue;
        auto line = gate_ahead(context, out.row, gate);
        if (!line) return tl::unexpected(std::move(line.error()));
        out.gates.push_back(std::move(*line));
    }
    return {};
}

const GateLine* line_of(const StatusReport& out, const std::string& name) {
    const auto found = std::find_if(out.gates.begin(), out.gates.end(),
                                    [&](const GateLine& line) { return line.name == name; });
    return found == out.gates.end() ? nullptr : &*found;
}

Obstacles obstacles(const StatusReport& out, bool manual_approval) {
    const MigrationRow& row = out.row;
    Obstacles in_the_way = obstacles_of(row, out.forward, out.reverse);
    const EndpointHealth& fed = row.route.authority == Side::source ? out.target : out.source;
    in_the_way.silent = out.endpoints_probed && !fed.reachable;
    const GateLine* compare = line_of(out, "compare");
    in_the_way.compare_open =
        compare != nullptr && (compare->verdict == "PASS" || compare->verdict == "SKIPPED");
    const GateLine* approval = line_of(out, "approval");
    in_the_way.approval_missing =
        manual_approval && (approval == nullptr || approval->verdict != "PASS");
    return in_the_way;
}

std::string explained(const StatusReport& out, const Obstacles& in_the_way) {
    const MigrationRow& row = out.row;
    if (std::string blocked = blocked_text(in_the_way); !blocked.empty()) return blocked;
    if (row.route.authority == Side::target && row.state < S::holding)
        return "an interrupted rehearsal gives the authority back first";
    switch (row.state) {
        case S::created:
            return "pretest comes first";
        case S::pretested:
            return "analyze comes next";
        case S::analyzed:
            return "compare comes next";
        case S::compared:
            return "test comes next";
        case S::tested:
            return "migrate comes next";
        case S::copying:
            return row.flag_paused.empty() ? "the target is being filled" : "the copy is paused";
        case S::following:
            return "waits for a low lag";
        case S::ready:
            if (in_the_way.silent || in_the_way.waits) return "the target has trouble";
            if (!in_the_way.compare_open) return "switch waits for compare";
            return in_the_way.approval_missing ? "switch waits for approval" : "switch is possible";
        case S::holding:
            return "writes are held";
        case S::switched:
            return in_the_way.silent ? "no way back while the source does not answer"
                                     : "revocable until commit";
        case S::committed:
            return "final";
        case S::rolled_back:
        case S::aborted:
            return "a new attempt is possible";
    }
    return {};
}

Status read_record(PhaseContext& context, StatusReport& out) {
    auto record = recorded(context.store, out.row, context.settings.compare.confidence);
    if (!record) return tl::unexpected(std::move(record.error()));
    out.compare_line = compare_text(record->compare);
    out.data_line = data_text(record->data);
    if (!record->compare.is_null()) out.numbers["compare"] = record->compare;
    if (!record->data.is_null()) out.numbers["data"] = record->data;
    out.record = std::move(*record);
    return {};
}

std::string decision_text(const DecisionRow& row) {
    return fmt::format("{} {}, {}, {}, \"{}\"", row.kind, row.subject, owner_name(row.owner),
                       iso8601(row.at_ms), row.reason);
}

Status read_decisions(PhaseContext& context, StatusReport& out) {
    auto decisions = context.store.decisions(out.row.id, limits::kStatusDecisions_max);
    if (!decisions) return tl::unexpected(decisions.error());
    for (const DecisionRow& row : *decisions) out.decisions.push_back(decision_text(row));
    if (out.row.state == S::committed) return {};
    // Asked for by kind: they are shown until commit, however many decisions came after them.
    auto skips = context.store.decisions_of(out.row.id, "skip", limits::kStatusDecisions_max);
    if (!skips) return tl::unexpected(skips.error());
    for (const DecisionRow& row : *skips) out.skipped.push_back(decision_text(row));
    return {};
}

void read_interlay(PhaseContext& context, StatusReport& out) {
    // The file's flags are what a command saw last; a running interlay knows better.
    out.forward = last_seen(out.row, Direction::forward);
    out.reverse = last_seen(out.row, Direction::reverse);
    auto port = context.interlay.connect();
    if (!port) return;
    auto both = MoverClient(**port).both();
    out.interlay_reachable = both.has_value();
    if (!both) return;
    out.forward = std::move(both->forward);
    out.reverse = std::move(both->reverse);
    out.config_changed = other_configuration(both->config_hash, context.settings.config_hash);
}

void read_flags(StatusReport& out) {
    if (!out.config_changed.empty()) out.flags.push_back("configuration: " + out.config_changed);
    if (!out.row.flag_paused.empty()) out.flags.push_back("paused: " + out.row.flag_paused);
    for (const auto& [name, status] :
         {std::pair<const char*, const MovementStatus&>{"forward", out.forward},
          {"reverse", out.reverse}}) {
        if (!status.throttled.empty())
            out.flags.push_back(fmt::format("throttled: {}, {}", name, status.throttled));
        if (!status.degraded.empty())
            out.flags.push_back(fmt::format("degraded: {}, {}", name, status.degraded));
        if (!status.blocked.empty())
            out.flags.push_back(fmt::format("blocked: {}, {}", name, status.blocked));
        if (status.failed_items > 0)
            out.flags.push_back(fmt::format("blocked: {} items could not be moved (exodus errors)",
                                            status.failed_items));
    }
}

json health_json(const EndpointHealth& health) {
    // What is not known is no zero.
    const auto known = [&](auto value) { return health.reachable ? json(value) : json(); };
    return {{"reachable", health.reachable},
            {"silent", health.silent},
            {"version", health.version},
            {"role", health.role},
            {"latency_us", known(health.latency_us)},
            {"items", known(health.items)},
            {"memory_used_bytes", known(health.memory_used_bytes)},
            {"memory_max_bytes", known(health.memory_max_bytes)},
            {"replicas", known(health.replicas)},
            {"replica_lag_bytes", known(health.replica_lag_bytes)},
            {"error", health.error}};
}

}  // namespace

Result<StatusReport> read_status(PhaseContext& context, const StatusOptions& options) {
    StatusReport out;
    auto row = context.store.find_migration(context.settings.migration);
    if (!row) return tl::unexpected(row.error());
    out.row = std::move(*row);
    // The row's is that of init; the configuration may have changed since.
    if (context.settings.given()) out.row.strategy = to_string(context.settings.migrate.strategy);
    out.hold_timeout_ms = context.settings.cutover.hold_timeout_ms;
    out.source_address = context.settings.source.address();
    out.target_address = context.settings.target.address();
    auto endpoints = context.store.endpoints(out.row.id);
    if (!endpoints) return tl::unexpected(endpoints.error());
    for (const EndpointRow& endpoint : *endpoints) {
        (endpoint.side == Side::source ? out.source : out.target).version = endpoint.version;
    }
    if (options.probed) {
        out.source = options.probed->at(0);
        out.target = options.probed->at(1);
        out.endpoints_probed = true;
    } else if (options.probe_endpoints) {
        auto inspector = context.family.make_inspector(context.family_context());
        for (const Side side : {Side::source, Side::target}) {
            EndpointHealth& known = side == Side::source ? out.source : out.target;
            EndpointHealth seen = inspector->health(side);
            if (seen.version.empty()) seen.version = known.version;
            known = std::move(seen);
        }
        out.endpoints_probed = true;
    }
    read_interlay(context, out);
    if (!options.config_error.empty())
        out.config_changed = fmt::format(
            "no command can read the configuration ({}); the interlay works with the one that it "
            "began with: exodus config check",
            options.config_error);
    const Route& route = out.row.route;
    out.writes = route.writes;
    const double to_target = route.reads == Side::target ? 100 : route.canary_percent;
    out.reads_target_percent = to_target;
    out.reads_source_percent = 100 - to_target;
    out.data_flow = data_flow_text(out.row, out.forward, out.reverse);
    out.way_back = way_back_text(out.row, out.forward, out.reverse, wall_ms());
    if (!out.interlay_reachable &&
        (out.row.forward != MovementMode::off || out.row.reverse != MovementMode::off)) {
        out.data_flow = "stands still: no interlay runs";
        if (out.row.state != S::committed) out.way_back = "unknown: no interlay runs";
    }
    out.way_back_now = way_back_now(out.row, out.reverse,
                                    {.interlay = out.interlay_reachable,
                                     .source = !out.endpoints_probed || out.source.reachable,
                                     .target = !out.endpoints_probed || out.target.reachable},
                                    wall_ms());
    out.items_line =
        conflicts_text(out.row.route.authority == Side::source ? out.forward : out.reverse);
    EXODUS_TRY(read_gates(context, out));
    EXODUS_TRY(read_record(context, out));
    EXODUS_TRY(read_decisions(context, out));
    read_flags(out);
    auto workers = context.store.workers(out.row.id);
    if (!workers) return tl::unexpected(workers.error());
    out.workers = std::move(*workers);
    // A file that cannot be read is no reason to tell nothing else.
    out.running = lock_holder(context.store.path()).value_or(std::nullopt);
    auto errors = context.store.count_item_errors(out.row.id);
    if (!errors) return tl::unexpected(errors.error());
    out.numbers["item_errors"] = *errors;
    const Obstacles in_the_way = obstacles(out, context.settings.migrate.manual_approval);
    out.explained = explained(out, in_the_way);
    Skips skips;
    const GateLine* compare = line_of(out, "compare");
    const GateLine* test = line_of(out, "test");
    skips.compare = compare != nullptr && compare->verdict == "SKIPPED";
    skips.test = test != nullptr && test->verdict == "SKIPPED";
    out.next = next_commands(out.row, skips, in_the_way);
    return out;
}

json to_json(const StatusReport& report) {
    const MigrationRow& row = report.row;
    json gates = json::array();
    for (const GateLine& line : report.gates)
        gates.push_back({{"gate", line.name}, {"verdict", line.verdict}, {"why", line.why}});
    json workers = json::array();
    for (const WorkerRow& worker : report.workers) {
        workers.push_back({{"id", worker.id},
                           {"pid", worker.pid},
                           {"host", worker.host},
                           {"listen", worker.listen},
                           {"epoch", worker.epoch},
                           {"writes_in_flight", worker.writes_in_flight},
                           {"held", worker.held},
                           {"blocker", worker.blocker},
                           {"seen_ms", worker.seen_ms}});
    }
    json running;
    if (report.running) {
        const auto& [owner, phase, command, since_ms] = *report.running;
        running = {{"phase", phase},      {"command", command},   {"user", owner.user},
                   {"host", owner.host},  {"via", owner.channel}, {"pid", owner.pid},
                   {"since_ms", since_ms}};
    }
    return {
        {"migration", row.name},
        {"family", row.family},
        {"state", std::string(to_string(row.state))},
        {"explained", report.explained},
        {"epoch", row.route.epoch},
        {"attempt", row.attempt},
        {"strategy", row.strategy},
        {"authority", std::string(to_string(row.route.authority))},
        {"serves",
         {{"writes", std::string(to_string(report.writes))},
          {"reads_source_percent", report.reads_source_percent},
          {"reads_target_percent", report.reads_target_percent},
          {"reads_mirrored_percent", row.route.mirror_percent},
          {"held", row.route.hold}}},
        {"source", {{"address", report.source_address}, {"health", health_json(report.source)}}},
        {"target", {{"address", report.target_address}, {"health", health_json(report.target)}}},
        {"interlay_reachable", report.interlay_reachable},
        {"config_changed", report.config_changed},
        {"forward", to_json(report.forward)},
        {"reverse", to_json(report.reverse)},
        {"data_flow", report.data_flow},
        {"way_back", report.way_back},
        {"way_back_open", report.way_back_now.open},
        {"paused", !row.flag_paused.empty()},
        {"hold_timeout_ms", report.hold_timeout_ms},
        {"way_back_loses", report.way_back_now.loses},
        {"gates", gates},
        {"decisions", report.decisions},
        {"decision", report.record.decision},
        {"findings", report.record.findings},
        {"compare", report.record.compare},
        {"data", report.record.data},
        {"switches", report.record.switches},
        {"switches_left_out", report.record.switches_left_out},
        {"skipped", report.skipped},
        {"flags", report.flags},
        {"workers", workers},
        {"running", running},
        {"numbers", report.numbers},
        {"next", report.next}};
}

}  // namespace exodus
