#include "workflow/phases/rollback.h"

#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/dry_run.h"
#include "workflow/gate_text.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/switching.h"

namespace exodus {

namespace {

using S = MigrationState;

/// A rehearsal leaves the target fenced against everybody but exodus; nobody is to find it so after
/// an abort.
Status lift_fences(PhaseRun& run) {
    for (const Side side : {Side::target, Side::source}) {
        auto standing = run.store().fence(run.row().id, side);
        if (!standing) return tl::unexpected(standing.error());
        if (!standing->has_value()) continue;
        auto fence = run.context().family.make_fence(run.context().family_context(), side);
        Status lifted =
            fence->lift((*standing)->prepared, Deadline::in(milliseconds(limits::kMoverCall_ms)));
        if (!lifted)
            return fail(std::move(lifted.error()),
                        fmt::format("lifting the fence of the {}", to_string(side)));
        EXODUS_TRY(run.store().erase_fence(run.row().id, side));
    }
    return {};
}

/// What the report lists later, when nobody sees this outcome any more.
Status keep_residue(PhaseRun& run) {
    const auto left = run.outcome.numbers.value("residue", nlohmann::json::array());
    return run.evidence(evidence_kind::kRollbackResidue,
                        left.empty() ? EvidenceVerdict::pass : EvidenceVerdict::warn,
                        {{"residue", left}});
}

/// Nothing of exodus stays on the target; the source was never touched.
Status clean_up(PhaseRun& run) {
    // Both movements are off in the row; the mover removes what they kept. Run again, this repeats
    // what was not done.
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    EXODUS_TRY(forget(run, Direction::forward));
    EXODUS_TRY(forget(run, Direction::reverse));
    EXODUS_TRY(lift_fences(run));
    for (const Side side : {Side::target, Side::source}) {
        for (const std::string& line : residue_lines(run, side)) {
            run.note(Severity::warn, "left behind, " + line);
            run.outcome.numbers["residue"].push_back(line);
        }
    }
    return keep_residue(run);
}

/// `aborted` with both movements off. False: it stood so already.
Result<bool> stop_movements(PhaseRun& run) {
    const MigrationRow& row = run.row();
    const std::string& given = run.context().reason;
    if (row.state != S::aborted) {
        const char* why = row.state == S::rolled_back ? "given up after the rollback"
                                                      : "rollback before the switch";
        EXODUS_TRY(run.enter(S::aborted, given.empty() ? why : given));
        return true;
    }
    // An earlier exodus let data flow in this state.
    const MigrationRow rest = row_at_rest(row);
    if (rest.forward == row.forward && rest.reverse == row.reverse && rest.route == row.route)
        return false;
    EXODUS_TRY(run.transition(rest, given.empty() ? "rollback stops the movements" : given));
    return true;
}

Status confirm_giving_up(PhaseRun& run) {
    ConfirmRequest request{"give-up", run.settings().migration,
                           "the source keeps everything; both movements end, what exodus left is "
                           "removed, and another attempt copies all data again"};
    request.by_name = false;
    return run.confirm(std::move(request));
}

Status body(PhaseRun& run, const RollbackOptions& options) {
    const MigrationRow& row = run.row();
    if (row.route.authority == Side::target) {
        if (options.give_up)
            return fail(ErrorCode::not_allowed,
                        "giving up comes after the rollback: the target holds writes that the "
                        "source must get first",
                        "exodus rollback, then exodus rollback --give-up");
        EXODUS_TRY(switch_to_source(run, S::rolled_back, "rollback"));
        run.outcome.headline =
            "rolled back: the source is authoritative and holds every write made meanwhile";
        return {};
    }
    if (row.state == S::created) {
        run.outcome.headline = "nothing to roll back: the migration has not begun";
        return {};
    }
    const bool gives_up = row.state == S::rolled_back;
    if (gives_up && !options.give_up) {
        run.outcome.headline =
            "rolled back already: the source is authoritative, the target follows it";
        return {};
    }
    if (gives_up) EXODUS_TRY(confirm_giving_up(run));
    auto stopped = stop_movements(run);
    if (!stopped) return tl::unexpected(stopped.error());
    auto fenced = run.store().fence(row.id, Side::target);
    if (!fenced) return tl::unexpected(fenced.error());
    if (!*stopped && !fenced->has_value() && residue_lines(run, Side::target).empty() &&
        residue_lines(run, Side::source).empty()) {
        run.outcome.headline = "rolled back already: nothing of exodus is left";
        return keep_residue(run);
    }
    if (Status cleaned = clean_up(run); !cleaned) {
        // `aborted` stands, and nothing in it says that something was left.
        if (cleaned.error().code != ErrorCode::cancelled)
            run.outcome.next.emplace_back("exodus rollback");
        if (cleaned.error().hint.empty())
            cleaned.error().hint = "no data move any more; exodus rollback again removes the rest";
        return cleaned;
    }
    run.outcome.headline =
        gives_up
            ? "given up: the source answers everything; nothing of exodus is left on the target"
            : "rolled back: the source answers everything, as it always did; nothing of "
              "exodus is left on the target";
    return {};
}

}  // namespace

PhaseOutcome run_rollback(PhaseContext& context, const RollbackOptions& options) {
    PhaseFrame frame;
    Settings settings = context.settings;
    settings.cutover.hold_timeout_ms =
        options.hold_timeout_ms.value_or(settings.cutover.hold_timeout_ms);
    const auto row = context.store.find_migration(settings.migration);
    frame.plan = {"stop the movements and remove what exodus left on the target"};
    if (row && row->route.authority == Side::target)
        frame.plan = cutover_plan(Side::source, settings.cutover.hold_timeout_ms);
    if (options.give_up)
        frame.plan = {"after a rollback: end both movements and remove what exodus left"};
    PhaseContext mine = context.with(settings);
    return run_phase(mine, Command::rollback, "rollback", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

}  // namespace exodus
