#include "workflow/phases/rehearsal.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/gate_text.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/switching.h"

namespace exodus {

using nlohmann::json;

namespace {

/// Leaves Cutover::run() as a killed process would: nothing after this point happens, what is
/// durable stays. Thrown and caught in this file only; cutover.cpp keeps nothing but what it has
/// stored and RAII connections.
struct SimulatedCrash {};

/// One point before the fence, one with the fence up, one before and one after the point of no
/// return.
constexpr std::array<std::string_view, 4> kCrashPoints{"C2.after-effect", "C3.after-effect",
                                                       "C6.after-done", "C7.after-done"};

struct Drill {
    std::vector<int64_t> hold_us;
    uint64_t switches = 0;
    uint64_t rollbacks = 0;
    bool equal = true;
    uint64_t compared = 0;  ///< by the last verification
    std::vector<std::string> problems;
};

CutoverRequest request_of(PhaseRun& run, CutoverKind kind) {
    CutoverRequest request;
    request.kind = kind;
    request.hold_timeout_ms = run.settings().cutover.hold_timeout_ms;
    request.success_state = run.row().state;
    request.reason = "rehearsal";
    return request;
}

void show(PhaseRun& run, const std::string& step, const std::string& waiting = {}) {
    Progress line;
    line.step = step;
    line.waiting_for = waiting;
    run.progress(std::move(line));
}

/// The source gets its authority back, whatever happened before; three times. A stop waits for it.
Status give_back(PhaseRun& run, Drill& drill) {
    const PhaseRun::Uninterruptible critical(run);
    int tries = 0;
    while (run.row().route.authority == Side::target) {
        EXODUS_TRY(wait_following(run, Direction::reverse));
        show(run, "rehearsing the rollback");
        auto report = run.cutover(request_of(run, CutoverKind::hand_to_source));
        if (!report)
            return fail(std::move(report.error()), "giving the authority back to the source");
        if (report->outcome == CutoverOutcome::done) {
            drill.hold_us.push_back(report->hold_us);
            ++drill.rollbacks;
            return {};
        }
        drill.problems.push_back(
            fmt::format("rollback aborted at {}: {}", report->failed_step, report->why.message));
        if (++tries == 3) {
            return fail(ErrorCode::safety,
                        "the rehearsed rollback was aborted three times: " + report->why.message,
                        "the target is authoritative and complete; run exodus rollback or exodus "
                        "test again");
        }
        EXODUS_TRY(run.pause());
    }
    return {};
}

Status judge(Result<VerifyResult> result, const std::string& when, Drill& drill) {
    if (!result) return tl::unexpected(result.error());
    drill.compared = result->compared;
    if (result->clean()) return {};
    drill.equal = false;
    drill.problems.push_back(fmt::format("{}: {}", when, verify_text(*result)));
    return {};
}

Status verify_equal(PhaseRun& run, Direction direction, const std::string& when, Drill& drill) {
    return judge(run.verify(direction, "verifying all data " + when), when, drill);
}

/// The keys that changed since `began_us`, whichever side was authoritative. All data are verified
/// once when everything was rehearsed: what one step had spoiled would still be spoiled then.
Status verify_touched(PhaseRun& run, Direction direction, const std::string& when, int64_t began_us,
                      Drill& drill) {
    const milliseconds span((steady_us() - began_us) / 1000 + limits::kTouchedSpan_ms);
    return judge(run.verify_touched(direction, span, "verifying what changed, " + when), when,
                 drill);
}

Status ready_to_switch(PhaseRun& run) {
    auto lag = wait_lag_of_hand_over(run, Side::target);
    if (!lag) return tl::unexpected(lag.error());
    return prove_standby(run, Direction::reverse);
}

/// Switch, verify, rollback, verify. Without `both` everything up to C6 and a deliberate abort.
/// `last`: nothing is rehearsed behind it, so all data are verified here.
Status full_rehearsal(PhaseRun& run, bool both, bool last, Drill& drill) {
    const int64_t began_us = steady_us();
    EXODUS_TRY(ready_to_switch(run));
    show(run, "rehearsing the switch");
    CutoverRequest request = request_of(run, CutoverKind::hand_to_target);
    request.rehearse_only = !both;
    auto report = run.cutover(std::move(request));
    if (!report) return fail(std::move(report.error()), "rehearsing the switch");
    if (report->outcome == CutoverOutcome::aborted) {
        drill.problems.push_back(
            fmt::format("switch aborted at {}: {}", report->failed_step, report->why.message));
        return {};
    }
    drill.hold_us.push_back(report->hold_us);
    ++drill.switches;
    if (!both) return verify_equal(run, Direction::forward, "after the rehearsed switch", drill);
    Status done = wait_following(run, Direction::reverse);
    if (done) done = verify_equal(run, Direction::reverse, "after the rehearsed switch", drill);
    // A stop in between must not leave the target authoritative: the way back comes first, then the
    // stop.
    const Status back = give_back(run, drill);
    if (!back) return back;
    EXODUS_TRY(done);
    EXODUS_TRY(wait_following(run, Direction::forward));
    const char* when = "after the rehearsed rollback";
    return last ? verify_equal(run, Direction::forward, when, drill)
                : verify_touched(run, Direction::forward, when, began_us, drill);
}

/// One cutover that dies at `point`, resumed by a new one as the operator's next command would.
Result<json> crash_drill(PhaseRun& run, std::string_view point) {
    const int64_t began_us = steady_us();
    EXODUS_TRY(ready_to_switch(run));
    show(run, fmt::format("crashing the cutover at {}", point));
    const CutoverRequest request = request_of(run, CutoverKind::hand_to_target);
    bool crashed = false;
    try {
        auto report = run.cutover(request, [&](std::string_view at) {
            if (at != point) return;
            crashed = true;
            throw SimulatedCrash{};
        });
        if (!report) return fail(std::move(report.error()), fmt::format("the drill at {}", point));
    } catch (const SimulatedCrash&) {
    }
    EXODUS_TRY(run.refresh());
    Drill drill;
    std::string text;
    bool passed = crashed;
    if (!crashed) text = "the cutover never came to this point";
    if (crashed) {
        show(run, fmt::format("resuming after the crash at {}", point));
        auto report = run.cutover(request);
        if (!report)
            return fail(std::move(report.error()),
                        fmt::format("resuming after the crash at {}", point));
        const bool done = report->outcome == CutoverOutcome::done;
        passed = done || run.row().route.authority == Side::source;
        text = done ? fmt::format("resumed and completed, held {:.1f} ms",
                                  static_cast<double>(report->hold_us) / 1000)
                    : fmt::format("resumed and aborted at {}, authority unchanged",
                                  report->failed_step);
        // From C7 on there is only forward.
        if (point.starts_with("C7") && !done) passed = false;
    }
    const Direction feed =
        run.row().route.authority == Side::target ? Direction::reverse : Direction::forward;
    EXODUS_TRY(wait_following(run, feed));
    EXODUS_TRY(
        verify_touched(run, feed, fmt::format("after the crash at {}", point), began_us, drill));
    EXODUS_TRY(give_back(run, drill));
    for (const std::string& problem : drill.problems) text += "; " + problem;
    passed =
        passed && drill.equal && run.row().route.authority == Side::source && !run.row().route.hold;
    return json{{"name", fmt::format("crash at {}", point)},
                {"passed", passed},
                {"text", text},
                {"keys_compared", drill.compared}};
}

/// The target must follow and the way back must stand by, also in states that do not keep both.
Status start_movements(PhaseRun& run) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    MigrationRow next = row_without_mirror(run.row());
    next.forward = MovementMode::apply;
    next.reverse = MovementMode::standby;
    if (next.forward != run.row().forward || next.reverse != run.row().reverse ||
        next.route != run.row().route) {
        EXODUS_TRY(
            run.transition(std::move(next), "test: the target follows, the way back stands by"));
    }
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    return wait_following(run, Direction::forward);
}

Status store_rehearsal(PhaseRun& run, Drill& drill) {
    std::vector<int64_t> sorted = drill.hold_us;
    std::sort(sorted.begin(), sorted.end());
    // With a handful of pauses the 99th percentile is the longest one.
    const int64_t p99 = sorted.empty()
                            ? 0
                            : sorted[static_cast<std::size_t>(
                                  static_cast<double>(sorted.size() - 1) * 0.99 + 0.999)];
    const int64_t limit = run.settings().cutover.hold_timeout_ms;
    const json data = {{"switches", drill.switches}, {"rollbacks", drill.rollbacks},
                       {"hold_us", drill.hold_us},   {"hold_p99_us", p99},
                       {"hold_limit_ms", limit},     {"equal_after_each", drill.equal},
                       {"problems", drill.problems}};
    run.outcome.numbers["rehearsal"] = data;
    run.detail(
        fmt::format("rehearsal {} switches, {} rollbacks, pause p99 {:.1f} ms of {} allowed, {}",
                    drill.switches, drill.rollbacks, static_cast<double>(p99) / 1000,
                    span_text(limit), drill.equal ? "both sides equal" : "SIDES DIFFER"));
    for (const std::string& problem : drill.problems) run.detail("          " + problem);
    const bool good = drill.equal && drill.problems.empty();
    return run.evidence(evidence_kind::kRehearsal,
                        good ? EvidenceVerdict::pass : EvidenceVerdict::fail, data);
}

}  // namespace

