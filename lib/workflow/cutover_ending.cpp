// How a cutover ends: the abort and its undo, the stored outcome, the report.
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include "base/limits.h"
#include "core/json_text.h"
#include "workflow/cutover_operation.h"
#include "workflow/cutover_text.h"
#include "workflow/evidence.h"
#include "workflow/machine.h"

namespace exodus {

using cutover_text::state_from;
using cutover_text::to_json;
using nlohmann::json;

namespace {

/// What ended an aborted one.
Error why_of(const json& detail) {
    const json why = detail.value("why", json::object());
    return {static_cast<ErrorCode>(why.value("code", static_cast<int>(ErrorCode::cancelled))),
            why.value("message", "the process that began it ended"), why.value("hint", "")};
}

}  // namespace

Status CutoverOperation::abort(const std::optional<Error>& why) {
    const std::string failed = step_;
    enter("abort");
    detail_["failed_step"] = failed;
    if (why) detail_["why"] = to_json(*why);
    const std::string reason =
        why ? "aborted at " + failed + ": " + why->message : "rehearsal: ends before the switch";
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
        EXODUS_TRY(store_.update_run(run_.id, run_.status, json_text(detail_)));
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
    EXODUS_TRY(forget_fence(row_.route.authority));
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
    enter("end");
    const json steps = detail_.value("steps", json::object());
    detail_["outcome"] = outcome;
    detail_["end_position"] = end_.empty() ? note_of("C4").value("position", "") : end_;
    EvidenceRow evidence;
    evidence.attempt = row_.attempt;
    evidence.kind = evidence_kind::kCutover;
    evidence.verdict =
        std::string_view(outcome) == "aborted" ? EvidenceVerdict::fail : EvidenceVerdict::pass;
    json data{{"kind", kind_ == CutoverKind::hand_to_target ? "switch" : "rollback"},
              {"outcome", outcome},
              {"rehearsal", rehearsed()},
              {"hold_us", detail_.value("hold_us", int64_t{0})},
              {"steps", steps}};
    if (evidence.verdict == EvidenceVerdict::fail) {
        data["failed_step"] = detail_.value("failed_step", "C0");
        data["why"] = why_of(detail_).message;
    }
    evidence.data = json_text(data);
    std::optional<NewEvent> event;
    if (std::string_view(outcome) == "done") event = done_event();
    run_.status = status;
    run_.detail = json_text(detail_);
    return store_.end_cutover(row_.id, run_, std::move(evidence), event);
}

NewEvent CutoverOperation::done_event() const {
    const bool to_target = kind_ == CutoverKind::hand_to_target;
    const int64_t hold_us = detail_.value("hold_us", int64_t{0});
    const std::string reason = detail_.value("reason", "");
    const json data{{"kind", to_target ? "switch" : "rollback"},
                    {"hold_us", hold_us},
                    {"epoch", row_.route.epoch},
                    {"by", owner_name(run_.owner)},
                    {"reason", reason}};
    return NewEvent{
        "info", "cutover.done",
        fmt::format("{}: the {} is authoritative; writes were held for {:.1f} ms; by {}{}{}",
                    to_target ? "switched" : "handed back", to_string(gaining_),
                    static_cast<double>(hold_us) / 1000, owner_name(run_.owner),
                    reason.empty() ? "" : ": ", reason),
        json_text(data)};
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
        report.why = why_of(detail_);
    }
    return report;
}

}  // namespace exodus
