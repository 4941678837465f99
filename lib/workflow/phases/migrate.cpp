#include "workflow/phases/migrate.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>

#include "base/limits.h"
#include "workflow/dry_run.h"
#include "workflow/gate_text.h"
#include "workflow/pause_knob.h"
#include "workflow/phases/canary.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/switching.h"

namespace exodus {

using nlohmann::json;

namespace {

using S = MigrationState;

/// Where `migrate` begins a copy, and asks for what proves that it may.
bool copies_anew(S state) { return state < S::copying || state == S::aborted; }

/// Knobs that a command which runs must not keep from being turned.
bool is_knob(MigrateGoal goal) {
    return goal == MigrateGoal::pause || goal == MigrateGoal::resume ||
           goal == MigrateGoal::throttle;
}

Status copy(PhaseRun& run) {
    if (run.row().state == S::rolled_back) {
        // The forward stream was armed at the rollback and follows; nothing has to be copied again.
        EXODUS_TRY(run.enter(S::following, "a new attempt goes on from the rollback"));
    } else if (copies_anew(run.row().state)) {
        EXODUS_TRY(run.demand(Gate::compare));
        EXODUS_TRY(run.demand(Gate::test));
        EXODUS_TRY(run.enter(S::copying, "the copy begins"));
    }
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    EXODUS_TRY(wait_following(run, Direction::forward));
    if (run.row().state == S::copying) EXODUS_TRY(run.enter(S::following, "all chunks are done"));
    auto status = movement_status(run, Direction::forward);
    if (!status) return tl::unexpected(status.error());
    run.outcome.numbers["forward"] = to_json(*status);
    run.detail(fmt::format("copied    {} keys, {} MiB; {} changes followed",
                           grouped(status->items_done), status->bytes_copied >> 20,
                           grouped(status->changes_applied)));
    if (const std::string items = conflicts_text(*status); !items.empty())
        run.detail("items     " + items);
    return {};
}

/// following → ready: the lag stays low for the window, then gate G5.
Status become_ready(PhaseRun& run) {
    if (run.row().state == S::ready) return {};
    const GateSettings& want = run.settings().gates;
    auto window = wait_lag(run, Direction::forward, want.ready_lag_ms, want.ready_lag_for_ms);
    if (!window) return tl::unexpected(window.error());
    const MovementStatus& last = window->last;
    // The movement spools the source's log to its own disk, so the log's retention bounds nothing
    // (0); a family whose movement does not spool reports the danger as degraded.
    EXODUS_TRY(run.evidence(evidence_kind::kFollow,
                            last.failed_items == 0 ? EvidenceVerdict::pass : EvidenceVerdict::fail,
                            {{"lag_ms_max", window->lag_ms_max},
                             {"for_ms", window->for_ms},
                             {"repairs_open", last.repairs_open},
                             {"failed_items", last.failed_items},
                             {"retention_ms", 0},
                             {"eta_ms", 0},
                             {"queue_bytes", last.queue_bytes}}));
    EXODUS_TRY(run.demand(Gate::follow));
    EXODUS_TRY(run.enter(S::ready, "gate G5 holds"));
    return run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max));
}

Status set_throttles(PhaseRun& run, const std::map<std::string, std::string>& throttle) {
    if (throttle.empty()) return {};
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    MoverClient mover(**port);
    const std::string who = owner_name(run.context().owner);
    for (const auto& [key, value] : throttle) EXODUS_TRY(mover.throttle(key, value, who));
    return {};
}

Status pause_copy(PhaseRun& run, bool paused) {
    auto port = run.running_interlay();
    if (!port) run.note(Severity::info, "no interlay runs; the flag takes effect when one starts");
    EXODUS_TRY(set_paused(run.store(), port ? *port : nullptr, run.row().id, paused,
                          run.context().owner, run.context().reason));
    run.outcome.headline =
        paused ? "the copy rests; changes are still followed" : "the copy goes on";
    return {};
}

