#include "workflow/evidence.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "core/json_text.h"

namespace exodus {

EvidenceDependence dependence_of(std::string_view kind) {
    namespace k = evidence_kind;
    EvidenceDependence on;
    if (kind == k::kPretestTap || kind == k::kPretestUntouched) {
        on.schema = false;
    } else if (kind == k::kCompareReads || kind == k::kCompareData) {
        on.plan = true;
        on.lineage = true;
    } else if (kind == k::kSmoke || kind == k::kRehearsal || kind == k::kDrills) {
        on.plan = true;
        on.lineage = true;
    } else if (kind == k::kFollow || kind == k::kReadiness || kind == k::kCommitLag) {
        // Says something about now only.
        on.lineage = true;
        on.schema = false;
        on.age_ms_max = limits::kReadinessAge_ms_max;
    } else if (kind == k::kCommitVerify) {
        on.lineage = true;
    }
    return on;
}

std::string why_stale(const EvidenceRow& row, const EvidenceContext& now, int64_t now_ms,
                      const GateSettings& settings) {
    const EvidenceDependence on = dependence_of(row.kind);
    const int64_t age_max = on.age_ms_max > 0 ? std::min(on.age_ms_max, settings.evidence_age_ms)
                                              : settings.evidence_age_ms;
    const auto differs = [](const std::string& then, const std::string& current) {
        return then != current;
    };
    if (on.config && differs(row.context.config_hash, now.config_hash))
        return "the configuration changed since";
    if (on.plan && differs(row.context.plan_hash, now.plan_hash)) return "the plan changed since";
    if (on.lineage && differs(row.context.lineage, now.lineage))
        return "the data was copied anew since";
    if (on.schema && differs(row.context.schema_hash, now.schema_hash))
        return "the endpoints' settings or schema changed since";
    if (on.tool && differs(row.context.tool_version, now.tool_version))
        return "another version of exodus took it";
    if (now_ms - row.at_ms > age_max) {
        return "it is older than " + (age_max >= 3'600'000
                                          ? std::to_string(age_max / 3'600'000) + " h"
                                          : std::to_string(age_max / 1000) + " s");
    }
    return {};
}

std::string verify_json(const VerifyResult& result) {
    return json_text({{"source_keys", result.source_keys},
                      {"target_keys", result.target_keys},
                      {"compared", result.compared},
                      {"missing", result.missing},
                      {"extra", result.extra},
                      {"different", result.different},
                      {"unresolved", result.unresolved},
                      {"kept", result.kept}});
}

}  // namespace exodus
