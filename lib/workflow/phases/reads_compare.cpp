#include "workflow/phases/reads_compare.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "workflow/traffic_delta.h"

namespace exodus {

using nlohmann::json;

namespace {

/// Of a counter that may have begun anew.
uint64_t minus(uint64_t end, uint64_t start) { return end >= start ? end - start : end; }
/// Never below nothing.
uint64_t less(uint64_t from, uint64_t taken) { return from > taken ? from - taken : 0; }

}  // namespace

ReadClass& ReadClass::operator+=(const ReadClass& more) {
    comparisons += more.comparisons;
    confirmed += more.confirmed;
    unresolved += more.unresolved;
    not_comparable += more.not_comparable;
    aa_comparisons += more.aa_comparisons;
    aa_confirmed += more.aa_confirmed;
    dropped += more.dropped;
    open += more.open;
    return *this;
}

Result<ReadCounts> ReadsCompare::outcomes(PhaseRun& run) const {
    ReadCounts out;
    DivergenceLog* log = run.context().divergences;
    if (log == nullptr) return out;
    // The interlay writes there: on a slow disk the file is locked for longer than a reader waits.
    const Deadline patience = Deadline::in(milliseconds(limits::kPhaseBusy_ms));
    auto rows = log->counts();
    while (!rows && rows.error().code == ErrorCode::locked && !patience.passed()) {
        EXODUS_TRY(run.pause());
        rows = log->counts();
    }
    if (!rows) return fail(std::move(rows.error()), "reading the divergences");
    for (const DivergenceCounts& row : *rows) {
        ReadClass& counts = out[row.command];
        if (row.aa) {
            if (row.outcome == "confirmed") counts.aa_confirmed += row.count;
        } else if (row.outcome == "not_comparable") {
            counts.not_comparable += row.count;
        } else {
            counts.comparisons += row.count;
            if (row.outcome == "confirmed") counts.confirmed += row.count;
            if (row.outcome == "unresolved") counts.unresolved += row.count;
        }
    }
    return out;
}

Status ReadsCompare::begin(PhaseRun& run, const json& earlier) {
    earlier_.clear();
    if (const auto found = earlier.find("classes"); found != earlier.end() && found->is_array()) {
        for (const json& row : *found) {
            ReadClass counts;
            counts.comparisons = row.value("comparisons", uint64_t{0});
            counts.confirmed = row.value("confirmed", uint64_t{0});
            counts.unresolved = row.value("unresolved", uint64_t{0});
            counts.dropped = row.value("dropped", uint64_t{0});
            counts.aa_comparisons = row.value("aa_comparisons", uint64_t{0});
            counts.aa_confirmed = row.value("aa_confirmed", uint64_t{0});
            earlier_[row.value("class", "")] += counts;
        }
    }
    auto start = run.traffic();
    if (!start) return tl::unexpected(start.error());
    start_ = std::move(*start);
    auto logged = outcomes(run);
    if (!logged) return tl::unexpected(logged.error());
    logged_at_start_ = std::move(*logged);
    return look(run);
}

Status ReadsCompare::look(PhaseRun& run) {
    // The log first: an outcome must not settle a candidate that is not counted yet.
    auto logged = outcomes(run);
    if (!logged) return tl::unexpected(logged.error());
    auto end = run.traffic();
    if (!end) return tl::unexpected(end.error());
    between_ = traffic_between(start_, *end);
    now_.clear();
    for (const auto& [name, row] : between_.commands) {
        if (row.mirrored == 0 && row.aa_pairs == 0) continue;
        ReadClass& counts = now_[name];
        counts.dropped = row.comparator_dropped;
        counts.open = less(row.candidates, row.equal_by_rule);
        counts.comparisons = row.equal_by_rule;
    }
    for (const auto& [name, end_counts] : *logged) {
        const auto found = logged_at_start_.find(name);
        const ReadClass before = found == logged_at_start_.end() ? ReadClass{} : found->second;
        ReadClass& counts = now_[name];
        const uint64_t compared = minus(end_counts.comparisons, before.comparisons);
        counts.comparisons += compared;
        counts.confirmed = minus(end_counts.confirmed, before.confirmed);
        counts.unresolved = minus(end_counts.unresolved, before.unresolved);
        counts.not_comparable = minus(end_counts.not_comparable, before.not_comparable);
        counts.aa_confirmed = minus(end_counts.aa_confirmed, before.aa_confirmed);
        counts.open = less(counts.open, compared + counts.not_comparable);
    }
    for (const auto& [name, row] : between_.commands) {
        const auto found = now_.find(name);
        if (found == now_.end()) continue;
        ReadClass& counts = found->second;
        // So far the answers that differ; which of them are judged, time decides, not their values.
        const uint64_t judged = counts.comparisons + counts.not_comparable;
        const uint64_t differing = judged + counts.dropped + counts.open;
        const double share =
            differing == 0 ? 1 : static_cast<double>(judged) / static_cast<double>(differing);
        counts.comparisons += static_cast<uint64_t>(static_cast<double>(row.equal) * share);
        // The pairs of the noise arm go through the same comparator.
        counts.aa_comparisons = std::max(
            counts.aa_confirmed, static_cast<uint64_t>(static_cast<double>(row.aa_pairs) * share));
    }
    std::erase_if(now_, [](const auto& entry) {
        return !entry.second.seen() && entry.second.aa_comparisons == 0 &&
               entry.second.not_comparable == 0;
    });
    return {};
}

uint64_t ReadsCompare::open_pairs() const {
    uint64_t open = 0;
    for (const auto& [name, counts] : now_) open += counts.open;
    return open;
}

ReadCounts ReadsCompare::counts() const {
    ReadCounts all = earlier_;
    for (const auto& [name, counts] : now_) all[name] += counts;
    return all;
}

json ReadsCompare::to_json() const {
    json classes = json::array();
    json never = json::object();  // no rule compares them, so they prove nothing in either way
    for (const auto& [name, counts] : counts()) {
        if (!counts.seen()) {
            if (counts.not_comparable > 0) never[name] = counts.not_comparable;
            continue;
        }
        classes.push_back({{"class", name},
                           {"comparisons", counts.comparisons},
                           {"confirmed", counts.confirmed},
                           {"unresolved", counts.unresolved},
                           {"dropped", counts.dropped},
                           {"open", counts.open},
                           {"not_comparable", counts.not_comparable},
                           {"aa_comparisons", counts.aa_comparisons},
                           {"aa_confirmed", counts.aa_confirmed}});
    }
    return {{"classes", classes}, {"not_comparable", never}};
}

}  // namespace exodus