Status perform_switch(PhaseRun& run, Strategy strategy) {
    // Reads move in steps before the writes do. Without the approval there is no point in moving
    // them.
    if (strategy == Strategy::canary) {
        const bool missing = run.settings().migrate.manual_approval;
        auto decided = run.store().latest_decision(run.row().id, current_attempt(run.row()),
                                                   {"approve", "deny"}, "switch");
        if (!decided) return tl::unexpected(decided.error());
        if (missing && !(decided->has_value() && (*decided)->kind == "approve")) {
            static_cast<void>(run.judge(Gate::switch_over));
            return fail(ErrorCode::approval_missing, "the canary and the switch wait for approval",
                        "exodus approve switch --reason TEXT");
        }
        EXODUS_TRY(canary_steps(run));
    }
    EXODUS_TRY(switch_to_target(run, std::string(to_string(strategy))));
    run.outcome.headline = "switched: the target is authoritative, the source follows";
    return {};
}

Status activate(PhaseRun& run, Side side) {
    if (run.settings().migrate.strategy != Strategy::blue_green) {
        return fail(ErrorCode::usage, "--activate belongs to the strategy blue-green",
                    "use --strategy blue-green, or migrate --switch and rollback");
    }
    if (run.row().route.authority == side) {
        run.outcome.headline = fmt::format("{} is active already", to_string(side));
        return {};
    }
    if (side == Side::source) {
        EXODUS_TRY(switch_to_source(run, S::ready, "switch"));
        run.outcome.headline = "source is active again; the target follows";
        return {};
    }
    EXODUS_TRY(copy(run));
    EXODUS_TRY(become_ready(run));
    return perform_switch(run, Strategy::blue_green);
}

Status body(PhaseRun& run, const MigrateOptions& options) {
    EXODUS_TRY(set_throttles(run, options.throttle));
    if (options.goal == MigrateGoal::pause) return pause_copy(run, true);
    if (options.goal == MigrateGoal::resume) return pause_copy(run, false);
    if (options.goal == MigrateGoal::throttle) {
        run.outcome.headline =
            "the throttle is set until the interlay ends; [migrate] throttle keeps it";
        return {};
    }
    if (options.goal == MigrateGoal::activate) return activate(run, options.activate);
    if (options.goal == MigrateGoal::canary && run.row().route.authority == Side::target) {
        return fail(ErrorCode::not_allowed,
                    "the target answers all reads: a canary belongs before the switch",
                    "exodus rollback gives the reads back to the source");
    }
    if (run.row().state == S::switched) {
        run.outcome.headline = "switched already: the target is authoritative";
        return {};
    }
    if (options.goal == MigrateGoal::canary) {
        // Taking reads back waits for nothing: least of all for a target in trouble.
        if (options.canary_percent > 0) EXODUS_TRY(copy(run));
        EXODUS_TRY(canary_step(run, options.canary_percent));
        run.outcome.headline =
            options.canary_percent > 0
                ? fmt::format("{} % of sessions read from the target", options.canary_percent)
                : "all reads are answered by the source";
        return {};
    }
    const bool was_ready = run.row().state == S::ready;
    EXODUS_TRY(copy(run));
    if (options.goal == MigrateGoal::copied) {
        run.outcome.headline = "copied: the target holds the data and follows";
        return {};
    }
    EXODUS_TRY(become_ready(run));
    if (options.goal == MigrateGoal::switched)
        return perform_switch(run, run.settings().migrate.strategy);
    run.outcome.headline = was_ready ? "ready already: the target follows"
                                     : "ready: the target follows, the way back stands by";
    return {};
}

void append(std::vector<std::string>& lines, std::vector<std::string> more) {
    std::move(more.begin(), more.end(), std::back_inserter(lines));
}

