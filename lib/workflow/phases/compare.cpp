#include "workflow/phases/compare.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "core/consent.h"
#include "workflow/gate_text.h"
#include "workflow/limits.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/reads_compare.h"
#include "workflow/statistics.h"
#include "workflow/traffic_delta.h"

namespace exodus {

using nlohmann::json;

namespace {

/// Counters of an interrupted run are kept at least this often.
constexpr int64_t kKeep_us = 5'000'000;
/// Rare classes get more time after the others have enough: as long again as it took, between
/// these.
constexpr int64_t kRare_ms_min = 2'000;
constexpr int64_t kRare_ms_max = 600'000;

/// The settings with what the command line changed, for the route and for what the gate asks.
struct Wanted {
    double mirror = 0;
    double aa = 0;
    uint64_t samples = 0;
};

Wanted wanted(PhaseRun& run, const CompareOptions& options) {
    Wanted out;
    out.mirror = options.mirror_percent.value_or(run.settings().compare.mirror_percent);
    out.aa = options.aa_percent.value_or(run.settings().compare.aa_percent);
    out.samples = options.samples_min.value_or(run.settings().gates.compare_samples_min);
    if (options.mode == CompareMode::data) out.mirror = out.aa = 0;
    return out;
}

/// Once the target was copied for good, another copy is another attempt: what stands in the state
/// (`ready`, a canary, an approval) is about the one that would go.
Status may_start_over(const MigrationRow& row) {
    switch (row.state) {
        case MigrationState::copying:
        case MigrationState::following:
        case MigrationState::ready:
            return fail(ErrorCode::not_allowed,
                        fmt::format("compare --restart is not possible in state '{}': the copy is "
                                    "the migration's by now",
                                    to_string(row.state)),
                        "compare without --restart, or copy everything anew: exodus rollback, then "
                        "exodus compare");
        case MigrationState::rolled_back:
            return fail(ErrorCode::not_allowed,
                        "compare --restart is not possible in state 'rolled_back': the target "
                        "holds the data and follows",
                        "compare without --restart, or copy everything anew: exodus rollback "
                        "--give-up, then exodus compare");
        default:
            return {};
    }
}

/// What the movement keeps goes; what the operator has accepted for it stays, as until rollback.
Status forget_copy(PhaseRun& run, Direction direction) {
    Journal& journal = run.context().journal;
    auto accepted = journal.load_position(to_string(direction), kFullSyncConsent);
    if (!accepted) return tl::unexpected(accepted.error());
    EXODUS_TRY(forget(run, direction));
    if (!*accepted) return {};
    return journal.save_position(to_string(direction), kFullSyncConsent, **accepted);
}

/// Everything from the start. Both movements are taken off, or the store would begin no new lineage
/// and what was proven with the old copy would count for the new one; their traces are removed.
Status start_over(PhaseRun& run) {
    EXODUS_TRY(run.transition(row_at_rest(run.row()), "compare --restart"));
    EXODUS_TRY(forget_copy(run, Direction::forward));
    return forget_copy(run, Direction::reverse);
}

/// However compare ends, mirroring ends with it; the target goes on following.
Status end_mirroring(PhaseRun& run) {
    const Route& route = run.row().route;
    if (route.mirror_percent == 0 && route.aa_percent == 0) return {};
    return run.transition(row_without_mirror(run.row()), "compare ends");
}

/// Classes about which nothing can be said yet.
std::vector<std::string> undecided(PhaseRun& run, const ReadsCompare& reads) {
    std::vector<std::string> out;
    for (const auto& [name, counts] : reads.counts()) {
        if (!counts.seen()) continue;
        const ClassVerdict verdict =
            decide_class({name, counts.comparisons, counts.confirmed, counts.aa_comparisons,
                          counts.aa_confirmed, counts.unresolved},
                         run.settings().compare.budget, run.settings().compare.confidence);
        if (verdict.decision == ClassDecision::inconclusive) out.push_back(name);
    }
    return out;
}

Status compare_reads(PhaseRun& run, const CompareOptions& options, const Wanted& want) {
    auto now = run.store().context(run.row().id);
    if (!now) return tl::unexpected(now.error());
    // What an interrupted run has counted counts as long as nothing was copied anew since.
    const json& earlier = run.resumed_detail();
    const bool goes_on = earlier.value("lineage", "") == now->lineage && !options.restart;
    // What was found before is not what this run finds: status and metrics show the newest.
    if (DivergenceLog* log = run.context().divergences; log != nullptr && !goes_on)
        EXODUS_TRY(log->clear());
    ReadsCompare reads;
    EXODUS_TRY(reads.begin(run, goes_on ? earlier : json::object()));
    const auto keep = [&] {
        json detail = reads.to_json();
        detail["lineage"] = now->lineage;
        return run.save_detail(detail);
    };
    const Deadline over = Deadline::in(options.reads_duration_max);
    int64_t kept_us = steady_us();
    Status ended;
    uint64_t at_start = 0;
    const int64_t started_us = steady_us();
    int64_t rare_until_us = 0;
    uint64_t seen = 0;  // comparisons when they last grew, or nothing was wrong
    int64_t seen_us = started_us;
    while (true) {
        EXODUS_TRY(reads.look(run));
        uint64_t done = 0;
        for (const auto& [name, counts] : reads.counts()) done += counts.comparisons;
        if (at_start == 0 || done < at_start) at_start = done;
        if (steady_us() - kept_us > kKeep_us) {
            EXODUS_TRY(keep());
            kept_us = steady_us();
        }
        const bool enough = done >= want.samples;
        const int64_t now_us = steady_us();
        const auto rare = enough ? undecided(run, reads) : std::vector<std::string>{};
        if (enough && rare_until_us == 0) {
            rare_until_us = now_us + std::clamp<int64_t>(now_us - started_us, kRare_ms_min * 1000,
                                                         kRare_ms_max * 1000);
        }
        if (enough && (rare.empty() || now_us > rare_until_us)) break;
        Progress line;
        line.step = "comparing reads";
        line.done = done;
        line.total = want.samples;
        line.unit = "reads";
        line.rate = static_cast<double>(done - at_start) * 1e6 /
                    static_cast<double>(std::max<int64_t>(1, steady_us() - started_us));
        if (enough)
            line.waiting_for =
                fmt::format("more answers of {}{}", rare.front(),
                            rare.size() > 1 ? fmt::format(" and {} more", rare.size() - 1) : "");
        if (line.rate > 0 && !enough)
            line.eta_ms =
                static_cast<int64_t>(static_cast<double>(want.samples - done) / line.rate * 1000);
        if (done == at_start) line.waiting_for = "reads through the interlay that can be compared";
        run.progress(std::move(line));
        if (options.reads_duration_max.count() > 0 && over.passed())
            break;  // the gate says inconclusive
        auto status = movement_status(run, Direction::forward);
        if (!status) ended = tl::unexpected(status.error());
        if (ended && !status->blocked.empty())
            ended = fail(ErrorCode::safety, "the forward movement is blocked: " + status->blocked);
        if (ended && (status->degraded.empty() || done != seen)) {
            seen = done;
            seen_us = now_us;
        } else if (ended && now_us - seen_us > limits::kCompareTargetAway_ms * 1000) {
            ended = fail(ErrorCode::unreachable,
                         fmt::format("nothing could be compared for {}: {}",
                                     span_text(limits::kCompareTargetAway_ms), status->degraded),
                         "when that is over, run compare again: it goes on with what it counted");
        }
        if (ended) ended = run.pause();
        if (!ended) break;
    }
    // Candidates that are being read again count only when they have an outcome. With new ones
    // coming there would always be some without.
    if (ended) ended = end_mirroring(run);
    const bool bounded = options.reads_duration_max.count() > 0;
    const Deadline recheck = Deadline::in(
        milliseconds(bounded ? limits::kRecheckBounded_ms_max : limits::kRecheck_ms_max));
    const Deadline courtesy = Deadline::in(milliseconds(limits::kRecheckDecided_ms_max));
    while (ended && reads.open_pairs() > 0 && !recheck.passed()) {
        if (courtesy.passed() && undecided(run, reads).empty()) break;
        Progress line;
        line.step = "comparing reads";
        line.waiting_for =
            fmt::format("{} differing answers to be read again", grouped(reads.open_pairs()));
        run.progress(std::move(line));
        ended = run.pause();
        if (ended) ended = reads.look(run);
    }
    const json data = reads.to_json();
    EXODUS_TRY(keep());
    if (!ended) return ended;
    uint64_t total = 0;
    uint64_t confirmed = 0;
    uint64_t unresolved = 0;
    for (const auto& [name, counts] : reads.counts()) {
        total += counts.comparisons;
        confirmed += counts.confirmed;
        unresolved += counts.unresolved;
    }
    const TrafficTotals sum = totals(reads.traffic());
    run.outcome.numbers["reads"] = data;
    run.outcome.numbers["latency_us"] = {{"source_p99", sum.latency_us.percentile(0.99)},
                                         {"target_p99", sum.shadow_latency_us.percentile(0.99)},
                                         {"source_p50", sum.latency_us.percentile(0.5)},
                                         {"target_p50", sum.shadow_latency_us.percentile(0.5)}};
    run.detail(fmt::format("compare   {} reads   {} confirmed   {} unresolved", grouped(total),
                           grouped(confirmed), grouped(unresolved)));
    if (const uint64_t left = reads.traffic().comparator_dropped + reads.open_pairs(); left > 0) {
        run.note(Severity::info,
                 fmt::format("of the answers that differ {} could not be read again in time: equal "
                             "ones count in the same proportion; a smaller --mirror-percent leaves "
                             "more time",
                             grouped(left)));
    }
    run.detail(fmt::format(
        "latency   source p50 {:.2f} ms p99 {:.2f} ms   target p50 {:.2f} ms p99 {:.2f} ms",
        static_cast<double>(sum.latency_us.percentile(0.5)) / 1000,
        static_cast<double>(sum.latency_us.percentile(0.99)) / 1000,
        static_cast<double>(sum.shadow_latency_us.percentile(0.5)) / 1000,
        static_cast<double>(sum.shadow_latency_us.percentile(0.99)) / 1000));
    json evidence = data;
    evidence["shadow_dropped"] = reads.traffic().shadow_dropped;
    evidence["comparator_dropped"] = reads.traffic().comparator_dropped;
    evidence["latency_us"] = run.outcome.numbers["latency_us"];
    const bool decided = total >= want.samples && undecided(run, reads).empty();
    const auto verdict = !decided                      ? EvidenceVerdict::inconclusive
                         : confirmed + unresolved == 0 ? EvidenceVerdict::pass
                                                       : EvidenceVerdict::warn;
    return run.evidence(evidence_kind::kCompareReads, verdict, evidence);
}

Status compare_data(PhaseRun& run) {
    auto result = run.verify(Direction::forward, "verifying all data");
    if (!result) return tl::unexpected(result.error());
    run.detail("data      " + verify_text(*result));
    run.outcome.numbers["data"] = json::parse(verify_json(*result));
    return run.evidence(evidence_kind::kCompareData,
                        result->clean() ? EvidenceVerdict::pass : EvidenceVerdict::fail,
                        run.outcome.numbers["data"]);
}

Status measure(PhaseRun& run, const CompareOptions& options, const Wanted& want) {
    EXODUS_TRY(wait_following(run, Direction::forward));
    // The fill may have brought what belongs to the fingerprint (functions); evidence from here on
    // is about that target.
    EXODUS_TRY(run.store_context());
    // Data first: reads are compared on a target that is known to be complete, so a difference
    // means something.
    if (options.mode != CompareMode::reads) EXODUS_TRY(compare_data(run));
    if (options.mode == CompareMode::data) return {};
    MigrationRow mirrored = row_for_compare(run.row(), want.mirror, want.aa);
    mirrored.reverse = run.row().reverse;
    EXODUS_TRY(run.transition(std::move(mirrored),
                              fmt::format("compare: mirror {} % of the reads", want.mirror)));
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    return compare_reads(run, options, want);
}

Status body(PhaseRun& run, const CompareOptions& options) {
    EXODUS_TRY(run.store_context());
    EXODUS_TRY(run.demand(Gate::analyze));
    const Wanted want = wanted(run, options);
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    if (options.restart && !at_rest(run.row())) EXODUS_TRY(start_over(run));
    EXODUS_TRY(
        run.transition(row_for_compare(run.row(), 0, 0), "compare: seed the target and follow"));
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    const Status measured = measure(run, options, want);
    EXODUS_TRY(end_mirroring(run));
    EXODUS_TRY(measured);
    for (const std::string& name : options.ack) {
        EXODUS_TRY(acknowledge(run.store(), run.row(), "compare:" + name, run.context().reason,
                               run.context().owner, run.settings().config_hash));
    }
    EXODUS_TRY(run.demand_own(Gate::compare));
    const MigrationState next = state_after(Command::compare, run.row().state);
    if (next != run.row().state) EXODUS_TRY(run.enter(next, "gate G3 holds"));
    run.outcome.headline = "compare passed: the target holds the same data and answers alike";
    return {};
}

}  // namespace

PhaseOutcome run_compare(PhaseContext& context, const CompareOptions& options) {
    PhaseFrame frame;
    frame.plan = {"fill the target from the source and follow its changes",
                  "verify all data in both directions",
                  "mirror reads to the target and compare the answers; clients get the source's"};
    frame.gates = {Gate::analyze};
    if (options.restart) frame.allows = may_start_over;
    // The gate reads budget and confidence from the settings; the command line's win for this run.
    Settings settings = context.settings;
    settings.compare.budget = options.budget.value_or(settings.compare.budget);
    settings.compare.confidence = options.confidence.value_or(settings.compare.confidence);
    settings.gates.compare_samples_min =
        options.samples_min.value_or(settings.gates.compare_samples_min);
    PhaseContext mine = context.with(settings);
    return run_phase(mine, Command::compare, "compare", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

}  // namespace exodus
