#include "workflow/phases/commit.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/dry_run.h"
#include "workflow/gate_text.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/switching.h"

namespace exodus {

using nlohmann::json;

namespace {

using S = MigrationState;

constexpr const char* kWithoutProof = "exodus commit --skip-gate commit --reason TEXT";

Status watch_window(PhaseRun& run) {
    const int64_t over_ms = run.row().switched_ms + run.settings().cutover.watch_ms;
    while (wall_ms() < over_ms) {
        auto status = movement_status(run, Direction::reverse);
        if (!status) return tl::unexpected(status.error());
        Progress line;
        line.step = "watching the target";
        line.total = static_cast<uint64_t>(run.settings().cutover.watch_ms);
        line.done = line.total - static_cast<uint64_t>(std::clamp<int64_t>(
                                     over_ms - wall_ms(), 0, run.settings().cutover.watch_ms));
        line.unit = "ms";
        line.eta_ms = over_ms - wall_ms();
        line.lag_ms = status->lag_ms;
        line.waiting_for = fmt::format("the watch window, {} more",
                                       span_text(std::max<int64_t>(0, over_ms - wall_ms())));
        run.progress(std::move(line));
        if (!status->blocked.empty())
            run.note(Severity::warn, "the way back is blocked: " + status->blocked);
        EXODUS_TRY(run.pause(
            milliseconds(std::clamp<int64_t>(over_ms - wall_ms(), 1, limits::kPhasePoll_ms))));
    }
    return {};
}

tl::unexpected<Error> no_proof(const std::string& why) {
    return fail(ErrorCode::unreachable,
                why +
                    ", so nothing can be proven about the source; nothing was changed: the "
                    "target stays authoritative, revocably",
                std::string("start the source and run the command again; when it is lost for "
                            "good: ") +
                    kWithoutProof);
}

/// The reverse stream waits for a source that is away as long as it takes; a commit does not.
Status source_answers(PhaseRun& run) {
    EndpointHealth health;
    Status answers = wait_until(run, run.context().side_away, "the source", [&]() -> Result<bool> {
        health = run.inspector().health(Side::source);
        if (health.reachable) return true;
        Progress line;
        line.step = "proving the way back";
        line.waiting_for = "the source: " + health.error;
        run.progress(std::move(line));
        return false;
    });
    if (answers || answers.error().code != ErrorCode::timeout || health.reachable) return answers;
    return no_proof(fmt::format("the source does not answer ({})", health.error));
}

Status prove_final(PhaseRun& run) {
    EXODUS_TRY(source_answers(run));
    auto lag = wait_lag(run, Direction::reverse, run.settings().gates.ready_lag_ms, 0,
                        run.context().side_away);
    if (!lag && lag.error().code == ErrorCode::timeout) return no_proof(lag.error().message);
    if (!lag && lag.error().code == ErrorCode::safety) {
        lag.error().hint = std::string("without a way back, and without proof: ") + kWithoutProof;
    }
    if (!lag) return tl::unexpected(lag.error());
    EXODUS_TRY(run.evidence(evidence_kind::kCommitLag, EvidenceVerdict::pass,
                            {{"reverse_lag_ms", lag->lag_ms_max},
                             {"reverse_stage", std::string(to_string(lag->last.stage))},
                             {"repairs_open", lag->last.repairs_open}}));
    auto result = run.verify(Direction::reverse, "final verify");
    // Its own waits end, too, when a side goes away amid it.
    if (!result && (result.error().code == ErrorCode::unreachable ||
                    result.error().code == ErrorCode::timeout)) {
        return no_proof(result.error().message);
    }
    if (!result) return tl::unexpected(result.error());
    run.detail("data      " + verify_text(*result));
    run.outcome.numbers["data"] = json::parse(verify_json(*result));
    return run.evidence(evidence_kind::kCommitVerify,
                        result->clean() ? EvidenceVerdict::pass : EvidenceVerdict::fail,
                        run.outcome.numbers["data"]);
}

/// Instead of prove_final() when the gate is skipped: what nothing was proven about, in words.
Result<std::vector<std::string>> given_up(PhaseRun& run) {
    std::vector<std::string> lines;
    const EndpointHealth health = run.inspector().health(Side::source);
    auto status = movement_status(run, Direction::reverse);
    if (!status) return tl::unexpected(status.error());
    std::string back = "the way back: from now on nothing returns to the source";
    if (!health.reachable) {
        back += fmt::format("; it does not answer ({})", health.error);
    } else if (!status->blocked.empty()) {
        back += "; the reverse stream is blocked: " + status->blocked;
    } else if (status->stage != MovementStage::following || status->lag_bytes > 0) {
        back += fmt::format("; the reverse stream is at {} with {} bytes not applied",
                            to_string(status->stage), grouped(status->lag_bytes));
    }
    lines.push_back(std::move(back));
    if (status->failed_items > 0)
        lines.push_back(
            fmt::format("{} items that the source refused", grouped(status->failed_items)));
    lines.emplace_back(
        "the final verify: nothing proves that the source holds what the target has");
    if (!health.reachable)
        lines.emplace_back(
            "the clean-up of the source: keys of exodus and the fence on its users stay there");
    EXODUS_TRY(
        run.evidence(evidence_kind::kCommitGivenUp, EvidenceVerdict::warn, {{"given_up", lines}}));
    run.outcome.numbers["given_up"] = lines;
    for (const std::string& line : lines) run.detail("given up  " + line);
    return lines;
}

/// The typed confirmation is asked for last, when nothing else stands in the way.
Status confirm_commit(PhaseRun& run, const std::vector<std::string>& given_up) {
    auto report = run.judge(Gate::commit);
    if (!report) return tl::unexpected(report.error());
    Status open = require(*report);
    if (!open && open.error().code != ErrorCode::approval_missing) return open;
    std::string consequence = "the target is final; rollback is no longer possible";
    for (const std::string& line : given_up) consequence += "\ngiven up: " + line;
    EXODUS_TRY(run.confirm({"commit", run.settings().migration, std::move(consequence)}));
    auto stored = run.store().add_decision(run.row().id, run.decision("confirm", "commit"));
    if (!stored) return tl::unexpected(stored.error());
    return run.demand(Gate::commit);
}

/// A source that is lost cannot be cleaned, and nobody is to run the command again for it.
Status forget_reverse(PhaseRun& run, bool source_lost) {
    Status done = forget(run, Direction::reverse);
    if (done || !source_lost) return done;
    run.note(Severity::warn, done.error().message);
    return {};
}

Status clean_up(PhaseRun& run, bool source_lost) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    EXODUS_TRY(forget(run, Direction::forward));
    if (run.row().reverse == MovementMode::off) {
        EXODUS_TRY(forget_reverse(run, source_lost));
    } else {
        run.detail(
            "reverse   goes on feeding the source (--keep-reverse); end it with exodus commit");
    }
    std::size_t left = 0;
    for (const Side side : {Side::source, Side::target}) {
        // What the kept reverse stream needs on the source is no leftover.
        if (side == Side::source && run.row().reverse != MovementMode::off) continue;
        for (const std::string& line : residue_lines(run, side)) {
            ++left;
            run.detail("left      " + line);
            run.outcome.numbers["residue"].push_back(line);
        }
    }
    if (left == 0) {
        run.detail("residue   none on either side");
        run.outcome.numbers["residue"] = json::array();
    }
    return run.evidence(evidence_kind::kCommitResidue,
                        left == 0 ? EvidenceVerdict::pass : EvidenceVerdict::warn,
                        {{"residue", run.outcome.numbers["residue"]}});
}

Status body(PhaseRun& run, const CommitOptions& options) {
    const auto& named = run.context().skip_gate;
    const bool skipped = std::any_of(named.begin(), named.end(), [](const std::string& name) {
        return gate_from(name) == Gate::commit;
    });
    if (skipped && options.keep_reverse)
        return fail(ErrorCode::usage, "--keep-reverse needs a way back; --skip-gate gives it up");
    if (run.row().state == S::committed) {
        if (run.row().reverse != MovementMode::off && !options.keep_reverse) {
            MigrationRow next = run.row();
            next.reverse = MovementMode::off;
            EXODUS_TRY(run.transition(std::move(next), "the reverse stream ends"));
            EXODUS_TRY(clean_up(run, skipped));
            run.outcome.headline = "committed, and the reverse stream is closed";
            return {};
        }
        const bool left =
            !residue_lines(run, Side::source).empty() || !residue_lines(run, Side::target).empty();
        if (left && run.row().reverse == MovementMode::off) EXODUS_TRY(clean_up(run, skipped));
        run.outcome.headline = "committed already: the target is final";
        return {};
    }
    if (run.row().state == S::ready) {
        EXODUS_TRY(switch_to_target(run, "big-bang"));
        run.note(Severity::info,
                 "switched: the target is authoritative, until the commit revocably");
    }
    EXODUS_TRY(watch_window(run));
    std::vector<std::string> lost;
    if (skipped) {
        auto lines = given_up(run);
        if (!lines) return tl::unexpected(lines.error());
        lost = std::move(*lines);
    } else {
        EXODUS_TRY(prove_final(run));
    }
    EXODUS_TRY(confirm_commit(run, lost));
    EXODUS_TRY(run.may_go_on());
    auto next = row_for(run.row(), S::committed, wall_ms());
    if (!next) return tl::unexpected(next.error());
    if (options.keep_reverse) next->reverse = MovementMode::apply;
    EXODUS_TRY(run.transition(std::move(*next),
                              run.context().reason.empty() ? "commit" : run.context().reason));
    EXODUS_TRY(clean_up(run, skipped));
    run.outcome.headline =
        skipped ? "committed without proof: the target is authoritative for good, what was given "
                  "up is listed"
                : "committed: the target is authoritative for good";
    return {};
}

}  // namespace

PhaseOutcome run_commit(PhaseContext& context, const CommitOptions& options) {
    PhaseFrame frame;
    Settings settings = context.settings;
    const auto row = context.store.find_migration(settings.migration);
    if (row && row->state == S::ready) {
        frame.plan = cutover_plan(Side::target, settings.cutover.hold_timeout_ms);
        frame.gates = {Gate::switch_over};  // gate commit is about what stands behind it
        frame.measures = {kReadinessRequirement};
    } else {
        frame.gates = {Gate::commit};
        frame.measures = {kWatchRequirement, kReverseRequirement, kFinalVerifyRequirement};
    }
    for (const char* line : {"wait for the watch window", "verify all data a last time",
                             "close the reverse stream and remove what exodus left on both sides"})
        frame.plan.emplace_back(line);
    settings.cutover.watch_ms = options.watch_ms.value_or(settings.cutover.watch_ms);
    PhaseContext mine = context.with(settings);
    return run_phase(mine, Command::commit, "commit", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

}  // namespace exodus
