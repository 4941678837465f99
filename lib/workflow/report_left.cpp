// What was migrated and what is left, for the report.
#include <fmt/format.h>

#include "base/clock.h"
#include "base/limits.h"
#include "workflow/evidence.h"
#include "workflow/gate_text.h"
#include "workflow/report_parts.h"

namespace exodus::report {

using nlohmann::json;
namespace kind = evidence_kind;

namespace {

using S = MigrationState;

Result<std::optional<EvidenceRow>> newest(WorkflowStore& store, int64_t migration, const char* a,
                                          const char* b) {
    auto first = store.latest_evidence(migration, a);
    if (!first) return first;
    auto second = store.latest_evidence(migration, b);
    if (!second || !*second) return second ? first : second;
    return *first && (*first)->id > (*second)->id ? first : second;
}

json count_of(const json& data, const char* field, const EvidenceRow& from) {
    const auto found = data.find(field);
    if (found == data.end() || !found->is_number()) return nullptr;
    return {{"count", *found},
            {"from", from.kind},
            {"at_ms", from.at_ms},
            {"attempt", from.attempt},
            {"complete", data.value("complete", true)}};
}

/// Proofs that a commit did without; only once it is final, and only if the proof did not come
/// later after all.
Status add_given_up(WorkflowStore& store, const MigrationRow& row, json& out) {
    if (row.state != S::committed) return {};
    auto given_up = store.latest_evidence(row.id, kind::kCommitGivenUp);
    if (!given_up) return tl::unexpected(std::move(given_up.error()));
    auto proof = store.latest_evidence(row.id, kind::kCommitVerify);
    if (!proof) return tl::unexpected(std::move(proof.error()));
    if (!*given_up || (*proof && (*proof)->id > (*given_up)->id)) return {};
    for (const json& text : object_of((*given_up)->data).value("given_up", json::array()))
        out.push_back("not proven at commit: " + text.get<std::string>());
    return {};
}

/// Both ends of a migration look for what exodus left; the newest look counts.
Status add_residue(WorkflowStore& store, const MigrationRow& row, json& out) {
    auto looked = newest(store, row.id, kind::kCommitResidue, kind::kRollbackResidue);
    if (!looked) return tl::unexpected(std::move(looked.error()));
    const bool ended = row.state == S::committed || row.state == S::aborted;
    if (ended && (!*looked || (*looked)->attempt != row.attempt)) {
        out.push_back(fmt::format(
            "what of exodus is left on the servers is not recorded: exodus {} looks again",
            row.state == S::committed ? "commit" : "rollback"));
    }
    if (!*looked) return {};
    const std::string of =
        (*looked)->attempt == row.attempt ? "" : fmt::format(" by attempt {}", (*looked)->attempt);
    for (const json& text : object_of((*looked)->data).value("residue", json::array()))
        out.push_back(fmt::format("left behind{}, seen {}: {}", of, iso8601((*looked)->at_ms),
                                  text.get<std::string>()));
    return {};
}

}  // namespace

Result<json> migrated(PhaseContext& context, const MigrationRow& row) {
    json out{{"items", nullptr}, {"bytes", nullptr}, {"databases", nullptr}, {"scope", nullptr}};
    auto plan = context.store.latest_evidence(row.id, kind::kPlan);
    if (!plan) return tl::unexpected(std::move(plan.error()));
    if (*plan) {
        const json data = object_of((*plan)->data);
        const json profile = data.value("profile", json::object());
        out["items"] = count_of(profile, "keys", **plan);
        out["bytes"] = count_of(profile, "dataset_bytes", **plan);
        out["databases"] = count_of(profile, "databases", **plan);
    }
    // A verify counted every item itself.
    auto verified = newest(context.store, row.id, kind::kCompareData, kind::kCommitVerify);
    if (!verified) return tl::unexpected(std::move(verified.error()));
    if (*verified) out["items"] = count_of(object_of((*verified)->data), "source_keys", **verified);
    // Without a readable configuration the scope is not "everything", but unknown.
    if (!context.settings.config_hash.empty())
        out["scope"] = {{"include", context.settings.scope.include},
                        {"exclude", context.settings.scope.exclude}};
    return out;
}

Result<json> fences(WorkflowStore& store, int64_t migration) {
    json out = json::array();
    for (const Side side : {Side::source, Side::target}) {
        auto fence = store.fence(migration, side);
        if (!fence) return tl::unexpected(std::move(fence.error()));
        if (*fence) out.push_back({{"side", to_string(side)}, {"at_ms", (*fence)->at_ms}});
    }
    return out;
}

Result<json> left_to_do(WorkflowStore& store, const MigrationRow& row,
                        const std::vector<FindingRow>& found, const json& fences) {
    json out = json::array();
    auto errors = store.count_item_errors(row.id);
    if (!errors) return tl::unexpected(std::move(errors.error()));
    if (*errors > 0)
        out.push_back(fmt::format("{} items could not be moved: exodus errors", *errors));
    auto open = store.count_open_divergences(row.id);
    if (!open) return tl::unexpected(std::move(open.error()));
    if (*open > 0)
        out.push_back(fmt::format("{} differences of data are open: exodus divergences", *open));
    EXODUS_TRY(add_given_up(store, row, out));
    EXODUS_TRY(add_residue(store, row, out));
    // While the migration goes on a fence belongs to it; at its end somebody must know of it.
    if (row.state == S::committed || row.state == S::aborted || row.state == S::rolled_back) {
        for (const json& fence : fences)
            out.push_back(fmt::format(
                "the fence of the {} may still stand, since {}: its users cannot write there",
                fence.value("side", ""), iso8601(fence.value("at_ms", int64_t{0}))));
    }
    for (const FindingRow& one : found) {
        if (one.finding.severity == Severity::fail)
            out.push_back(one.finding.id + ": " + one.finding.text);
    }
    auto decisions = store.decisions(row.id, limits::kReportRows_max);
    if (!decisions) return tl::unexpected(std::move(decisions.error()));
    for (const DecisionRow& decision : *decisions) {
        if (decision.kind == "skip")
            out.push_back(fmt::format("{} was skipped by {} in attempt {}: {}", decision.subject,
                                      owner_name(decision.owner), decision.attempt,
                                      decision.reason));
    }
    return out;
}

}  // namespace exodus::report
