// The moves that change who may write: the hold (C1), the switch (C7), the release and its tail
// (C8). Fences are lifted here, for C8 and for an abort.
#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <utility>

#include "base/limits.h"
#include "workflow/cutover_operation.h"
#include "workflow/cutover_text.h"
#include "workflow/gate_text.h"
#include "workflow/limits.h"
#include "workflow/machine.h"
#include "workflow/mover.h"

namespace exodus {

using cutover_text::state_from;
using nlohmann::json;

Status CutoverOperation::hold(const CutoverRequest& request) {
    EXODUS_TRY(settle());
    EXODUS_TRY(prepare_fence());
    enter("C1");
    point("C1.before-effect");
    detail_["hold_began_us"] = wall_us();
    EXODUS_TRY(change(row_for_hold(row_, wall_ms() + request.hold_timeout_ms),
                      {mark("C1", true), mark("C2", false)}, "running", request.reason,
                      request.decision));
    detail_["hold_began_us"] = wall_us();  // no worker could see it before
    point("C1.after-done");
    auto count = workers_.refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    workers_.look_now();
    return {};
}

/// What lags when a hold begins is applied while clients wait. The gate has seen a lag that may
/// switch; this finds a moment with nearly none, if one comes soon. A stream that is blocked by now
/// would let them wait for nothing.
Status CutoverOperation::settle() {
    const int64_t enough_ms = std::min(settings_.cutover.max_lag_ms, limits::kHoldLag_ms);
    const std::string lane(to_string(ending_));
    const Deadline until = Deadline::in(milliseconds(limits::kHoldLagWait_ms));
    while (true) {
        const auto all = workers_.mover_status(until);
        std::string now;
        if (!all) {
            now = all.error().message;
        } else {
            const MovementStatus status =
                movement_status_from_json(all->value(lane, json::object()));
            if (!status.blocked.empty())
                return fail(ErrorCode::safety,
                            fmt::format("the {} stream is blocked: {}", lane, status.blocked),
                            "exodus status");
            if (status.lag_ms && *status.lag_ms <= enough_ms) return {};
            now = status.lag_ms ? "it is " + span_text(*status.lag_ms) : "not yet caught up";
        }
        if (until.passed()) {
            if (all) return {};
            return fail(Error(all.error()), "before the hold");
        }
        progress("C0",
                 fmt::format("waiting for a lag of at most {}: {}", span_text(enough_ms), now));
        std::this_thread::sleep_for(milliseconds(limits::kCutoverCalmPoll_ms));
    }
}

Status CutoverOperation::switch_over() {
    progress("C7", "moving the authority to the " + std::string(to_string(gaining_)));
    point("C7.before-effect");
    const MigrationState success = state_from(detail_, "success", MigrationState::switched);
    const uint64_t epoch = row_.route.epoch;
    Status moved =
        change(row_for_switch(row_, gaining_, success, wall_ms()),
               {mark("C7", true), mark("C8", false)}, "switched", detail_.value("reason", ""));
    if (!moved) {
        // Whether it is durable decides, not whether the call said so.
        run_.status = "running";
        EXODUS_TRY(reread());
        if (row_.route.epoch == epoch || row_.route.authority != gaining_) return moved;
        run_.status = "switched";
    }
    point("C7.after-done");
    return complete();
}

Status CutoverOperation::complete() {
    enter("C8");
    EXODUS_TRY(load_steps());
    point("C8.before-effect");
    auto count = workers_.refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    if (row_.route.hold) {
        adopt();
        point("C8.after-adopt");
    }
    EXODUS_TRY(lift(gaining_, "C8.after-open"));
    EXODUS_TRY(release());
    point("C8.after-release");
    EXODUS_TRY(forget_fence(gaining_));
    way_back_runs();
    point("C8.after-effect");
    EXODUS_TRY(store_.mark_steps({mark("C8", true)}));
    EXODUS_TRY(finish("done", "done"));
    point("C8.after-done");
    return {};
}

/// All follow the new authority before the first held write goes out, so that no worker reads stale
/// data meanwhile. A silent one cannot hold up the others for ever: what it could write to the
/// losing side is fenced.
void CutoverOperation::adopt() {
    workers_.look_now();
    const Deadline until = Deadline::in(milliseconds(limits::kCutoverAdopt_ms));
    std::string waiting;
    while (true) {
        auto adopted = workers_.standing(row_.route.epoch, false, until, waiting);
        if (adopted && *adopted) return;
        if (until.passed())
            return event("warn", "cutover.adopt", "released without waiting longer: " + waiting);
        nap();
    }
}

/// A report, not a condition: from here only forward.
void CutoverOperation::way_back_runs() {
    const Deadline until = Deadline::in(milliseconds(limits::kCutoverAdopt_ms));
    std::string stage;
    while (true) {
        const auto status = workers_.mover_status(until);
        if (status && status->contains(std::string(to_string(back_)))) {
            stage = status->at(std::string(to_string(back_))).value("stage", "");
        }
        if (stage == "following" || stage == "repairing" || stage == "filling") return;
        if (until.passed()) {
            return event("warn", "cutover.way-back",
                         "the " + std::string(to_string(back_)) + " stream does not run yet" +
                             (stage.empty() ? "" : " (" + stage + ")"));
        }
        std::this_thread::sleep_for(milliseconds(limits::kCutoverCalmPoll_ms));
    }
}

Status CutoverOperation::release() {
    const bool held = row_.route.hold;
    if (held) EXODUS_TRY(change(row_for_release(row_), {}, run_.status, "held writes go out"));
    workers_.look_now();
    const int64_t began = detail_.value("hold_began_us", int64_t{0});
    if (held && began > 0) detail_["hold_us"] = wall_us() - began;
    return {};
}

Status CutoverOperation::lift(Side side, const char* name) {
    auto stored = store_.fence(row_.id, side);
    if (!stored) return tl::unexpected(std::move(stored).error());
    if (!*stored) return {};
    progress(step_, "lifting the fence of the " + std::string(to_string(side)));
    const Deadline until = Deadline::in(milliseconds(limits::kCutoverUndo_ms));
    while (true) {
        const std::unique_ptr<Fence> fence = ports_.fence(side);
        const Deadline one_try = Deadline::in(milliseconds(limits::kCutoverUndo_ms / 4));
        Status lifted = fence->lift((*stored)->prepared, one_try);
        if (lifted) break;
        if (until.passed()) {
            event("critical", "cutover.fence",
                  "the fence of the " + std::string(to_string(side)) +
                      " could not be lifted: " + lifted.error().message);
            return fail(Error{lifted.error().code, lifted.error().message,
                              "run the same command again: it goes on here"},
                        "lifting the fence of the " + std::string(to_string(side)));
        }
        std::this_thread::sleep_for(milliseconds(limits::kFenceLiftAgain_ms));
    }
    point(name);
    return {};
}

/// Once clients no longer wait: what was lifted also outlives a restart of the server.
Status CutoverOperation::forget_fence(Side side) {
    auto stored = store_.fence(row_.id, side);
    if (!stored) return tl::unexpected(std::move(stored).error());
    if (!*stored) return {};
    const Deadline until = Deadline::in(milliseconds(limits::kCutoverUndo_ms / 4));
    if (Status kept = ports_.fence(side)->keep(until); !kept) {
        event("warn", "cutover.fence-kept",
              "the rules of the " + std::string(to_string(side)) +
                  " are restored, but a restart may forget it: " + kept.error().message);
    }
    return store_.erase_fence(row_.id, side);
}

}  // namespace exodus
