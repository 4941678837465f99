#include "workflow/cutover_operation.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/limits.h"
#include "workflow/base64.h"
#include "workflow/evidence.h"
#include "workflow/gates.h"
#include "workflow/machine.h"

namespace exodus {

using nlohmann::json;

namespace {

void nap() { std::this_thread::sleep_for(milliseconds(limits::kCutoverPoll_ms)); }

json to_json(const Error& error) {
    return {
        {"code", static_cast<int>(error.code)}, {"message", error.message}, {"hint", error.hint}};
}

std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

MigrationState state_from(const json& detail, const char* name, MigrationState otherwise) {
    return migration_state_from(detail.value(name, "")).value_or(otherwise);
}

}  // namespace

CutoverOperation::CutoverOperation(const Settings& settings, CutoverPorts& ports, MigrationRow row,
                                   RunRow run)
    : settings_(settings),
      ports_(ports),
      store_(ports.store),
      row_(std::move(row)),
      run_(std::move(run)),
      detail_(json::parse(run_.detail, nullptr, false)),
      kind_(run_.phase == "cutover.switch" ? CutoverKind::hand_to_target
                                           : CutoverKind::hand_to_source),
      losing_(kind_ == CutoverKind::hand_to_target ? Side::source : Side::target),
      gaining_(other(losing_)),
      ending_(losing_ == Side::source ? Direction::forward : Direction::reverse),
      back_(losing_ == Side::source ? Direction::reverse : Direction::forward),
      workers_(store_, row_.id, ports.control) {
    if (!detail_.is_object()) detail_ = json::object();
}

json CutoverOperation::detail_of(const MigrationRow& row, const CutoverRequest& request) {
    const bool to_target = request.kind == CutoverKind::hand_to_target;
    const MigrationState success = request.success_state.value_or(
        to_target ? MigrationState::switched : MigrationState::rolled_back);
    return {{"back_to", std::string(to_string(row.state))},
            {"success", std::string(to_string(success))},
            {"rehearse", request.rehearse_only},
            {"command", request.command},
            {"reason", request.reason},
            {"hold_timeout_ms", request.hold_timeout_ms}};
}

// --- what all steps use
// ----------------------------------------------------------------------------------------------

void CutoverOperation::point(std::string_view name) const {
    if (ports_.fault) ports_.fault(name);
}

void CutoverOperation::progress(std::string_view step, const std::string& text) const {
    if (ports_.progress) ports_.progress(step, text);
}

void CutoverOperation::event(const char* severity, const char* code,
                             const std::string& text) const {
    // An event that cannot be stored must not end a cutover; what happened is in the journal and
    // the epoch log as well.
    (void)store_.add_event(row_.id, severity, code, text);
}

StepMark CutoverOperation::mark(const char* step, bool done, const json& note) const {
    return StepMark{run_.id, step, done, dump(note)};
}

Status CutoverOperation::load_steps() {
    auto steps = store_.steps(run_.id);
    if (!steps) return tl::unexpected(std::move(steps).error());
    steps_ = std::move(*steps);
    return {};
}

bool CutoverOperation::is_done(std::string_view step) const {
    return std::any_of(steps_.begin(), steps_.end(),
                       [&](const StepRow& row) { return row.step == step && row.done; });
}

json CutoverOperation::note_of(std::string_view step) const {
    for (const StepRow& row : steps_) {
        if (row.step != step) continue;
        json note = json::parse(row.note, nullptr, false);
        if (note.is_object()) return note;
    }
    return json::object();
}

milliseconds CutoverOperation::hold_left() const {
    // The abort itself needs a moment before the clients' own limit.
    const int64_t reserve =
        std::min<int64_t>(detail_.value("hold_timeout_ms", int64_t{0}) / 10, 200);
    return milliseconds(std::max<int64_t>(row_.route.hold_deadline_ms - reserve - wall_ms(), 0));
}

Deadline CutoverOperation::deadline() const { return Deadline::in(hold_left()); }

Status CutoverOperation::reread() {
    auto now = store_.find_migration(row_.name);
    if (!now) return tl::unexpected(std::move(now).error());
    row_ = std::move(*now);
    return {};
}

Status CutoverOperation::change(MigrationRow wanted, std::vector<StepMark> marks,
                                const std::string& status, const std::string& reason,
                                std::optional<DecisionRow> decision) {
    Transition transition;
    transition.row = std::move(wanted);
    transition.command = detail_.value("command", run_.phase);
    transition.reason = reason;
    transition.owner = run_.owner;
    transition.decision = std::move(decision);
    transition.steps = std::move(marks);
    run_.status = status;
    run_.detail = dump(detail_);
    transition.run = run_;
    auto now = store_.transition(row_, transition);
    if (!now) return tl::unexpected(std::move(now).error());
    row_ = std::move(*now);
    return {};
}

Result<json> CutoverOperation::mover(const char* op, Direction direction, json request) {
    return workers_.mover(op, direction, std::move(request), deadline());
}

bool CutoverOperation::switched() const {
    return run_.status == "switched" || run_.status == "done";
}

// --- the steps
// ---------------------------------------------------------------------------------------------------------

Status CutoverOperation::hold(const CutoverRequest& request) {
    step_ = "C1";
    point("C1.before-effect");
    detail_["hold_began_us"] = wall_us();
    EXODUS_TRY(change(row_for_hold(row_, wall_ms() + request.hold_timeout_ms),
                      {mark("C0", true), mark("C1", true), mark("C2", false)}, "running",
                      request.reason, request.decision));
    point("C1.after-done");
    auto count = workers_.refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    workers_.look_now();
    return {};
}

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
    step_ = "C2";
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

Status CutoverOperation::fence() {
    auto stored = store_.fence(row_.id, losing_);
    if (!stored) return tl::unexpected(std::move(stored).error());
    fence_ = ports_.fence(losing_);
    const std::vector<StepMark> begin{mark("C2", true), mark("C3", false)};
    std::string prepared;
    if (*stored) {
        // Text of an earlier try: what prepare() would read now is the fenced state itself.
        prepared = (*stored)->prepared;
        EXODUS_TRY(store_.mark_steps(begin));
    } else {
        auto text = fence_->prepare(deadline());
        if (!text) return fail(std::move(text.error()), "preparing the fence");
        prepared = std::move(*text);
        EXODUS_TRY(
            store_.put_fence(row_.id, FenceRow{losing_, prepared, false, run_.id, 0}, begin));
    }
    point("C2.after-done");
    step_ = "C3";
    progress("C3", "fencing the " + std::string(to_string(losing_)));
    point("C3.before-effect");
    if (Status raised = fence_->raise(prepared, deadline()); !raised)
        return fail(std::move(raised.error()), "raising the fence");
    point("C3.after-raise");
    if (Status proven = fence_->prove(prepared, deadline()); !proven)
        return fail(std::move(proven.error()), "proving the fence");
    EXODUS_TRY(workers_.probe_fence(losing_, deadline()));
    point("C3.after-effect");
    EXODUS_TRY(store_.put_fence(row_.id, FenceRow{losing_, prepared, true, run_.id, 0},
                                {mark("C3", true), mark("C4", false)}));
    point("C3.after-done");
    return {};
}

Status CutoverOperation::end_position() {
    step_ = "C4";
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
    EXODUS_TRY(store_.mark_steps({mark("C4", true, {{"position", end_}}), mark("C5", false)}));
    point("C4.after-done");
    return {};
}

Status CutoverOperation::catch_up() {
    step_ = "C5";
    point("C5.before-effect");
    if (!is_done("C5")) {
        progress("C5", "waiting until everything is applied");
        const Deadline until = deadline();
        while (true) {
            auto answer = mover(control_op::kApplied, ending_, {{"position", end_}});
            if (answer && answer->value("applied", false)) break;
            if (until.passed()) {
                return fail(ErrorCode::safety,
                            "the end position was not applied in time" +
                                (answer ? std::string() : ": " + answer.error().message),
                            "lower the lag first; exodus status shows it");
            }
            nap();
        }
        point("C5.after-catch-up");
        auto answer = mover(control_op::kTouched, ending_, {{"span_ms", limits::kTouchedSpan_ms}});
        if (!answer) return fail(std::move(answer.error()), "asking for the keys touched last");
        std::vector<std::string> touched;
        for (const json& key : answer->value("keys", json::array())) {
            auto raw =
                key.is_string()
                    ? base64_decode(key.get<std::string>())
                    : Result<std::string>(fail(ErrorCode::protocol, "a touched key is no text"));
            if (!raw) return fail(std::move(raw.error()), "the keys touched last");
            touched.push_back(std::move(*raw));
        }
        progress("C5", "final re-check of " + std::to_string(touched.size()) + " keys");
        auto verified = ports_.final_check(ending_, touched);
        if (!verified) return fail(std::move(verified.error()), "the final re-check");
        unresolved_ = verified->unresolved;
        if (!verified->clean()) {
            return fail(ErrorCode::safety,
                        "the final re-check found " + std::to_string(verified->missing) +
                            " missing, " + std::to_string(verified->extra) + " extra, " +
                            std::to_string(verified->different) + " different and " +
                            std::to_string(verified->unresolved) + " unresolved items",
                        "exodus divergences");
        }
        point("C5.after-final-check");
    }
    // Again when it was done already: a mover that was restarted meanwhile must know it too.
    auto handed = mover(control_op::kHandOver, ending_);
    if (!handed)
        return fail(std::move(handed.error()),
                    "handing over the " + std::string(to_string(ending_)) + " stream");
    handed_by_ = workers_.mover_id();
    point("C5.after-effect");
    EXODUS_TRY(store_.mark_steps({mark("C5", true), mark("C6", false)}));
    point("C5.after-done");
    return {};
}

Status CutoverOperation::way_back() {
    step_ = "C6";
    progress("C6", "arming the way back");
    point("C6.before-effect");
    json note = note_of("C6");
    // The first start position is kept: what was written to the gaining side since must be in the
    // reverse stream.
    if (!is_done("C6")) {
        auto armed = mover(control_op::kArm, back_);
        if (!armed)
            return fail(std::move(armed.error()),
                        "arming the " + std::string(to_string(back_)) + " stream");
        note = {{"position", armed->value("position", "")}};
        point("C6.after-arm");
    }
    auto proven = mover(control_op::kProve, back_,
                        {{"timeout_ms", std::max<int64_t>(hold_left().count(), 1)}});
    if (!proven)
        return fail(std::move(proven.error()),
                    "proving the " + std::string(to_string(back_)) + " stream");
    point("C6.after-effect");
    EXODUS_TRY(store_.mark_steps({mark("C6", true, note), mark("C7", false)}));
    point("C6.after-done");
    return {};
}

Status CutoverOperation::standstill() {
    step_ = "C7";
    std::string waiting;
    auto standing = workers_.standing(row_.route.epoch, true, deadline(), waiting);
    if (!standing) return tl::unexpected(std::move(standing).error());
    if (!*standing)
        return fail(ErrorCode::safety, "a worker no longer stands still: " + waiting,
                    "exodus status --workers");
    if (workers_.size() == 0)
        return fail(ErrorCode::unreachable, "no interlay is registered any more",
                    "exodus interlay");
    // A mover that was restarted after C5 keeps what was handed over only if it is told before the
    // authority moves.
    auto handed = mover(control_op::kHandOver, ending_);
    if (!handed)
        return fail(std::move(handed.error()),
                    "handing over the " + std::string(to_string(ending_)) + " stream");
    if (workers_.mover_id() != handed_by_) {
        auto proven = mover(control_op::kProve, back_,
                            {{"timeout_ms", std::max<int64_t>(hold_left().count(), 1)}});
        if (!proven)
            return fail(std::move(proven.error()),
                        "proving the way back after a restart of the mover");
    }
    EvidenceRow evidence;
    evidence.attempt = row_.attempt;
    evidence.kind = evidence_kind::kStandstill;
    evidence.verdict = EvidenceVerdict::pass;
    evidence.data = dump({{"epoch", row_.route.epoch},
                          {"workers", workers_.size()},
                          {"fence_proven", true},
                          {"end_position", end_},
                          {"applied", true},
                          {"unresolved", unresolved_}});
    auto added = store_.add_evidence(row_.id, std::move(evidence));
    if (!added) return tl::unexpected(std::move(added).error());
    auto context = store_.context(row_.id);
    if (!context) return tl::unexpected(std::move(context).error());
    auto gate = evaluate(Gate::cutover, GateInput{store_, settings_, row_, *context, wall_ms()});
    if (!gate) return tl::unexpected(std::move(gate).error());
    EXODUS_TRY(require(*gate));
    if (hold_left().count() == 0)
        return fail(ErrorCode::safety, "the hold's deadline passed before the switch");
    return {};
}

Status CutoverOperation::switch_over() {
    step_ = "C7";
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
    step_ = "C8";
    EXODUS_TRY(load_steps());
    point("C8.before-effect");
    auto count = workers_.refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    if (row_.route.hold) {
        workers_.look_now();
        // All follow the new authority before the first held write goes out, so that no worker
        // reads stale data meanwhile. A silent one cannot hold up the others for ever: what it
        // could write to the losing side is fenced.
        const Deadline until = Deadline::in(milliseconds(limits::kCutoverAdopt_ms));
        std::string waiting;
        while (true) {
            auto adopted = workers_.standing(row_.route.epoch, false, until, waiting);
            if (adopted && *adopted) break;
            if (until.passed()) {
                event("warn", "cutover.adopt", "released without waiting longer: " + waiting);
                break;
            }
            nap();
        }
        point("C8.after-adopt");
    }
    EXODUS_TRY(lift(gaining_, "C8.after-open"));
    EXODUS_TRY(release());
    point("C8.after-release");
    // The way back runs; a report, not a condition: from here only forward.
    const Deadline until = Deadline::in(milliseconds(limits::kCutoverAdopt_ms));
    std::string stage;
    while (true) {
        const auto status = workers_.mover_status(until);
        if (status && status->contains(std::string(to_string(back_)))) {
            stage = status->at(std::string(to_string(back_))).value("stage", "");
        }
        if (stage == "following" || stage == "repairing" || stage == "filling") break;
        if (until.passed()) {
            event("warn", "cutover.way-back",
                  "the " + std::string(to_string(back_)) + " stream does not run yet" +
                      (stage.empty() ? "" : " (" + stage + ")"));
            break;
        }
        nap();
    }
    point("C8.after-effect");
    EXODUS_TRY(store_.mark_steps({mark("C8", true)}));
    EXODUS_TRY(finish("done", "done"));
    point("C8.after-done");
    return {};
}

Status CutoverOperation::release() {
    if (row_.route.hold) {
        EXODUS_TRY(change(row_for_release(row_), {}, run_.status, "held writes go out"));
        const int64_t began = detail_.value("hold_began_us", int64_t{0});
        if (began > 0) detail_["hold_us"] = wall_us() - began;
    }
    workers_.look_now();
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
        std::this_thread::sleep_for(milliseconds(limits::kCutoverPoll_ms * 10));
    }
    point(name);
    return store_.erase_fence(row_.id, side);
}

