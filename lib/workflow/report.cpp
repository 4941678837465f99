#include "workflow/report.h"

#include <fmt/format.h>
#include <iterator>

#include "base/clock.h"
#include "workflow/evidence.h"
#include "workflow/phases/status.h"
#include "workflow/report_parts.h"
#include "workflow/statistics.h"

namespace exodus {

using nlohmann::json;

namespace report {

json object_of(const std::string& text) {
    json value = json::parse(text, nullptr, false);
    return value.is_object() ? value : json::object();
}

}  // namespace report

namespace {

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

Result<json> endpoints(WorkflowStore& store, int64_t migration) {
    auto ends = store.endpoints(migration);
    if (!ends) return tl::unexpected(std::move(ends.error()));
    json out = json::array();
    for (const EndpointRow& end : *ends)
        out.push_back({{"side", to_string(end.side)},
                       {"address", end.address},
                       {"user", end.user},
                       {"tls", end.tls},
                       {"version", end.version}});
    return out;
}

/// The numbers of the newest evidence of each phase, as the phase wrote them.
Status add_measured(PhaseContext& context, int64_t migration, json& out) {
    for (const auto& [kind, name] : {std::pair{evidence_kind::kPlan, "analyze"},
                                     {evidence_kind::kTraffic, "traffic"},
                                     {evidence_kind::kCompareReads, "classes"},
                                     {evidence_kind::kSmoke, "smoke"},
                                     {evidence_kind::kRehearsal, "rehearsal"},
                                     {evidence_kind::kDrills, "drills"}}) {
        auto evidence = context.store.latest_evidence(migration, kind);
        if (!evidence) return tl::unexpected(std::move(evidence.error()));
        if (!evidence->has_value()) continue;
        json data = report::object_of((*evidence)->data);
        if (std::string_view(kind) == evidence_kind::kCompareReads)
            out[name] = with_intervals(data.value("classes", json::array()),
                                       context.settings.compare.confidence);
        else
            out[name] = std::move(data);
    }
    return {};
}

}  // namespace

Result<json> collect_report(PhaseContext& context) {
    auto status = read_status(context, {.probe_endpoints = false});
    if (!status) return tl::unexpected(std::move(status.error()));
    const MigrationRow& row = status->row;
    WorkflowStore& store = context.store;
    auto found = store.findings(row.id);
    if (!found) return tl::unexpected(std::move(found.error()));
    auto changes = store.count_item_changes(row.id);
    if (!changes) return tl::unexpected(std::move(changes.error()));
    json out{{"migration", row.name},
             {"family", row.family},
             {"strategy", row.strategy},
             {"state", to_string(row.state)},
             {"authority", to_string(row.route.authority)},
             {"epoch", row.route.epoch},
             {"attempt", row.attempt},
             {"made_ms", wall_ms()},
             {"version", context.tool_version},
             {"config_hash", context.settings.config_hash},
             {"findings", std::move(status->record.findings)},
             {"compare", std::move(status->record.compare)},
             {"data", std::move(status->record.data)},
             {"switches", std::move(status->record.switches)},
             {"switches_left_out", status->record.switches_left_out},
             {"changes", *changes}};
    const auto add = [&](const char* name, Result<json> part) -> Status {
        if (!part) return tl::unexpected(std::move(part.error()));
        out[name] = std::move(*part);
        return {};
    };
    EXODUS_TRY(add("endpoints", endpoints(store, row.id)));
    EXODUS_TRY(add("gates", report::gates(context, *status)));
    EXODUS_TRY(add("evidence", report::evidence(context, row)));
    EXODUS_TRY(add("migrated", report::migrated(context, row)));
    EXODUS_TRY(add("fences", report::fences(store, row.id)));
    EXODUS_TRY(add("left", report::left_to_do(store, row, *found, out["fences"])));
    EXODUS_TRY(add("timeline", report::timeline(store, row.id)));
    EXODUS_TRY(add_measured(context, row.id, out));
    return out;
}

}  // namespace exodus
