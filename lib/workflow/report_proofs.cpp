// What is proven, for the report: gates, the evidence behind them, findings.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "workflow/evidence.h"
#include "workflow/gate_text.h"
#include "workflow/gates.h"
#include "workflow/report_parts.h"

namespace exodus::report {

using nlohmann::json;
namespace kind = evidence_kind;

namespace {

using S = MigrationState;

/// What gates read. Records of what was done (cutovers, residue) are told elsewhere and never age.
constexpr std::array kMeasured{kind::kPretestChecks, kind::kPretestTap,  kind::kPretestUntouched,
                               kind::kPlan,          kind::kTraffic,     kind::kCompareReads,
                               kind::kCompareData,   kind::kSmoke,       kind::kRehearsal,
                               kind::kDrills,        kind::kFollow,      kind::kReadiness,
                               kind::kCommitLag,     kind::kCommitVerify};

/// A phase that begins a new attempt measures first and counts the attempt with its transition:
/// what is measured behind the end of one belongs to the next.
int attempt_of(const EvidenceRow& evidence, const std::vector<EpochRow>& newest_first) {
    const auto before =
        std::find_if(newest_first.begin(), newest_first.end(),
                     [&](const EpochRow& epoch) { return epoch.at_ms < evidence.at_ms; });
    const bool ended =
        before != newest_first.end() && (before->to == S::aborted || before->to == S::rolled_back);
    return ended ? evidence.attempt + 1 : evidence.attempt;
}

/// A gate that a transition has passed was open at that moment, and its evidence says nothing about
/// a later one: what is told is who went through it.
Result<GateLine> passed(WorkflowStore& store, const MigrationRow& row, Gate gate) {
    const std::string name(to_string(gate));
    auto by = store.latest_decision(row.id, row.attempt, {"confirm"}, name);
    if (!by) return tl::unexpected(std::move(by.error()));
    if (!*by) return GateLine{name, "PASS", "who confirmed it is not recorded"};
    auto skip = store.latest_decision(row.id, row.attempt, {"skip"}, name);
    if (!skip) return tl::unexpected(std::move(skip.error()));
    if (*skip && (*skip)->epoch == (*by)->epoch)
        return GateLine{name, "SKIPPED", owner_name((*skip)->owner) + ": " + (*skip)->reason};
    return GateLine{
        name, "PASS",
        fmt::format("confirmed by {} at {}", owner_name((*by)->owner), iso8601((*by)->at_ms))};
}

Result<GateLine> switch_gate(WorkflowStore& store, const MigrationRow& row) {
    if (row.state == S::switched || row.state == S::committed)
        return passed(store, row, Gate::switch_over);
    return GateLine{"switch", "MISSING", "it is asked when the migration is ready"};
}

Result<GateLine> commit_gate(WorkflowStore& store, const MigrationRow& row) {
    if (row.state == S::committed) return passed(store, row, Gate::commit);
    return GateLine{"commit", "MISSING", "it is asked behind the switch"};
}

}  // namespace

Result<json> gates(PhaseContext& context, const StatusReport& status) {
    std::vector<GateLine> lines = status.gates;
    for (auto* other : {&switch_gate, &commit_gate}) {
        auto line = other(context.store, status.row);
        if (!line) return tl::unexpected(std::move(line.error()));
        // The one that is ahead is in the status.
        const bool there = std::any_of(lines.begin(), lines.end(),
                                       [&](const GateLine& one) { return one.name == line->name; });
        if (!there) lines.push_back(std::move(*line));
    }
    std::stable_partition(lines.begin(), lines.end(),
                          [](const GateLine& one) { return one.name != "commit"; });  // the last
    json out = json::array();
    for (const GateLine& line : lines)
        out.push_back({{"gate", line.name}, {"verdict", line.verdict}, {"why", line.why}});
    return out;
}

Result<json> evidence(PhaseContext& context, const MigrationRow& row) {
    auto now = context_now(context.store, row.id, context.settings, context.tool_version);
    if (!now) return tl::unexpected(std::move(now.error()));
    auto epochs = context.store.epochs(row.id, limits::kReportRows_max);
    if (!epochs) return tl::unexpected(std::move(epochs.error()));
    json out = json::array();
    for (const char* name : kMeasured) {
        auto found = context.store.latest_evidence(row.id, name);
        if (!found) return tl::unexpected(std::move(found.error()));
        if (!*found) continue;
        const EvidenceRow& one = **found;
        const int attempt = attempt_of(one, *epochs);
        out.push_back({{"kind", one.kind},
                       {"at_ms", one.at_ms},
                       {"attempt", attempt},
                       {"earlier_attempt", attempt < row.attempt},
                       {"config_hash", one.context.config_hash},
                       {"other_config", one.context.config_hash != now->config_hash},
                       {"version", one.context.tool_version},
                       {"stale", why_stale(one, *now, wall_ms(), context.settings.gates)}});
    }
    return out;
}

}  // namespace exodus::report