// --- the way back out
// ------------------------------------------------------------------------------------------------

Status CutoverOperation::abort(const std::optional<Error>& why) {
    detail_["failed_step"] = step_;
    if (why) detail_["why"] = to_json(*why);
    const std::string reason =
        why ? "aborted at " + step_ + ": " + why->message : "rehearsal: ends before the switch";
    progress("abort", reason);
    point("abort.before-durable");
    // What failed may have been a transition whose outcome nobody told.
    EXODUS_TRY(reread());
    if (row_.state == MigrationState::holding) {
        // Durable first: from here on no process may complete this operation. Held writes stay held
        // until the fence is down.
        EXODUS_TRY(
            change(row_for_abort(row_, state_from(detail_, "back_to", MigrationState::ready)), {},
                   "aborting", reason));
        event(why ? "warn" : "info", why ? "cutover.aborted" : "cutover.rehearsed", reason);
    } else {
        run_.status = "aborting";
        EXODUS_TRY(store_.update_run(run_.id, run_.status, dump(detail_)));
    }
    point("abort.after-durable");
    return undo();
}

Status CutoverOperation::undo() {
    EXODUS_TRY(load_steps());
    auto count = workers_.refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    EXODUS_TRY(lift(row_.route.authority, "abort.after-lift"));
    EXODUS_TRY(release());
    point("abort.after-release");
    // After the release, since no client waits for it. The mover does the same by itself when it
    // sees the new epoch.
    const bool handing = std::any_of(steps_.begin(), steps_.end(),
                                     [](const StepRow& row) { return row.step == "C5"; });
    if (handing) {
        const auto taken = workers_.mover(control_op::kTakeBack, ending_, json::object(),
                                          Deadline::in(milliseconds(limits::kCutoverUndo_ms)));
        if (!taken)
            event("warn", "cutover.take-back",
                  "the mover will go on by itself: " + taken.error().message);
    }
    point("abort.after-take-back");
    const bool rehearsed = rehearsal() && !detail_.contains("why");
    return finish(rehearsed ? "rehearsed" : "aborted", rehearsed ? "rehearsed" : "aborted");
}

