#include "workflow/runner.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <thread>

#include "base/digest.h"
#include "base/limits.h"
#include "base/stop_token.h"
#include "core/json_text.h"
#include "workflow/dry_run.h"
#include "workflow/exit_codes.h"
#include "workflow/gate_text.h"
#include "workflow/hooks.h"
#include "workflow/lock.h"
#include "workflow/run_events.h"
#include "workflow/worker_group.h"

namespace exodus {

using nlohmann::json;

int64_t PhaseRun::limits_poll() { return limits::kPhasePoll_ms; }

Status PhaseRun::refresh() {
    auto row = store().find_migration(settings().migration);
    if (!row) return tl::unexpected(row.error());
    row_ = std::move(*row);
    return {};
}

Status PhaseRun::may_go_on() const {
    if (uninterruptible_ > 0) return {};
    if (context_.stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped on request");
    if (deadline_ && deadline_->passed()) {
        return fail(ErrorCode::timeout,
                    fmt::format("--timeout of {} passed", span_text(context_.timeout.count())),
                    "run the same command again to go on");
    }
    return {};
}

Status PhaseRun::pause(milliseconds span) {
    if (uninterruptible_ > 0) {
        std::this_thread::sleep_for(span);
        return {};
    }
    wait_unless_stopped(context_.stop, deadline_ ? std::min(span, deadline_->left()) : span);
    return may_go_on();
}

void PhaseRun::progress(Progress progress) {
    if (!context_.progress) return;
    progress.phase = outcome.phase;
    context_.progress(progress);
}

void PhaseRun::note(Severity severity, std::string text) {
    if (context_.note) context_.note(Note{severity, std::move(text)});
}

Status PhaseRun::confirm(ConfirmRequest request) {
    if (!context_.confirm)
        return fail(ErrorCode::approval_missing, "nobody can confirm the " + request.action);
    request.may_go_on = [this] { return may_go_on(); };
    return context_.confirm(request);
}

DecisionRow PhaseRun::decision(std::string kind, std::string subject) const {
    DecisionRow out;
    out.attempt = row_.attempt;
    out.kind = std::move(kind);
    out.subject = std::move(subject);
    out.reason = context_.reason;
    out.owner = context_.owner;
    out.config_hash = context_.settings.config_hash;
    out.epoch = row_.route.epoch;
    return out;
}

// --- state
// -----------------------------------------------------------------------------------------------------------

Status PhaseRun::transition(MigrationRow next, std::string reason,
                            std::optional<DecisionRow> decided) {
    // Flags are set without the lock (--pause, the mover's reports): those that the caller did not
    // touch are taken as they stand now, or a transition would bring back what was cleared
    // meanwhile.
    auto now = store().find_migration(settings().migration);
    if (!now) return tl::unexpected(now.error());
    const auto refreshed = [&](auto flag) {
        if (next.*flag == row_.*flag) next.*flag = (*now).*flag;
    };
    refreshed(&MigrationRow::flag_paused);
    refreshed(&MigrationRow::forward_flags);
    refreshed(&MigrationRow::reverse_flags);
    // So is the mirrored share (ctl mirror=N), as long as reads can be mirrored in the new state.
    if (next.route.mirror_percent == row_.route.mirror_percent)
        next.route.mirror_percent = may_mirror(next) ? now->route.mirror_percent : 0;
    Transition change;
    change.row = std::move(next);
    change.command = label_;
    change.reason = std::move(reason);
    change.owner = context_.owner;
    change.decision = std::move(decided);
    auto row = store().transition(row_, change);
    if (!row) return tl::unexpected(row.error());
    row_ = std::move(*row);
    look_now();
    return {};
}

Status PhaseRun::enter(MigrationState to, std::string reason) {
    auto next = row_for(row_, to, wall_ms());
    if (!next) return tl::unexpected(next.error());
    return transition(std::move(*next), std::move(reason));
}

void PhaseRun::look_now() {
    // Only a hint: the interlay reads the file by itself a little later.
    auto port = context_.interlay.connect();
    if (port) static_cast<void>(MoverClient(**port).look_now());
}

Status PhaseRun::wait_for_workers(milliseconds span) {
    WorkerGroup workers(store(), row_.id,
                        [this](const std::string& path) { return context_.interlay.open(path); });
    const Deadline deadline = Deadline::in(span);
    std::string waiting_for;
    while (true) {
        auto left = workers.refresh();  // drops the registrations of dead processes
        if (!left) return tl::unexpected(left.error());
        workers.look_now();
        auto standing = workers.standing(row_.route.epoch, false, deadline, waiting_for);
        if (!standing) return tl::unexpected(standing.error());
        if (*standing) return {};
        if (deadline.passed()) {
            return fail(ErrorCode::unreachable,
                        fmt::format("not every interlay follows epoch {}: {}", row_.route.epoch,
                                    waiting_for),
                        "exodus status --workers");
        }
        Progress line;
        line.step = "publishing the route";
        line.waiting_for = waiting_for;
        progress(std::move(line));
        EXODUS_TRY(pause(milliseconds(20)));
    }
}

Result<ControlPort*> PhaseRun::interlay() {
    auto port = context_.interlay.ensure(context_.stop);
    if (!port) return fail(std::move(port.error()), "reaching the interlay");
    return port;
}

Result<TrafficStats> PhaseRun::traffic() {
    auto port = interlay();
    if (!port) return tl::unexpected(port.error());
    auto answer =
        (*port)->call({{"op", control_op::kTraffic}}, milliseconds(limits::kControlTimeout_ms));
    if (!answer) return fail(std::move(answer.error()), "asking the interlay for its traffic");
    try {
        const auto inner = answer->find("stats");
        return TrafficStats::from_json(inner != answer->end() ? *inner : *answer);
    } catch (const json::exception& error) {
        return fail(ErrorCode::protocol, std::string("the interlay's traffic: ") + error.what());
    }
}

Inspector& PhaseRun::inspector() {
    if (!inspector_) inspector_ = context_.family.make_inspector(context_.family_context());
    return *inspector_;
}

// --- evidence
// --------------------------------------------------------------------------------------------------------

Status PhaseRun::evidence(const char* kind, EvidenceVerdict verdict, const json& data) {
    EvidenceRow row;
    row.attempt = row_.attempt;
    row.kind = kind;
    row.verdict = verdict;
    row.data = json_text(data);
    auto added = store().add_evidence(row_.id, std::move(row));
    if (!added) return tl::unexpected(added.error());
    return {};
}

Result<GateReport> PhaseRun::judge_by(Gate gate,
                                      Result<GateReport> (*rules)(Gate gate, const GateInput&)) {
    auto now = context_now(store(), row_.id, settings(), context_.tool_version);
    if (!now) return tl::unexpected(now.error());
    auto report = rules(gate, GateInput{store(), settings(), row_, *now, wall_ms()});
    if (report) {
        std::erase_if(outcome.gates, [&](const GateReport& old) { return old.gate == gate; });
        outcome.gates.push_back(*report);
    }
    return report;
}

Result<GateReport> PhaseRun::judge(Gate gate) { return judge_by(gate, evaluate); }

Status PhaseRun::demand(Gate gate) {
    auto report = judge(gate);
    if (!report) return tl::unexpected(report.error());
    return require(*report);
}

Status PhaseRun::demand_own(Gate gate) {
    auto report = judge_by(gate, evaluate_unskipped);
    if (!report) return tl::unexpected(report.error());
    return require(*report);
}

Status PhaseRun::store_context() {
    EvidenceContext now;
    now.config_hash = settings().config_hash;
    now.tool_version = context_.tool_version;
    std::string prints;
    for (const Side side : {Side::source, Side::target}) {
        auto print = inspector().fingerprint(side);
        if (!print)
            return fail(std::move(print.error()),
                        fmt::format("reading the settings of the {}", to_string(side)));
        prints += *print;
        prints += '\n';
    }
    now.schema_hash = sha256_hex(prints);
    return store().set_context(row_.id, now);
}

Status PhaseRun::save_detail(const json& detail) {
    return store().update_run(run_id_, "running", json_text(detail));
}

namespace {

/// The operator's scripts: only around a run, never inside a cutover.
Status call_hooks(PhaseRun& run, const char* moment, const char* how) {
    PhaseContext& context = run.context();
    const MigrationRow& row = run.row();
    const auto directory = std::filesystem::path(context.store.path()).parent_path() / "hooks.d";
    HookEvent event{run.outcome.phase, moment, how, {}};
    event.more = {{"MIGRATION", row.name},
                  {"STATE", std::string(to_string(row.state))},
                  {"AUTHORITY", std::string(to_string(row.route.authority))},
                  {"EPOCH", std::to_string(row.route.epoch)},
                  {"EXIT_CODE", std::to_string(run.outcome.exit_code)}};
    // What is over is told also when it was stopped: those behind a phase are bounded by time
    // alone.
    const bool before = event.moment == "before";
    const bool back = before && event.phase == "rollback";
    auto results = run_hooks(directory, event,
                             milliseconds(back ? limits::kHookOfRollback_ms : limits::kHook_ms_max),
                             before ? context.stop : std::stop_token());
    if (!results && back && !context.stop.stop_requested()) {
        // The way back is open whatever a script thinks of it.
        run.note(Severity::warn, results.error().message + "; the rollback goes on");
        return {};
    }
    if (!results) return tl::unexpected(results.error());
    for (const HookResult& result : *results) {
        if (result.exit_code != 0)
            run.note(Severity::warn,
                     fmt::format("hook {} ended with {}", result.script, result.exit_code));
    }
    return {};
}

/// A phase that moves data works by what the interlay read, not by what it read itself.
void warn_of_configuration(PhaseRun& run) {
    auto port = run.running_interlay();
    if (!port) return;
    const auto both = MoverClient(**port).both();
    if (!both) return;
    const std::string text = other_configuration(both->config_hash, run.settings().config_hash);
    if (!text.empty()) run.note(Severity::warn, text);
}

}  // namespace

// --- frame
// -----------------------------------------------------------------------------------------------------------

/// --timeout bounds this wait, too: what could not begin in time is still locked.
Status PhaseRun::take_lock() {
    const milliseconds wanted = context_.lock_timeout;
    const auto waiting = [this, wanted](const std::string& holder) -> Status {
        if (context_.stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped on request");
        if (wanted.count() == 0) return {};
        Progress line;
        line.step = "not begun yet";
        line.waiting_for = holder;
        progress(std::move(line));
        return {};
    };
    auto lock = StateLock::take(store().path(), context_.owner, outcome.phase, label_,
                                deadline_ ? std::min(wanted, deadline_->left()) : wanted, waiting);
    if (!lock) return tl::unexpected(lock.error());
    lock_ = std::make_shared<StateLock>(std::move(*lock));
    return {};
}

Status PhaseRun::begin(std::optional<Command> command, const PhaseFrame& frame) {
    label_ = outcome.phase;
    if (!context_.command_line.empty()) {
        label_.clear();
        for (const std::string& word : context_.command_line)
            label_ += (label_.empty() ? "" : " ") + word;
    }
    if (context_.timeout.count() > 0) deadline_ = Deadline::in(context_.timeout);
    if (frame.takes_lock && !context_.dry_run) {
        EXODUS_TRY(take_lock());
    }
    EXODUS_TRY(refresh());
    if (!context_.dry_run) {
        auto id = store().begin_command(row_.id, label_, context_.owner);
        if (!id) return tl::unexpected(id.error());
        command_id_ = *id;
        EvidenceContext now;
        now.config_hash = settings().config_hash;
        now.tool_version = context_.tool_version;
        EXODUS_TRY(store().set_context(row_.id, now));
        if (frame.recovers) EXODUS_TRY(recover());
    }
    auto skips = wanted_skips();
    if (!skips) return tl::unexpected(skips.error());
    if (!command) return {};
    if (!goal_holds(*command, row_)) EXODUS_TRY(check_command(*command, row_, *skips));
    if (frame.allows) EXODUS_TRY(frame.allows(row_));
    if (context_.dry_run) return {};

    // A phase that begins the next attempt is its own from the start, so that it can be resumed.
    const int attempt = *command == Command::rollback ? row_.attempt : current_attempt(row_);
    auto earlier = store().runs(row_.id, 64);
    if (!earlier) return tl::unexpected(earlier.error());
    bool newest = true;
    for (const RunRow& run : *earlier) {
        if (run.phase != outcome.phase || run.attempt != attempt) continue;
        if (run.ended_ms == 0) {
            EXODUS_TRY(store().end_run(run.id, "failed"));  // its process is dead: we hold the lock
            static_cast<void>(store().add_event(row_.id, "warn", "phase.died", run_died(run)));
        }
        if (newest && run.status != "done") {
            resumed_detail_ = json::parse(run.detail, nullptr, false);
            if (!resumed_detail_.is_object()) resumed_detail_ = json::object();
        }
        newest = false;
    }
    auto run = store().begin_run(row_.id, attempt, outcome.phase, context_.owner,
                                 json_text(resumed_detail_),
                                 run_began(context_, outcome, label_, attempt));
    if (!run) return tl::unexpected(run.error());
    run_id_ = *run;
    return {};
}

/// What is skipped already, and what this command asks to skip.
Result<Skips> PhaseRun::wanted_skips() {
    Skips skips;
    for (auto [gate, flag] :
         {std::pair{Gate::compare, &skips.compare}, std::pair{Gate::test, &skips.test}}) {
        auto skipped = is_skipped(store(), row_, gate);
        if (!skipped) return tl::unexpected(skipped.error());
        *flag = *skipped;
    }
    for (const std::string& name : context_.skip_gate) {
        const auto gate = gate_from(name);
        if (!gate) return fail(ErrorCode::usage, "there is no gate " + name);
        EXODUS_TRY(may_skip_gate(row_, *gate, context_.reason));
        if (*gate == Gate::compare) skips.compare = true;
        if (*gate == Gate::test) skips.test = true;
    }
    return skips;
}

/// Only when the command may run: what is refused must leave no decision in force.
Status PhaseRun::store_skips() {
    for (const std::string& name : context_.skip_gate)
        EXODUS_TRY(skip_gate(store(), row_, *gate_from(name), context_.reason, context_.owner));
    return {};
}

/// As the file knows them: no phase ends with a question to a server.
Obstacles PhaseRun::obstacles() {
    Obstacles out = obstacles_of(row_, last_seen(row_, Direction::forward),
                                 last_seen(row_, Direction::reverse));
    out.failed_items = store().count_item_errors(row_.id, to_string(feeding(row_))).value_or(0);
    const auto decided =
        store().latest_decision(row_.id, current_attempt(row_), {"approve", "deny"}, "switch");
    const bool approved = decided && decided->has_value() && (*decided)->kind == "approve";
    out.approval_missing = settings().migrate.manual_approval && !approved;
    return out;
}

void PhaseRun::explain_state() {
    outcome.state = row_.state;
    outcome.authority = row_.route.authority;
    outcome.epoch = row_.route.epoch;
    outcome.stands = state_text(row_);
    Skips skips;
    skips.compare = is_skipped(store(), row_, Gate::compare).value_or(false);
    skips.test = is_skipped(store(), row_, Gate::test).value_or(false);
    for (std::string& next : next_commands(row_, skips, obstacles())) {
        if (std::find(outcome.next.begin(), outcome.next.end(), next) == outcome.next.end()) {
            outcome.next.push_back(std::move(next));
        }
    }
}

void PhaseRun::close(const Status& status) {
    if (!status) {
        const Error& error = status.error();
        outcome.exit_code = exit_code_of(error.code);
        outcome.error = error;
        if (error.code == ErrorCode::cancelled) {
            outcome.headline =
                outcome.phase + " stopped; run the same command again and it goes on from here";
            outcome.next.insert(outcome.next.begin(), "exodus " + label_);
        } else {
            outcome.headline = error.message;
        }
        if (error.code == ErrorCode::locked) outcome.next.push_back("exodus " + label_);
        if (error.code == ErrorCode::gate_not_met || error.code == ErrorCode::approval_missing) {
            for (const GateReport& gate : outcome.gates) {
                for (std::string& line : failed_lines(gate))
                    outcome.details.push_back(std::move(line));
            }
        }
    }
    // One that never began (locked) must not tell another authority than the file does.
    if (row_.id == 0 || !context_.dry_run) static_cast<void>(refresh());
    if (row_.id == 0) return;
    explain_state();
    if (context_.dry_run) return;
    const bool stopped = !status && status.error().code == ErrorCode::cancelled;
    const char* how = status && outcome.exit_code == 0 ? "done" : stopped ? "stopped" : "failed";
    if (run_id_ != 0) {
        // Nothing is held any more; a failing hook changes nothing about what was reached.
        const Status told = call_hooks(*this, "after", how);
        if (!told) note(Severity::warn, "after-hooks: " + told.error().message);
        const Status ended = store().end_run(run_id_, how);
        if (!ended && outcome.exit_code == 0) {
            outcome.exit_code = exit_code_of(ended.error().code);
            outcome.error = ended.error();
        }
    }
    if (command_id_ == 0) return;
    // What has no run and succeeded (approve, a knob) told of itself.
    std::optional<NewEvent> event;
    if (run_id_ != 0) event = run_ended(context_, outcome, how);
    if (run_id_ == 0 && outcome.exit_code != 0) event = run_ended(context_, outcome, "refused");
    static_cast<void>(
        store().end_command(row_.id, command_id_, outcome.exit_code, outcome.headline, event));
}

PhaseOutcome run_phase(PhaseContext& context, std::optional<Command> command, std::string phase,
                       const PhaseFrame& frame, const std::function<Status(PhaseRun&)>& body) {
    PhaseRun run(context, std::move(phase));
    Status status = run.begin(command, frame);
    if (status && run.run_id_ != 0) {
        warn_of_configuration(run);
        status = call_hooks(run, "before", "");
    }
    if (status && !context.dry_run) status = run.store_skips();
    if (status) status = context.dry_run ? tell_plan(run, frame) : body(run);
    run.close(status);
    return std::move(run.outcome);
}

Status wait_until(PhaseRun& run, milliseconds span, const std::string& what,
                  const std::function<Result<bool>()>& condition) {
    const Deadline deadline = Deadline::in(span);
    while (true) {
        auto holds = condition();
        if (!holds) return tl::unexpected(holds.error());
        if (*holds) return {};
        if (span.count() > 0 && deadline.passed()) {
            return fail(ErrorCode::timeout,
                        fmt::format("waited {} for {}", span_text(span.count()), what));
        }
        EXODUS_TRY(run.pause());
    }
}

}  // namespace exodus
