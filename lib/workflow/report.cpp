#include "workflow/report.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

#include "base/limits.h"
#include "workflow/evidence.h"
#include "workflow/phases/status_record.h"
#include "workflow/statistics.h"

namespace exodus {

using nlohmann::json;

namespace {

json object_of(const std::string& text) {
    json value = json::parse(text, nullptr, false);
    return value.is_object() ? value : json::object();
}

std::string name_of(const Owner& owner) { return fmt::format("{}@{}", owner.user, owner.host); }

/// Phase runs, decisions and changes of authority, oldest first.
Result<json> timeline(WorkflowStore& store, int64_t migration) {
    std::vector<json> rows;
    auto runs = store.runs(migration, limits::kReportRows_max);
    if (!runs) return tl::unexpected(runs.error());
    for (const RunRow& run : *runs) {
        const json detail = object_of(run.detail);
        json row{{"at_ms", run.started_ms},
                 {"kind", run.phase.starts_with("cutover.") ? "hand-over" : "phase"},
                 {"what", run.phase},
                 {"outcome", detail.value("outcome", run.status)},
                 {"by", name_of(run.owner)},
                 {"via", run.owner.channel},
                 {"reason", detail.value("reason", "")}};
        if (run.ended_ms != 0) row["took_ms"] = run.ended_ms - run.started_ms;
        rows.push_back(std::move(row));
    }
    auto decisions = store.decisions(migration, limits::kReportRows_max);
    if (!decisions) return tl::unexpected(decisions.error());
    for (const DecisionRow& decision : *decisions) {
        rows.push_back({{"at_ms", decision.at_ms},
                        {"kind", "decision"},
                        {"what", decision.kind + " " + decision.subject},
                        {"outcome", ""},
                        {"by", name_of(decision.owner)},
                        {"via", decision.owner.channel},
                        {"reason", decision.reason}});
    }
    auto epochs = store.epochs(migration, limits::kReportRows_max);
    if (!epochs) return tl::unexpected(epochs.error());
    for (std::size_t i = 0; i < epochs->size(); ++i) {
        const EpochRow& now = (*epochs)[i];
        const bool moved = i + 1 < epochs->size() && (*epochs)[i + 1].authority != now.authority;
        if (!moved) continue;
        rows.push_back({{"at_ms", now.at_ms},
                        {"kind", "authority"},
                        {"what", fmt::format("authority to the {}", to_string(now.authority))},
                        {"outcome", fmt::format("epoch {}", now.epoch)},
                        {"by", now.by},
                        {"via", now.command},
                        {"reason", now.reason}});
    }
    std::stable_sort(rows.begin(), rows.end(), [](const json& a, const json& b) {
        return a.at("at_ms").get<int64_t>() < b.at("at_ms").get<int64_t>();
    });
    return json(rows);
}

/// Each class of commands with the interval of its rate.
json with_intervals(const json& classes, double confidence) {
    json out = json::array();
    for (const json& row : classes) {
        const auto total = row.value("comparisons", uint64_t{0});
        const auto confirmed = row.value("confirmed", uint64_t{0});
        const auto noise_total = row.value("aa_comparisons", uint64_t{0});
        if (total == 0) continue;
        json one = row;
        one["lower"] = lower_bound(confirmed, total, confidence);
        one["upper"] = upper_bound(confirmed, total, confidence);
        one["noise"] = noise_total == 0
                           ? 0
                           : static_cast<double>(row.value("aa_confirmed", uint64_t{0})) /
                                 static_cast<double>(noise_total);
        out.push_back(std::move(one));
    }
    return out;
}

/// What somebody has to do by hand, or must know that nobody did.
Result<json> left_to_do(WorkflowStore& store, const MigrationRow& row, const json& findings) {
    json out = json::array();
    auto errors = store.count_item_errors(row.id);
    if (!errors) return tl::unexpected(errors.error());
    if (*errors > 0)
        out.push_back(fmt::format("{} items could not be moved: exodus errors", *errors));
    auto open = store.divergences(row.id, true, limits::kReportRows_max);
    if (!open) return tl::unexpected(open.error());
    if (!open->empty())
        out.push_back(
            fmt::format("{} differences of data are open: exodus divergences", open->size()));
    for (const char* kind : {evidence_kind::kCommitGivenUp, evidence_kind::kCommitResidue}) {
        auto evidence = store.latest_evidence(row.id, kind);
        if (!evidence) return tl::unexpected(evidence.error());
        if (!evidence->has_value()) continue;
        const bool given_up = std::string_view(kind) == evidence_kind::kCommitGivenUp;
        for (const json& text :
             object_of((*evidence)->data).value(given_up ? "given_up" : "residue", json::array()))
            out.push_back((given_up ? "not proven at commit: " : "left behind: ") +
                          text.get<std::string>());
    }
    for (const json& finding : findings.value("list", json::array())) {
        if (finding.value("severity", "") == "fail")
            out.push_back(finding.value("id", "") + ": " + finding.value("text", ""));
    }
    auto decisions = store.decisions(row.id, limits::kReportRows_max);
    if (!decisions) return tl::unexpected(decisions.error());
    for (const DecisionRow& decision : *decisions) {
        if (decision.kind == "skip")
            out.push_back(fmt::format("{} was skipped by {}: {}", decision.subject,
                                      name_of(decision.owner), decision.reason));
    }
    return out;
}

}  // namespace

Result<json> collect_report(WorkflowStore& store, const MigrationRow& row, double confidence) {
    auto record = recorded(store, row, confidence);
    if (!record) return tl::unexpected(std::move(record.error()));
    auto history = timeline(store, row.id);
    if (!history) return tl::unexpected(std::move(history.error()));
    auto left = left_to_do(store, row, record->findings);
    if (!left) return tl::unexpected(std::move(left.error()));
    auto changes = store.count_item_changes(row.id);
    if (!changes) return tl::unexpected(changes.error());
    json out{{"migration", row.name},
             {"family", row.family},
             {"strategy", row.strategy},
             {"state", to_string(row.state)},
             {"authority", to_string(row.route.authority)},
             {"epoch", row.route.epoch},
             {"attempt", row.attempt},
             {"made_ms", wall_ms()},
             {"timeline", std::move(*history)},
             {"findings", std::move(record->findings)},
             {"compare", std::move(record->compare)},
             {"data", std::move(record->data)},
             {"switches", std::move(record->switches)},
             {"changes", *changes},
             {"left", std::move(*left)}};
    json& endpoints = out["endpoints"] = json::array();
    auto ends = store.endpoints(row.id);
    if (!ends) return tl::unexpected(ends.error());
    for (const EndpointRow& end : *ends)
        endpoints.push_back({{"side", to_string(end.side)},
                             {"address", end.address},
                             {"user", end.user},
                             {"tls", end.tls},
                             {"version", end.version}});
    for (const auto& [kind, name] : {std::pair{evidence_kind::kPlan, "analyze"},
                                     {evidence_kind::kTraffic, "traffic"},
                                     {evidence_kind::kCompareReads, "classes"},
                                     {evidence_kind::kSmoke, "smoke"},
                                     {evidence_kind::kRehearsal, "rehearsal"},
                                     {evidence_kind::kDrills, "drills"}}) {
        auto evidence = store.latest_evidence(row.id, kind);
        if (!evidence) return tl::unexpected(evidence.error());
        if (!evidence->has_value()) continue;
        json data = object_of((*evidence)->data);
        if (std::string_view(kind) == evidence_kind::kCompareReads)
            out[name] = with_intervals(data.value("classes", json::array()), confidence);
        else
            out[name] = std::move(data);
    }
    return out;
}

}  // namespace exodus