Status CutoverOperation::finish(const char* status, const char* outcome) {
    EXODUS_TRY(load_steps());
    json steps = json::object();
    for (const StepRow& row : steps_) {
        if (row.done_us > 0) steps[row.step] = row.done_us - row.intent_us;
    }
    const int64_t began = detail_.value("hold_began_us", int64_t{0});
    if (steps.contains("C1") && began > 0) {
        for (const StepRow& row : steps_) {
            if (row.step == "C1") steps["C1"] = row.done_us - began;
        }
    }
    detail_["steps"] = steps;
    detail_["outcome"] = outcome;
    detail_["end_position"] = end_.empty() ? note_of("C4").value("position", "") : end_;
    EvidenceRow evidence;
    evidence.attempt = row_.attempt;
    evidence.kind = evidence_kind::kCutover;
    evidence.verdict =
        std::string_view(outcome) == "aborted" ? EvidenceVerdict::fail : EvidenceVerdict::pass;
    evidence.data = dump({{"kind", kind_ == CutoverKind::hand_to_target ? "switch" : "rollback"},
                          {"outcome", outcome},
                          {"hold_us", detail_.value("hold_us", int64_t{0})},
                          {"steps", steps}});
    auto added = store_.add_evidence(row_.id, std::move(evidence));
    if (!added) return tl::unexpected(std::move(added).error());
    run_.status = status;
    return store_.end_run(run_.id, status, dump(detail_));
}

CutoverReport CutoverOperation::report(bool resumed) const {
    CutoverReport report;
    const std::string outcome = detail_.value("outcome", "aborted");
    report.outcome = outcome == "done"        ? CutoverOutcome::done
                     : outcome == "rehearsed" ? CutoverOutcome::rehearsed
                                              : CutoverOutcome::aborted;
    report.resumed = resumed;
    report.row = row_;
    report.hold_us = detail_.value("hold_us", int64_t{0});
    const json steps = detail_.value("steps", json::object());
    for (const auto& [step, span] : steps.items()) {
        report.step_us[step] = span.get<int64_t>();
    }
    report.end_position = detail_.value("end_position", "");
    if (report.outcome == CutoverOutcome::aborted) {
        report.failed_step = detail_.value("failed_step", "C0");
        const json why = detail_.value("why", json::object());
        report.why =
            Error{static_cast<ErrorCode>(why.value("code", static_cast<int>(ErrorCode::cancelled))),
                  why.value("message", "the process that began it ended"), why.value("hint", "")};
    }
    return report;
}

}  // namespace exodus
