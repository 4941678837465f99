#include "workflow/phases/canary.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/gate_text.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/reads_compare.h"
#include "workflow/statistics.h"

namespace exodus {

using nlohmann::json;

namespace {

/// The source alone is watched this long first: limits are relative to what it showed.
constexpr int64_t kBaseline_ms_max = 10'000;
/// Fewer requests say nothing about a share of errors or a 99th percentile.
constexpr uint64_t kRequests_min = 200;

struct Seen {
    uint64_t requests = 0;
    uint64_t errors = 0;
    uint64_t p99_us = 0;
    uint64_t compared = 0;  ///< mirrored reads
    uint64_t confirmed = 0;
    uint64_t answered = 0;  ///< by the target
    uint64_t deferred = 0;  ///< of the target's share, by the source
    std::string differs;    ///< a class that gate G3 would not take
    [[nodiscard]] double error_rate() const {
        return requests == 0 ? 0 : static_cast<double>(errors) / static_cast<double>(requests);
    }
};

Seen seen_of(const ReadsCompare& reads, const CompareSettings& limits) {
    Seen out;
    const TrafficStats& stats = reads.traffic();
    for (const auto& [name, counts] : reads.counts()) {
        out.compared += counts.comparisons;
        out.confirmed += counts.confirmed;
        const ClassVerdict verdict = decide_class({.name = name,
                                                   .comparisons = counts.comparisons,
                                                   .confirmed = counts.confirmed,
                                                   .aa_comparisons = counts.aa_comparisons,
                                                   .aa_confirmed = counts.aa_confirmed,
                                                   .unresolved = counts.unresolved},
                                                  limits.budget, limits.confidence);
        if (verdict.decision == ClassDecision::above)
            out.differs = fmt::format("{} of {} mirrored {} were answered differently",
                                      grouped(counts.confirmed), grouped(counts.comparisons), name);
    }
    Histogram latencies;
    for (const auto& [name, row] : stats.commands) {
        if (row.is_write) continue;
        out.requests += row.requests;
        out.errors += row.errors;
        latencies.merge(row.latency_us);
    }
    out.p99_us = latencies.percentile(0.99);
    const auto counter = [&stats](const char* name) {
        const auto found = stats.counters.find(name);
        return found == stats.counters.end() ? uint64_t{0} : found->second;
    };
    out.answered = counter("canary_answered");
    out.deferred = counter("canary_deferred");
    return out;
}

std::string breach_of(PhaseRun& run, const Seen& now, const Seen& before) {
    const CanarySettings& limit = run.settings().migrate.canary;
    if (now.requests < kRequests_min) return {};
    const double more_errors = now.error_rate() - before.error_rate();
    if (more_errors > limit.abort_error_rate) {
        return fmt::format("{:.2f} % of the reads failed, {:.2f} % before", 100 * now.error_rate(),
                           100 * before.error_rate());
    }
    if (!now.differs.empty()) return now.differs;
    // A histogram bucket is up to 6.25 % wide, and a fast source makes every ratio large: half a
    // millisecond is no breach.
    const bool slower = static_cast<double>(now.p99_us) >
                        static_cast<double>(before.p99_us) * limit.abort_p99_ratio * 1.0625;
    if (before.requests >= kRequests_min && slower && now.p99_us > before.p99_us + 500) {
        return fmt::format("p99 of reads is {:.2f} ms, {:.2f} ms before",
                           static_cast<double>(now.p99_us) / 1000,
                           static_cast<double>(before.p99_us) / 1000);
    }
    return {};
}

Status publish(PhaseRun& run, double percent, const std::string& why) {
    auto next = row_for_canary(run.row(), percent);
    if (!next) return tl::unexpected(next.error());
    EXODUS_TRY(run.transition(std::move(*next), why));
    return run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max));
}

Status take_back(PhaseRun& run, const std::string& why) {
    const double percent = run.row().route.canary_percent;
    EXODUS_TRY(publish(run, 0, "canary taken back: " + why));
    auto event = run.store().add_event(run.row().id, "warn", "canary.taken-back", why);
    if (!event) return tl::unexpected(event.error());
    return fail(ErrorCode::safety,
                fmt::format("the canary at {} % was taken back: {}", percent, why),
                "all reads are answered by the source again; nothing was lost");
}

