#include "workflow/phases/switching.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/gate_text.h"
#include "workflow/phases/follow.h"

namespace exodus {

using nlohmann::json;

namespace {

Direction opposite(Direction direction) {
    return direction == Direction::forward ? Direction::reverse : Direction::forward;
}

/// Asks the traffic workers whether the other side is open for every identity and script that they
/// saw.
Status sessions_ready(PhaseRun& run, Side gaining) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    auto answer =
        (*port)->call({{"op", control_op::kReady}, {"side", std::string(to_string(gaining))}},
                      milliseconds(limits::kMoverCall_ms));
    if (!answer) return tl::unexpected(answer.error());
    return {};
}

std::string capacity_problem(const EndpointHealth& gaining, const EndpointHealth& losing) {
    if (!gaining.reachable) return "it does not answer: " + gaining.error;
    if (gaining.memory_max_bytes == 0) return {};
    // It holds a full copy already; what must still fit is its growth, at least a tenth of the
    // data.
    const double needed =
        static_cast<double>(std::max(gaining.memory_used_bytes, losing.memory_used_bytes)) * 1.1;
    if (static_cast<double>(gaining.memory_max_bytes) >= needed) return {};
    return fmt::format("its memory limit of {} MiB leaves no room beside {} MiB of data",
                       gaining.memory_max_bytes >> 20, gaining.memory_used_bytes >> 20);
}

}  // namespace

Status measure_readiness(PhaseRun& run, Side gaining) {
    const Direction feed = feeding(gaining);
    const Direction back = opposite(feed);
    auto window = wait_lag_of_hand_over(run, gaining);
    if (!window) return tl::unexpected(window.error());
    json problems = json::array();
    const Status way_back = prove_standby(run, back);
    if (!way_back) {
        if (way_back.error().code == ErrorCode::cancelled) return way_back;
        problems.push_back("the way back: " + way_back.error().message);
    }
    auto back_status = movement_status(run, back);
    if (!back_status) return tl::unexpected(back_status.error());
    const Status sessions = sessions_ready(run, gaining);
    if (!sessions) {
        problems.push_back(fmt::format("sessions cannot go to the {}: {}", to_string(gaining),
                                       sessions.error().message));
    }
    const std::string capacity =
        capacity_problem(run.inspector().health(gaining), run.inspector().health(other(gaining)));
    if (!capacity.empty())
        problems.push_back(fmt::format("the {}: {}", to_string(gaining), capacity));
    EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
    const MovementStatus& last = window->last;
    if (last.failed_items > 0) {
        problems.push_back(
            fmt::format("{} items could not be moved: exodus errors", grouped(last.failed_items)));
    }
    const json data = {{"gaining", std::string(to_string(gaining))},
                       {"lag_ms", window->lag_ms_max},
                       {"repairs_open", last.repairs_open},
                       {"failed_items", last.failed_items},
                       {"reverse_stage", std::string(to_string(back_status->stage))},
                       {"reverse_proven_ms", back_status->proven_ms},
                       {"sessions_ready", sessions.has_value()},
                       {"capacity_ok", capacity.empty()},
                       {"problems", problems}};
    run.outcome.numbers["readiness"] = data;
    return run.evidence(evidence_kind::kReadiness,
                        problems.empty() ? EvidenceVerdict::pass : EvidenceVerdict::fail, data);
}

Status judge_cutover(PhaseRun& run, const CutoverReport& report, const std::string& action) {
    json steps = json::object();
    for (const auto& [step, us] : report.step_us) steps[step] = us;
    run.outcome.numbers["cutover"] = {
        {"outcome", report.outcome == CutoverOutcome::done        ? "done"
                    : report.outcome == CutoverOutcome::rehearsed ? "rehearsed"
                                                                  : "aborted"},
        {"resumed", report.resumed},
        {"hold_us", report.hold_us},
        {"steps_us", steps},
        {"end_position", report.end_position},
        {"failed_step", report.failed_step}};
    run.detail(fmt::format("pause     writes were held for {:.1f} ms",
                           static_cast<double>(report.hold_us) / 1000));
    if (report.outcome != CutoverOutcome::aborted) return {};
    return fail(
        ErrorCode::safety,
        fmt::format("the {} was aborted at {}: {}", action, report.failed_step, report.why.message),
        fmt::format("{} is still authoritative and held writes were released to it; {}",
                    to_string(run.row().route.authority),
                    report.why.hint.empty() ? "solve the cause and run the command again"
                                            : report.why.hint));
}

namespace {

Result<CutoverReport> hand(PhaseRun& run, CutoverKind kind, const std::string& action,
                           std::optional<MigrationState> success) {
    CutoverRequest request;
    request.kind = kind;
    request.hold_timeout_ms = run.settings().cutover.hold_timeout_ms;
    request.success_state = success;
    request.reason = run.context().reason.empty() ? action : run.context().reason;
    request.decision = run.decision("confirm", action);
    return run.cutover(std::move(request));
}

}  // namespace

Status switch_to_target(PhaseRun& run, const std::string& strategy) {
    EXODUS_TRY(run.store_context());
    EXODUS_TRY(measure_readiness(run, Side::target));
    EXODUS_TRY(run.demand(Gate::switch_over));
    EXODUS_TRY(
        run.confirm({"switch", run.settings().migration,
                     "all traffic goes to the target; rollback stays possible until commit"}));
    // Somebody may have thought for long, and somebody else may have said no meanwhile.
    EXODUS_TRY(run.demand(Gate::switch_over));
    EXODUS_TRY(run.may_go_on());
    auto report = hand(run, CutoverKind::hand_to_target, "switch", std::nullopt);
    if (!report) return tl::unexpected(report.error());
    run.outcome.numbers["strategy"] = strategy;
    return judge_cutover(run, *report, "switch");
}

Status switch_to_source(PhaseRun& run, MigrationState success, const std::string& action) {
    EXODUS_TRY(measure_readiness(run, Side::source));
    const json& readiness = run.outcome.numbers["readiness"];
    for (const json& problem : readiness["problems"])
        run.note(Severity::warn, problem.get<std::string>());
    EXODUS_TRY(
        run.confirm({action, run.settings().migration,
                     "all traffic goes back to the source with every write made meanwhile"}));
    EXODUS_TRY(run.may_go_on());
    auto report = hand(run, CutoverKind::hand_to_source, action, success);
    if (!report) return tl::unexpected(report.error());
    return judge_cutover(run, *report, action);
}

}  // namespace exodus
