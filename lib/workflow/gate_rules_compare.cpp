// The requirements of G3: both sides answer alike and hold the same data. G8 asks the verify as
// well.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "workflow/evidence.h"
#include "workflow/gate_rules.h"
#include "workflow/statistics.h"

namespace exodus {

using nlohmann::json;
namespace kind = evidence_kind;

Status GateRules::full_verify(const char* name, const std::string& requirement) {
    return with_evidence(
        name, requirement, "exodus divergences, then run the phase again",
        [&](const json& data) -> Status {
            const auto missing = data.at("missing").get<uint64_t>();
            const auto extra = data.at("extra").get<uint64_t>();
            const auto different = data.at("different").get<uint64_t>();
            const auto unresolved = data.at("unresolved").get<uint64_t>();
            std::string found = fmt::format(
                "{} compared: {} missing, {} extra, {} different, {} unresolved",
                data.at("compared").get<uint64_t>(), missing, extra, different, unresolved);
            // What the operator's conflict policy keeps is said, and is no divergence.
            if (const auto kept = data.value("kept", uint64_t{0}); kept > 0)
                found += fmt::format(", {} kept by the conflict policy", kept);
            // Divergences in the data fail whatever their rate. Unresolved is no difference, but no
            // proof either.
            const GateVerdict verdict = missing + extra + different > 0 ? GateVerdict::fail
                                        : unresolved > 0                ? GateVerdict::inconclusive
                                                                        : GateVerdict::pass;
            add(requirement, found, verdict,
                verdict == GateVerdict::pass ? "" : "exodus divergences");
            return {};
        });
}

Status GateRules::compare_classes(const json& data) {
    const double budget = in_.settings.compare.budget;
    const double confidence = in_.settings.compare.confidence;
    uint64_t comparisons = 0;
    uint64_t passed = 0;
    for (const json& row : data.at("classes")) {
        ClassCounts counts;
        counts.name = row.at("class").get<std::string>();
        counts.comparisons = row.at("comparisons").get<uint64_t>();
        counts.confirmed = row.at("confirmed").get<uint64_t>();
        counts.aa_comparisons = row.value("aa_comparisons", uint64_t{0});
        counts.aa_confirmed = row.value("aa_confirmed", uint64_t{0});
        counts.unresolved = row.value("unresolved", uint64_t{0});
        comparisons += counts.comparisons;
        const ClassVerdict verdict = decide_class(counts, budget, confidence);
        if (verdict.passes()) {
            ++passed;
            continue;
        }
        const std::string requirement = "answers of " + counts.name;
        const std::string found = fmt::format(
            "{} confirmed{} of {}: [{:.2g}, {:.2g}] against {:.2g}, noise {:.2g}", counts.confirmed,
            counts.unresolved > 0 ? fmt::format(" and {} unresolved", counts.unresolved) : "",
            counts.comparisons, verdict.lower, verdict.upper, budget, verdict.noise);
        if (verdict.decision == ClassDecision::above) {
            add(requirement, found, false, "exodus divergences");
            continue;
        }
        // Too few samples without a single divergence may be accepted by name; it is a decision,
        // never a pass by itself.
        const bool none = counts.confirmed + counts.unresolved == 0;
        auto ack =
            none ? acknowledged("compare:" + counts.name) : Result<std::string>(std::string());
        if (!ack) return tl::unexpected(std::move(ack).error());
        if (!ack->empty()) {
            add(requirement, found + "; accepted by " + *ack, GateVerdict::pass);
        } else {
            add(requirement, found, GateVerdict::inconclusive,
                fmt::format("compare at least {} answers of {}", verdict.needed, counts.name));
        }
    }
    const uint64_t want = in_.settings.gates.compare_samples_min;
    add("enough answers were compared", fmt::format("{} of {}", comparisons, want),
        comparisons > 0 && comparisons >= want ? GateVerdict::pass : GateVerdict::inconclusive,
        comparisons >= want ? "" : "exodus compare --resume, for longer or under more load");
    add(fmt::format("every other class: divergence ≤ {:.2g} at {:.4g} %, or not above noise",
                    budget, confidence * 100),
        fmt::format("{} classes", passed), GateVerdict::pass);
    return {};
}

Status GateRules::compare() {
    EXODUS_TRY(with_evidence(kind::kCompareReads, "answers are equal within the budget",
                             "exodus compare --mode reads",
                             [&](const json& data) { return compare_classes(data); }));
    return full_verify(kind::kCompareData, "full verify: nothing missing, extra or different");
}

}  // namespace exodus