/// Watches for `span`; `judge` ends it early with a reason.
Result<Seen> watch(PhaseRun& run, int64_t span_ms, const std::string& step,
                   const std::function<std::string(const Seen&)>& judge, std::string& breach) {
    ReadsCompare reads;
    EXODUS_TRY(reads.begin(run, json::object()));
    const int64_t started_us = steady_us();
    while (true) {
        EXODUS_TRY(reads.look(run));
        const Seen now = seen_of(reads, run.settings().compare);
        const int64_t elapsed_ms = (steady_us() - started_us) / 1000;
        Progress line;
        line.step = step;
        line.done = static_cast<uint64_t>(std::min(elapsed_ms, span_ms));
        line.total = static_cast<uint64_t>(span_ms);
        line.unit = "ms";
        line.eta_ms = std::max<int64_t>(0, span_ms - elapsed_ms);
        run.progress(std::move(line));
        breach = judge(now);
        auto status = movement_status(run, Direction::forward);
        if (!status) return tl::unexpected(status.error());
        if (!status->blocked.empty())
            breach = "the forward movement is blocked: " + status->blocked;
        if (!breach.empty() || elapsed_ms >= span_ms) return now;
        EXODUS_TRY(run.pause());
    }
}

Result<Seen> baseline(PhaseRun& run) {
    const json kept = run.outcome.numbers.value("canary_baseline", json::object());
    if (!kept.empty()) {
        Seen seen;
        seen.requests = kept.value("requests", uint64_t{0});
        seen.errors = kept.value("errors", uint64_t{0});
        seen.p99_us = kept.value("p99_us", uint64_t{0});
        return seen;
    }
    // Of a run before this one, which may have been stopped while it watched.
    if (run.row().route.canary_percent > 0)
        EXODUS_TRY(publish(run, 0, "canary ends: the source alone is watched first"));
    std::string none;
    auto seen = watch(
        run, std::min(run.settings().migrate.canary.hold_ms, kBaseline_ms_max),
        "watching the source alone", [](const Seen&) { return std::string(); }, none);
    if (seen)
        run.outcome.numbers["canary_baseline"] = {
            {"requests", seen->requests}, {"errors", seen->errors}, {"p99_us", seen->p99_us}};
    return seen;
}

}  // namespace

Status canary_step(PhaseRun& run, double percent) {
    if (percent <= 0) {
        if (run.row().route.canary_percent <= 0) return {};
        return publish(run, 0, "canary ends");
    }
    EXODUS_TRY(wait_following(run, Direction::forward));
    auto before = baseline(run);
    if (!before) return tl::unexpected(before.error());
    EXODUS_TRY(publish(run, percent,
                       fmt::format("canary: {} % of sessions read from the target", percent)));
    std::string breach;
    auto seen = watch(
        run, run.settings().migrate.canary.hold_ms, fmt::format("canary {} %", percent),
        [&](const Seen& now) { return breach_of(run, now, *before); }, breach);
    if (!seen) return tl::unexpected(seen.error());
    // A step in which the source answered everything says nothing about the target.
    if (breach.empty() && seen->answered == 0 && seen->deferred >= kRequests_min) {
        breach = fmt::format("the target answered none of the {} reads of its share",
                             grouped(seen->deferred));
    }
    run.outcome.numbers["canary"].push_back({{"percent", percent},
                                             {"requests", seen->requests},
                                             {"errors", seen->errors},
                                             {"p99_us", seen->p99_us},
                                             {"compared", seen->compared},
                                             {"confirmed", seen->confirmed},
                                             {"answered", seen->answered},
                                             {"deferred", seen->deferred},
                                             {"breach", breach}});
    if (!breach.empty()) return take_back(run, breach);
    run.detail(fmt::format("canary    {} %: {} reads, {} errors, p99 {:.2f} ms", percent,
                           grouped(seen->requests), grouped(seen->errors),
                           static_cast<double>(seen->p99_us) / 1000));
    return {};
}

Status canary_steps(PhaseRun& run) {
    // Whether the step that was reached was watched to its end is not known: it is taken again.
    const double reached = run.row().route.canary_percent;
    for (const double percent : run.settings().migrate.canary.steps) {
        if (percent < reached) continue;
        EXODUS_TRY(canary_step(run, percent));
    }
    return {};
}

}  // namespace exodus