/// The switch as this run would make it, from where the migration stands.
std::vector<std::string> plan_of_switch(const Settings& settings, const MigrationRow& row) {
    if (row.route.authority == Side::target)
        return {"change nothing: the target is authoritative already"};
    std::vector<std::string> out;
    if (row.state != S::ready)
        out = {"copy the data to the target and follow", "wait until gate G5 holds"};
    const MigrateSettings& migrate = settings.migrate;
    if (migrate.strategy == Strategy::canary)
        out.push_back(fmt::format("move reads to the target in steps of {} %, each for {}",
                                  fmt::join(migrate.canary.steps, ", "),
                                  span_text(migrate.canary.hold_ms)));
    out.emplace_back("measure whether everything is ready, then ask gate G6 and the operator");
    append(out, cutover_plan(Side::target, settings.cutover.hold_timeout_ms));
    return out;
}

std::vector<std::string> plan_of_activation(const Settings& settings, const MigrationRow& row,
                                            Side side) {
    if (side == Side::target) return plan_of_switch(settings, row);
    if (row.route.authority == Side::source)
        return {"change nothing: the source is authoritative already"};
    std::vector<std::string> out{"ask the operator"};
    append(out, cutover_plan(Side::source, settings.cutover.hold_timeout_ms));
    return out;
}

std::vector<std::string> plan_of(const MigrateOptions& options, const Settings& settings,
                                 const MigrationRow& row) {
    switch (options.goal) {
        case MigrateGoal::pause:
            return {"let the copy rest"};
        case MigrateGoal::resume:
            return {"let the copy go on"};
        case MigrateGoal::throttle:
            return {"set the throttle"};
        case MigrateGoal::canary:
            return {
                fmt::format("let {} % of sessions read from the target", options.canary_percent)};
        case MigrateGoal::activate:
            return plan_of_activation(settings, row, options.activate);
        case MigrateGoal::copied:
            return {"copy the data to the target and follow"};
        case MigrateGoal::ready:
            return {"copy the data to the target and follow", "wait until gate G5 holds"};
        case MigrateGoal::switched:
            return plan_of_switch(settings, row);
    }
    return {};
}

/// What the run would ask before it measures anything itself, for --dry-run.
std::vector<Gate> gates_of(const PhaseContext& context, const MigrateOptions& options,
                           const MigrationRow& row) {
    std::vector<Gate> out;
    if (is_knob(options.goal)) return out;
    const bool to_target =
        options.goal == MigrateGoal::switched ||
        (options.goal == MigrateGoal::activate && options.activate == Side::target);
    if (row.route.authority == Side::target) return out;
    if (copies_anew(row.state)) out = {Gate::compare, Gate::test};
    if (row.state != S::ready && (to_target || options.goal == MigrateGoal::ready))
        out.push_back(Gate::follow);
    if (to_target) out.push_back(Gate::switch_over);
    std::erase_if(out, [&](Gate gate) {
        return std::any_of(context.skip_gate.begin(), context.skip_gate.end(),
                           [&](const std::string& name) { return gate_from(name) == gate; });
    });
    return out;
}

}  // namespace

PhaseOutcome run_migrate(PhaseContext& context, const MigrateOptions& options) {
    PhaseFrame frame;
    const bool knob = is_knob(options.goal);
    frame.takes_lock = !knob;
    frame.recovers = !knob;
    Settings settings = context.settings;
    settings.migrate.strategy = options.strategy.value_or(settings.migrate.strategy);
    settings.cutover.hold_timeout_ms =
        options.hold_timeout_ms.value_or(settings.cutover.hold_timeout_ms);
    settings.cutover.max_lag_ms = options.max_lag_ms.value_or(settings.cutover.max_lag_ms);
    PhaseContext mine = context.with(settings);
    if (context.dry_run) {
        const auto row = context.store.find_migration(settings.migration);
        if (row) frame.plan = plan_of(options, settings, *row);
        if (row) frame.gates = gates_of(context, options, *row);
        frame.measures = {kFollowRequirement, kReadinessRequirement};
    }
    const std::optional<Command> command = knob ? std::nullopt : std::optional(Command::migrate);
    return run_phase(mine, command, "migrate", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

}  // namespace exodus