Status rehearse(PhaseRun& run, const TestOptions& options) {
    EXODUS_TRY(start_movements(run));
    if (options.drill_switch || options.drill_rollback) {
        Drill drill;
        EXODUS_TRY(full_rehearsal(run, options.drill_rollback, !options.drill_crash, drill));
        EXODUS_TRY(store_rehearsal(run, drill));
    }
    if (!options.drill_crash) return {};
    json drills = json::array();
    bool all = true;
    for (const std::string_view point : kCrashPoints) {
        EXODUS_TRY(run.may_go_on());
        auto drill = crash_drill(run, point);
        if (!drill) {
            // The authority goes home even when a drill could not be finished.
            Drill ignored;
            const Status back = run.refresh() ? give_back(run, ignored) : Status{};
            if (!back) return back;
            return tl::unexpected(drill.error());
        }
        const bool passed = drill->at("passed").get<bool>();
        all = all && passed;
        run.detail(fmt::format("drill     {}: {}, {}", drill->at("name").get<std::string>(),
                               passed ? "passed" : "FAILED", drill->at("text").get<std::string>()));
        drills.push_back(std::move(*drill));
    }
    EXODUS_TRY(wait_following(run, Direction::forward));
    Drill end;
    EXODUS_TRY(verify_equal(run, Direction::forward, "after all drills", end));
    run.detail(fmt::format(
        "drills    {}", end.equal
                            ? fmt::format("{} keys equal after all of them", grouped(end.compared))
                            : end.problems.front()));
    run.outcome.numbers["drills"] = drills;
    return run.evidence(
        evidence_kind::kDrills, all && end.equal ? EvidenceVerdict::pass : EvidenceVerdict::fail,
        {{"drills", drills}, {"equal_after_all", end.equal}, {"keys_compared", end.compared}});
}

}  // namespace exodus
