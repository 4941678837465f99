// Cutovers and verify as phases run them: the ports of this process, and the end of what a dead
// process left open.
#include <fmt/format.h>
#include <utility>

#include "workflow/runner.h"

namespace exodus {

CutoverPorts PhaseRun::ports(std::function<void(std::string_view)> fault) {
    return CutoverPorts{
        .store = store(),
        .control = [this](const std::string& path) { return context_.interlay.open(path); },
        .fence =
            [this](Side side) {
                return context_.family.make_fence(context_.family_context(), side);
            },
        .final_check = [this](Direction direction, const std::vector<std::string>& touched,
                              Deadline deadline) -> Result<VerifyResult> {
            auto port = context_.interlay.connect();
            if (!port) return tl::unexpected(port.error());
            auto verifier = context_.family.make_verifier(
                context_.family_context(), direction,
                {.applied =
                     [client = MoverClient(**port), direction](const Position& position) mutable {
                         return client.applied(direction, position);
                     },
                 .stand = {},
                 .go_on = {}});
            return verifier->final_check(touched, deadline);
        },
        .progress =
            [this](std::string_view step, std::string_view text) {
                Progress now;
                now.step = fmt::format("{} {}", step, text);
                progress(std::move(now));
            },
        .fault = fault ? std::move(fault) : context_.fault,
    };
}

Result<CutoverReport> PhaseRun::cutover(CutoverRequest request,
                                        std::function<void(std::string_view)> fault) {
    EXODUS_TRY(may_go_on());
    request.command = label_;
    request.owner = context_.owner;
    if (request.reason.empty()) request.reason = context_.reason;
    Cutover machine(settings(), ports(std::move(fault)));
    store().set_busy(milliseconds(limits::kStoreBusy_ms));  // clients wait
    auto report = machine.run(row_, request);
    store().set_busy(milliseconds(limits::kPhaseBusy_ms));
    EXODUS_TRY(refresh());
    look_now();
    return report;
}

Result<VerifyResult> PhaseRun::verify(Direction direction, const std::string& step) {
    return with_verifier(direction, step, [](Verifier& verifier, const auto& on_progress) {
        return verifier.run(on_progress);
    });
}

Result<VerifyResult> PhaseRun::verify_touched(Direction direction, milliseconds span,
                                              const std::string& step) {
    auto port = interlay();
    if (!port) return tl::unexpected(port.error());
    std::vector<std::string> keys;
    for (const Direction lane : {Direction::forward, Direction::reverse}) {
        auto some = MoverClient(**port).touched(lane, span);
        if (!some) return fail(std::move(some.error()), step);
        keys.insert(keys.end(), some->begin(), some->end());
    }
    return with_verifier(direction, step, [&](Verifier& verifier, const auto& on_progress) {
        return verifier.check(keys, on_progress);
    });
}

Result<VerifyResult> PhaseRun::with_verifier(Direction direction, const std::string& step,
                                             const VerifierWork& work) {
    auto port = interlay();
    if (!port) return tl::unexpected(port.error());
    const auto applied = [this, direction, client = MoverClient(**port)](
                             const Position& position) mutable -> Result<bool> {
        // The verifier asks this in every wait: here a stop reaches it, and what it has done so far
        // stays durable.
        EXODUS_TRY(may_go_on());
        return client.applied(direction, position);
    };
    const auto stand = [direction, client = MoverClient(**port)](
                           uint64_t ticket, const Position& position, milliseconds span) mutable {
        return client.stand(direction, ticket, position, span);
    };
    const auto go_on = [direction, client = MoverClient(**port)](uint64_t ticket) mutable {
        return client.go_on(direction, ticket);
    };
    auto verifier = context_.family.make_verifier(context_.family_context(), direction,
                                                  {applied, stand, go_on});
    const int64_t started_us = steady_us();
    auto result = work(*verifier, [&](const VerifyProgress& seen) {
        Progress now;
        now.step = seen.round == 0 ? step : fmt::format("{}, round {}", step, seen.round);
        now.done = seen.done;
        now.total = seen.total_estimate;
        now.total_is_estimate = true;
        now.unit = "keys";
        const double seconds = static_cast<double>(steady_us() - started_us) / 1e6;
        if (seconds > 0) now.rate = static_cast<double>(seen.done) / seconds;
        if (now.rate > 0 && seen.total_estimate > seen.done) {
            now.eta_ms = static_cast<int64_t>(static_cast<double>(seen.total_estimate - seen.done) /
                                              now.rate * 1000);
        }
        now.waiting_for = seen.waiting_for;
        progress(std::move(now));
    });
    if (!result) return fail(std::move(result.error()), step);
    EXODUS_TRY(store().put_divergences(row_.id, result->samples));
    return result;
}

Status PhaseRun::recover() {
    const bool held = row_.state == MigrationState::holding || row_.route.hold;
    auto open = store().open_run(row_.id, "cutover.");
    if (!open) return tl::unexpected(open.error());
    if (held || open->has_value()) {
        // Held clients wait for a worker that finishes the operation: without one there is nothing
        // to release.
        auto port = interlay();
        if (!port) return tl::unexpected(port.error());
    }
    Cutover machine(settings(), ports(nullptr));
    auto report = machine.recover(row_, context_.owner);
    if (!report) return fail(std::move(report.error()), "ending an interrupted cutover");
    EXODUS_TRY(refresh());
    if (report->has_value()) {
        const bool done = (*report)->outcome == CutoverOutcome::done;
        note(Severity::warn,
             fmt::format("an interrupted cutover was {}: {} is authoritative",
                         done ? "completed" : "aborted", to_string(row_.route.authority)));
        look_now();
    }
    return return_authority();
}

Status PhaseRun::return_authority() {
    if (row_.route.authority != Side::target || row_.state >= MigrationState::holding) return {};
    const Uninterruptible critical(*this);
    note(Severity::warn,
         "a rehearsal was interrupted after its switch: the authority goes back to the source");
    auto port = interlay();
    if (!port) return tl::unexpected(port.error());
    CutoverRequest request;
    request.kind = CutoverKind::hand_to_source;
    request.hold_timeout_ms = settings().cutover.hold_timeout_ms;
    request.success_state = row_.state;
    request.reason = "end of an interrupted rehearsal";
    auto report = cutover(std::move(request));
    if (!report) return fail(std::move(report.error()), "giving the authority back to the source");
    if (report->outcome != CutoverOutcome::done) {
        return fail(ErrorCode::safety,
                    "the authority could not be given back to the source: " + report->why.message,
                    "the target stays authoritative and complete; run the command again");
    }
    return {};
}

}  // namespace exodus
