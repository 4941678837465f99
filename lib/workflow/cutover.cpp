// What to begin, resume or undo; the steps are in cutover_operation.cpp.
#include "workflow/cutover.h"

#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "core/json_text.h"
#include "workflow/cutover_operation.h"
#include "workflow/machine.h"

namespace exodus {

namespace {

Side gaining_side(CutoverKind kind) {
    return kind == CutoverKind::hand_to_target ? Side::target : Side::source;
}

/// From a standing hold to the end: proven and switched, or aborted. An Error means: what is left
/// is durable.
Result<CutoverReport> carry_on(CutoverOperation& operation, bool resumed) {
    Status proven = operation.prove();
    if (proven && operation.rehearsal()) {
        EXODUS_TRY(operation.abort(std::nullopt));
        return operation.report(resumed);
    }
    Status moved = proven ? operation.switch_over() : proven;
    if (!moved) {
        if (operation.switched()) return tl::unexpected(std::move(moved).error());
        EXODUS_TRY(operation.abort(moved.error()));
    }
    return operation.report(resumed);
}

}  // namespace

Cutover::Cutover(const Settings& settings, CutoverPorts ports)
    : settings_(settings), ports_(std::move(ports)) {}

Result<CutoverReport> Cutover::run(const MigrationRow& given, const CutoverRequest& request) {
    MigrationRow row = given;
    auto recovered = recover(row, request.owner);
    if (!recovered) return tl::unexpected(std::move(recovered).error());
    const Side gaining = gaining_side(request.kind);
    if (*recovered) {
        row = (*recovered)->row;
        // What a dead process began is the answer when it got where this request wants to go.
        if (row.route.authority == gaining && (*recovered)->outcome == CutoverOutcome::done)
            return **recovered;
    } else {
        auto now = ports_.store.find_migration(row.name);
        if (!now) return tl::unexpected(std::move(now).error());
        row = std::move(*now);
    }
    if (row.route.authority == gaining) {
        CutoverReport report;
        report.outcome = CutoverOutcome::done;
        report.row = row;
        return report;
    }
    if (!transition_allowed(row.state, MigrationState::holding)) {
        return fail(ErrorCode::not_allowed,
                    "a cutover cannot begin in state '" + std::string(to_string(row.state)) + "'",
                    "exodus status");
    }
    WorkerGroup workers(ports_.store, row.id, ports_.control);
    auto mover = workers.mover_status(Deadline::in(milliseconds(limits::kCutoverCall_ms)));
    if (!mover) return fail(std::move(mover.error()), "before the cutover");

    EvidenceContext tool;
    tool.tool_version = request.tool_version;
    EXODUS_TRY(ports_.store.set_context(row.id, tool));
    RunRow run;
    run.attempt = row.attempt;
    run.phase = request.kind == CutoverKind::hand_to_target ? "cutover.switch" : "cutover.rollback";
    run.status = "running";
    run.owner = request.owner;
    run.detail = json_text(CutoverOperation::detail_of(row, request));
    if (ports_.fault) ports_.fault("C0.before-effect");
    auto id = ports_.store.begin_run(row.id, row.attempt, run.phase, request.owner, run.detail);
    if (!id) return tl::unexpected(std::move(id).error());
    run.id = *id;
    if (ports_.fault) ports_.fault("C0.after-done");

    CutoverOperation operation(settings_, ports_, row, run);
    if (Status held = operation.hold(request); !held) {
        EXODUS_TRY(operation.abort(held.error()));
        return operation.report(false);
    }
    return carry_on(operation, false);
}

Result<std::optional<CutoverReport>> Cutover::recover(const MigrationRow& given,
                                                      const Owner& owner) {
    using Answer = std::optional<CutoverReport>;
    auto row = ports_.store.find_migration(given.name);
    if (!row) return tl::unexpected(std::move(row).error());
    auto open = ports_.store.open_run(row->id, "cutover.");
    if (!open) return tl::unexpected(std::move(open).error());
    if (!*open) {
        auto stray = ports_.store.fence(row->id, row->route.authority);
        if (!stray) return tl::unexpected(std::move(stray).error());
        if (!*stray) return Answer();
        // A fence on the authority without an operation: an ended run whose last write was lost.
        // Lifted like an abort's.
        auto id = ports_.store.begin_run(row->id, row->attempt, "cutover.switch", owner,
                                         R"({"rehearse":false})");
        if (!id) return tl::unexpected(std::move(id).error());
        RunRow run;
        run.id = *id;
        run.phase = "cutover.switch";
        run.detail = R"({"rehearse":false})";
        run.owner = owner;
        CutoverOperation operation(settings_, ports_, *row, run);
        EXODUS_TRY(operation.undo());
        return Answer(operation.report(true));
    }
    CutoverOperation operation(settings_, ports_, *row, **open);
    if ((*open)->status == "switched") {
        EXODUS_TRY(operation.complete());
    } else if ((*open)->status == "aborting") {
        EXODUS_TRY(operation.undo());
    } else if (row->state != MigrationState::holding) {
        EXODUS_TRY(operation.abort(
            Error{ErrorCode::cancelled, "the process that began it ended before the hold", {}}));
    } else {
        // Carried on only when nothing is left to prove: clients have waited already, and a hold
        // that begins anew makes them wait less than one that is searched through.
        auto proven = operation.proven();
        if (!proven) return tl::unexpected(std::move(proven).error());
        if (*proven && operation.hold_left().count() >= limits::kCutoverResume_ms_min) {
            auto report = carry_on(operation, true);
            if (!report) return tl::unexpected(std::move(report).error());
            return Answer(std::move(*report));
        }
        EXODUS_TRY(operation.abort(
            Error{ErrorCode::safety, "the process that began it ended in the hold", {}}));
    }
    return Answer(operation.report(true));
}

std::vector<std::string> cutover_points() {
    return {"C0.before-effect",     "C0.after-done",        "C1.before-effect",
            "C1.after-done",        "C2.before-effect",     "C2.after-effect",
            "C3.before-effect",     "C3.after-raise",       "C3.after-effect",
            "C4.before-effect",     "C4.after-effect",      "C5.before-effect",
            "C5.after-catch-up",    "C5.after-final-check", "C5.after-effect",
            "C6.before-effect",     "C6.after-arm",         "C6.after-effect",
            "C6.after-done",        "C7.before-effect",     "C7.after-done",
            "C8.before-effect",     "C8.after-adopt",       "C8.after-open",
            "C8.after-release",     "C8.after-effect",      "C8.after-done",
            "abort.before-durable", "abort.after-durable",  "abort.after-lift",
            "abort.after-release",  "abort.after-take-back"};
}

}  // namespace exodus
