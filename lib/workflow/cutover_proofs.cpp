// C2 to C6: everything that must hold before the authority moves, found while clients wait.
#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "core/json_text.h"
#include "workflow/base64.h"
#include "workflow/cutover_operation.h"
#include "workflow/cutover_text.h"
#include "workflow/evidence.h"
#include "workflow/gates.h"

namespace exodus {

using nlohmann::json;

Status CutoverOperation::prove() {
    EXODUS_TRY(load_steps());
    EXODUS_TRY(drained());
    EXODUS_TRY(fence());
    EXODUS_TRY(end_position());
    EXODUS_TRY(catch_up());
    EXODUS_TRY(way_back());
    return standstill();
}

Status CutoverOperation::drained() {
    enter("C2");
    point("C2.before-effect");
    const Deadline until = deadline();
    std::string waiting = "no worker was asked";
    while (true) {
        auto standing = workers_.standing(row_.route.epoch, true, until, waiting);
        if (!standing) return tl::unexpected(std::move(standing).error());
        if (*standing) break;
        progress("C2", waiting);
        if (until.passed()) {
            return fail(ErrorCode::safety, "not every worker stood still in time: " + waiting,
                        "exodus status --workers");
        }
        nap();
    }
    if (workers_.size() == 0)
        return fail(ErrorCode::unreachable, "no interlay is registered any more",
                    "exodus interlay");
    point("C2.after-effect");
    return {};
}

Status CutoverOperation::prepare_fence() {
    auto stored = store_.fence(row_.id, losing_);
    if (!stored) return tl::unexpected(std::move(stored).error());
    fence_ = ports_.fence(losing_);
    if (*stored) {
        // Text of an earlier try: what prepare() would read now is the fenced state itself.
        fence_text_ = (*stored)->prepared;
        return store_.mark_steps({mark("C0", true), mark("C1", false)});
    }
    auto text = fence_->prepare(Deadline::in(milliseconds(limits::kCutoverUndo_ms)));
    if (!text) return fail(std::move(text.error()), "preparing the fence");
    fence_text_ = std::move(*text);
    return store_.put_fence(row_.id, FenceRow{losing_, fence_text_, run_.id, 0},
                            {mark("C0", true), mark("C1", false)});
}

Status CutoverOperation::fence() {
    enter("C3");
    if (!fence_) {
        auto stored = store_.fence(row_.id, losing_);
        if (!stored) return tl::unexpected(std::move(stored).error());
        if (!*stored) return fail(ErrorCode::internal, "a hold without a prepared fence");
        fence_ = ports_.fence(losing_);
        fence_text_ = (*stored)->prepared;
    }
    progress("C3", "fencing the " + std::string(to_string(losing_)));
    point("C3.before-effect");
    if (Status raised = fence_->raise(fence_text_, deadline()); !raised)
        return fail(std::move(raised.error()), "raising the fence");
    point("C3.after-raise");
    if (Status proven = fence_->prove(fence_text_, deadline()); !proven)
        return fail(std::move(proven.error()), "proving the fence");
    EXODUS_TRY(workers_.probe_fence(losing_, deadline()));
    point("C3.after-effect");
    return {};
}

Status CutoverOperation::end_position() {
    enter("C4");
    if (is_done("C4")) {
        end_ = note_of("C4").value("position", "");
        return {};
    }
    progress("C4", "reading the end position");
    point("C4.before-effect");
    auto end = mover(control_op::kEnd, ending_);
    if (!end) return fail(std::move(end.error()), "reading the end position");
    end_ = end->value("position", "");
    if (end_.empty()) return fail(ErrorCode::protocol, "the mover told no end position");
    point("C4.after-effect");
    return {};
}

Status CutoverOperation::catch_up() {
    enter("C5");
    point("C5.before-effect");
    if (!is_done("C5")) {
        progress("C5", "waiting until everything is applied");
        EXODUS_TRY(applied());
        point("C5.after-catch-up");
        EXODUS_TRY(check_last_keys());
        point("C5.after-final-check");
    }
    // Again when it was done already: a mover that was restarted meanwhile must know it too.
    EXODUS_TRY(hand_over());
    handed_by_ = workers_.mover_id();
    point("C5.after-effect");
    return {};
}

Status CutoverOperation::applied() {
    const Deadline until = deadline();
    while (true) {
        auto answer = mover(control_op::kApplied, ending_, {{"position", end_}});
        if (answer && answer->value("applied", false)) return {};
        if (until.passed()) {
            return fail(ErrorCode::safety,
                        "the end position was not applied in time" +
                            (answer ? std::string() : ": " + answer.error().message),
                        "lower the lag first; exodus status shows it");
        }
        nap();
    }
}

/// What was written last is read once more on both sides.
Status CutoverOperation::check_last_keys() {
    auto answer = mover(control_op::kTouched, ending_, {{"span_ms", limits::kTouchedSpan_ms}});
    if (!answer) return fail(std::move(answer.error()), "asking for the keys touched last");
    std::vector<std::string> touched;
    for (const json& key : answer->value("keys", json::array())) {
        auto raw = key.is_string()
                       ? base64_decode(key.get<std::string>())
                       : Result<std::string>(fail(ErrorCode::protocol, "a touched key is no text"));
        if (!raw) return fail(std::move(raw.error()), "the keys touched last");
        touched.push_back(std::move(*raw));
    }
    progress("C5", "final re-check of " + std::to_string(touched.size()) + " keys");
    auto verified = ports_.final_check(ending_, touched, deadline());
    if (!verified) return fail(std::move(verified.error()), "the final re-check");
    unresolved_ = verified->unresolved;
    if (verified->clean()) return {};
    return fail(ErrorCode::safety,
                "the final re-check found " + std::to_string(verified->missing) + " missing, " +
                    std::to_string(verified->extra) + " extra, " +
                    std::to_string(verified->different) + " different and " +
                    std::to_string(verified->unresolved) + " unresolved items",
                "exodus divergences");
}

Status CutoverOperation::hand_over() {
    auto handed = mover(control_op::kHandOver, ending_);
    if (handed) return {};
    return fail(std::move(handed.error()),
                "handing over the " + std::string(to_string(ending_)) + " stream");
}

Status CutoverOperation::way_back() {
    enter("C6");
    progress("C6", "arming the way back");
    point("C6.before-effect");
    armed_ = note_of("C6").value("position", "");
    // The first start position is kept: what was written to the gaining side since must be in the
    // reverse stream.
    if (!is_done("C6")) {
        auto armed = mover(control_op::kArm, back_);
        if (!armed)
            return fail(std::move(armed.error()),
                        "arming the " + std::string(to_string(back_)) + " stream");
        armed_ = armed->value("position", "");
        point("C6.after-arm");
    }
    EXODUS_TRY(prove_way_back());
    point("C6.after-effect");
    return {};
}

Status CutoverOperation::prove_way_back() {
    auto proven = mover(control_op::kProve, back_,
                        {{"timeout_ms", std::max<int64_t>(hold_left().count(), 1)}});
    if (proven) return {};
    return fail(std::move(proven.error()),
                "proving the " + std::string(to_string(back_)) + " stream");
}

Status CutoverOperation::standstill() {
    std::string waiting;
    auto standing = workers_.standing(row_.route.epoch, true, deadline(), waiting);
    if (!standing) return tl::unexpected(std::move(standing).error());
    if (!*standing)
        return fail(ErrorCode::safety, "a worker no longer stands still: " + waiting,
                    "exodus status --workers");
    if (workers_.size() == 0)
        return fail(ErrorCode::unreachable, "no interlay is registered any more",
                    "exodus interlay");
    // A server that restarted behind C3 may have come back with the rules of before.
    if (Status proven = fence_->prove(fence_text_, deadline()); !proven)
        return fail(std::move(proven.error()), "proving the fence again");
    // A mover that was restarted after C5 keeps what was handed over only if it is told before the
    // authority moves.
    EXODUS_TRY(hand_over());
    if (workers_.mover_id() != handed_by_) EXODUS_TRY(prove_way_back());
    EXODUS_TRY(store_proofs());
    enter("C7");
    auto context = store_.context(row_.id);
    if (!context) return tl::unexpected(std::move(context).error());
    auto gate = evaluate(Gate::cutover, GateInput{store_, settings_, row_, *context, wall_ms()});
    if (!gate) return tl::unexpected(std::move(gate).error());
    EXODUS_TRY(require(*gate));
    if (hold_left().count() == 0)
        return fail(ErrorCode::safety, "the hold's deadline passed before the switch");
    return {};
}

/// All that C2 to C6 found, durable at once: clients wait, and a transaction costs them some
/// milliseconds. A process that dies before it is answered by an abort, which needs none of it.
Status CutoverOperation::store_proofs() {
    EvidenceRow evidence;
    evidence.attempt = row_.attempt;
    evidence.kind = evidence_kind::kStandstill;
    evidence.verdict = EvidenceVerdict::pass;
    evidence.data = json_text({{"epoch", row_.route.epoch},
                               {"workers", workers_.size()},
                               {"fence_proven", true},
                               {"end_position", end_},
                               {"applied", true},
                               {"unresolved", unresolved_}});
    auto added = store_.add_evidence(
        row_.id, std::move(evidence),
        {mark("C2", true), mark("C3", true), mark("C4", true, {{"position", end_}}),
         mark("C5", true), mark("C6", true, {{"position", armed_}}), mark("C7", false)});
    if (!added) return tl::unexpected(std::move(added).error());
    point("C6.after-done");
    return {};
}

}  // namespace exodus
