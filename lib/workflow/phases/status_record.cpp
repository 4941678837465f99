#include "workflow/phases/status_record.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include "base/limits.h"
#include "core/compare.h"
#include "workflow/evidence.h"
#include "workflow/gate_text.h"
#include "workflow/statistics.h"

namespace exodus {

using nlohmann::json;

namespace {

json parsed(const EvidenceRow& row) {
    json data = json::parse(row.data, nullptr, false);
    return data.is_object() ? data : json::object();
}

Result<json> read_compare(WorkflowStore& store, int64_t migration, double confidence) {
    auto reads = store.latest_evidence(migration, evidence_kind::kCompareReads);
    if (!reads) return tl::unexpected(reads.error());
    if (!reads->has_value()) return json();
    uint64_t total = 0;
    uint64_t confirmed = 0;
    uint64_t noise = 0;
    uint64_t noise_total = 0;
    for (const json& row : parsed(**reads).value("classes", json::array())) {
        total += row.value("comparisons", uint64_t{0});
        confirmed += row.value("confirmed", uint64_t{0});
        noise += row.value("aa_confirmed", uint64_t{0});
        noise_total += row.value("aa_comparisons", uint64_t{0});
    }
    const auto rate = [](uint64_t part, uint64_t whole) {
        return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
    };
    const uint64_t trials = std::max<uint64_t>(1, total);
    return json{{"reads", total},
                {"confirmed", confirmed},
                {"rate", rate(confirmed, total)},
                {"lower", lower_bound(confirmed, trials, confidence)},
                {"upper", upper_bound(confirmed, trials, confidence)},
                {"noise", rate(noise, noise_total)},
                {"at_ms", (*reads)->at_ms}};
}

Result<json> read_data(WorkflowStore& store, int64_t migration) {
    std::optional<EvidenceRow> newest;
    for (const char* kind : {evidence_kind::kCompareData, evidence_kind::kCommitVerify}) {
        auto row = store.latest_evidence(migration, kind);
        if (!row) return tl::unexpected(row.error());
        if (row->has_value() && (!newest || (*row)->at_ms > newest->at_ms)) newest = **row;
    }
    if (!newest) return json();
    json data = parsed(*newest);
    data["at_ms"] = newest->at_ms;
    return data;
}

Result<json> read_findings(WorkflowStore& store, int64_t migration) {
    json out{{"fail", 0}, {"warn", 0}, {"info", 0}, {"pass", 0}, {"list", json::array()}};
    auto rows = store.findings(migration);
    if (!rows) return tl::unexpected(rows.error());
    std::vector<const FindingRow*> listed;
    for (const FindingRow& row : *rows) {
        json& count = out[std::string(to_string(row.finding.severity))];
        count = count.get<int>() + 1;
        if (row.finding.severity >= Severity::warn) listed.push_back(&row);
    }
    // What has to be cut is never a failure before a warning.
    std::stable_sort(listed.begin(), listed.end(), [](const FindingRow* a, const FindingRow* b) {
        return a->finding.severity > b->finding.severity;
    });
    const std::size_t shown = std::min(listed.size(), limits::kStatusFindings_max);
    for (std::size_t i = 0; i < shown; ++i) {
        const auto& [phase, found, at_ms] = *listed[i];
        out["list"].push_back({{"id", found.id},
                               {"severity", to_string(found.severity)},
                               {"subject", found.subject},
                               {"text", found.text},
                               {"hint", found.hint},
                               {"phase", phase},
                               {"at_ms", at_ms}});
    }
    out["more"] = listed.size() - shown;
    return out;
}

/// Those of test are bounded by themselves: they must not push out what really moved the authority.
Status read_switches(WorkflowStore& store, int64_t migration, StatusRecord& record) {
    json& out = record.switches = json::array();
    auto rows = store.evidence(migration, evidence_kind::kCutover, limits::kStatusCutovers_max);
    if (!rows) return tl::unexpected(std::move(rows.error()));
    auto all = store.count_evidence(migration, evidence_kind::kCutover);
    if (!all) return tl::unexpected(std::move(all.error()));
    std::size_t room = limits::kStatusSwitches_max;
    std::size_t room_rehearsed = limits::kStatusRehearsals_max;
    for (const EvidenceRow& row : *rows) {
        const json data = parsed(row);
        const std::string outcome = data.value("outcome", "");
        const std::string kind = data.value("kind", "");
        // Rows of older versions mark only those that ended before the switch.
        const bool rehearsal = data.value("rehearsal", outcome == "rehearsed");
        std::size_t& left = rehearsal ? room_rehearsed : room;
        if (left == 0) continue;
        --left;
        out.push_back({{"at_ms", row.at_ms},
                       {"what", rehearsal ? "rehearsal" : kind},
                       {"kind", kind},
                       {"outcome", outcome},
                       {"hold_us", data.value("hold_us", int64_t{0})},
                       {"steps_us", data.value("steps", json::object())},
                       {"failed_step", data.value("failed_step", "")},
                       {"why", data.value("why", "")}});
    }
    record.switches_left_out = std::max<uint64_t>(*all, out.size()) - out.size();
    return {};
}

Result<json> read_decision(WorkflowStore& store, int64_t migration) {
    auto rows = store.decisions(migration, 1);
    if (!rows) return tl::unexpected(rows.error());
    if (rows->empty()) return json();
    const DecisionRow& row = rows->front();
    return json{{"kind", row.kind},       {"subject", row.subject},   {"user", row.owner.user},
                {"host", row.owner.host}, {"via", row.owner.channel}, {"reason", row.reason},
                {"at_ms", row.at_ms}};
}

}  // namespace

Result<StatusRecord> recorded(WorkflowStore& store, const MigrationRow& row, double confidence) {
    auto compare = read_compare(store, row.id, confidence);
    if (!compare) return tl::unexpected(std::move(compare.error()));
    auto data = read_data(store, row.id);
    if (!data) return tl::unexpected(std::move(data.error()));
    auto findings = read_findings(store, row.id);
    if (!findings) return tl::unexpected(std::move(findings.error()));
    auto decision = read_decision(store, row.id);
    if (!decision) return tl::unexpected(std::move(decision.error()));
    StatusRecord out;
    out.compare = std::move(*compare);
    out.data = std::move(*data);
    out.findings = std::move(*findings);
    out.decision = std::move(*decision);
    EXODUS_TRY(read_switches(store, row.id, out));
    return out;
}

std::string compare_text(const json& compare) {
    if (compare.is_null()) return {};
    return fmt::format("{} reads   {} confirmed   {:.1e} [{:.1e}, {:.1e}]   noise {:.1e}",
                       grouped(compare.value("reads", uint64_t{0})),
                       grouped(compare.value("confirmed", uint64_t{0})), compare.value("rate", 0.0),
                       compare.value("lower", 0.0), compare.value("upper", 0.0),
                       compare.value("noise", 0.0));
}

std::string data_text(const json& data) {
    if (data.is_null()) return {};
    VerifyResult result;
    result.source_keys = data.value("source_keys", uint64_t{0});
    result.target_keys = data.value("target_keys", uint64_t{0});
    result.compared = data.value("compared", uint64_t{0});
    result.missing = data.value("missing", uint64_t{0});
    result.extra = data.value("extra", uint64_t{0});
    result.different = data.value("different", uint64_t{0});
    result.unresolved = data.value("unresolved", uint64_t{0});
    result.kept = data.value("kept", uint64_t{0});
    return verify_text(result);
}

}  // namespace exodus
