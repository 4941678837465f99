#include "workflow/phases/follow.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/gate_text.h"

namespace exodus {

namespace {

Progress progress_of(const MovementStatus& status, Direction direction) {
    Progress now;
    const bool filling = status.stage == MovementStage::filling;
    now.step = filling ? "copying" : std::string(to_string(status.stage));
    if (direction == Direction::reverse) now.step += " (reverse)";
    now.done = status.items_done;
    now.total = status.items_total_estimate;
    now.total_is_estimate = true;
    now.unit = "keys";
    now.rate = filling ? status.items_per_s : status.changes_per_s;
    if (filling && status.items_done > 0)  // as large as they were so far
        now.bytes_per_s = status.items_per_s * static_cast<double>(status.bytes_copied) /
                          static_cast<double>(status.items_done);
    now.lag_ms = status.lag_ms;
    if (filling && status.items_per_s > 0 && status.items_total_estimate > status.items_done) {
        now.eta_ms = static_cast<int64_t>(
            static_cast<double>(status.items_total_estimate - status.items_done) /
            status.items_per_s * 1000);
    }
    now.waiting_for = !status.waiting_for.empty() ? status.waiting_for : status.degraded;
    now.throttled = status.throttled;
    return now;
}

/// The row's flags say what a reader of the file must know without asking the interlay.
Status keep_flags(PhaseRun& run, Direction direction, const MovementStatus& status) {
    const MigrationRow& row = run.row();
    const MovementFlags seen{status.degraded, status.blocked};
    if (seen == (direction == Direction::forward ? row.forward_flags : row.reverse_flags))
        return {};
    EXODUS_TRY(run.store().set_flags(row.id, direction, seen));
    return run.refresh();
}

/// Whether a movement comes closer to its end: by what it fills, or by a lag that falls.
class Approach {
  public:
    /// Since when it does not.
    milliseconds still_for(const MovementStatus& status) {
        const uint64_t filled =
            status.items_done + status.items_equal + status.items_restored + status.items_removed;
        if (since_us_ == 0 || filled > filled_ || status.lag_bytes < lag_bytes_) {
            since_us_ = steady_us();
            filled_ = filled;
            lag_bytes_ = std::min(lag_bytes_, status.lag_bytes);
        }
        return milliseconds((steady_us() - since_us_) / 1000);
    }

  private:
    int64_t since_us_ = 0;
    uint64_t filled_ = 0;
    uint64_t lag_bytes_ = UINT64_MAX;
};

Status no_blocker(const MovementStatus& status, Direction direction) {
    const std::string name(to_string(direction));
    const std::string unaffected(to_string(origin_of(direction)));
    if (!status.blocked.empty()) {
        return fail(ErrorCode::safety,
                    fmt::format("the {} movement is blocked: {}", name, status.blocked),
                    unaffected + " unaffected; exodus errors and exodus events say more");
    }
    if (status.stage == MovementStage::failed) {
        return fail(ErrorCode::safety,
                    fmt::format("the {} movement failed: {}", name,
                                status.degraded.empty() ? "see exodus events" : status.degraded),
                    unaffected + " unaffected; run the command again after the cause is gone");
    }
    return {};
}

}  // namespace

Result<MovementStatus> movement_status(PhaseRun& run, Direction direction) {
    const Deadline silent = Deadline::in(milliseconds(limits::kInterlaySilent_ms_max));
    while (true) {
        auto port = run.interlay();
        auto status = port ? MoverClient(**port).status(direction)
                           : Result<MovementStatus>(tl::unexpected(port.error()));
        if (status) {
            EXODUS_TRY(keep_flags(run, direction, *status));
            return status;
        }
        const ErrorCode code = status.error().code;
        const bool silence = code == ErrorCode::unreachable || code == ErrorCode::timeout;
        if (!silence || silent.passed())
            return fail(std::move(status.error()), "asking the interlay for its movements");
        Progress now;
        now.step = "waiting";
        now.waiting_for = "the interlay: " + status.error().message;
        run.progress(std::move(now));
        EXODUS_TRY(run.pause());
    }
}

Status wait_following(PhaseRun& run, Direction direction) {
    while (true) {
        auto status = movement_status(run, direction);
        if (!status) return tl::unexpected(status.error());
        run.progress(progress_of(*status, direction));
        EXODUS_TRY(no_blocker(*status, direction));
        if (status->stage == MovementStage::following && status->repairs_open == 0) return {};
        EXODUS_TRY(run.pause());
    }
}

Result<LagWindow> wait_lag(PhaseRun& run, Direction direction, int64_t lag_ms, int64_t for_ms,
                           std::optional<milliseconds> patience) {
    LagWindow window;
    Approach approach;
    int64_t good_since_us = 0;  // 0: the lag is too high now
    while (true) {
        auto status = movement_status(run, direction);
        if (!status) return tl::unexpected(status.error());
        EXODUS_TRY(no_blocker(*status, direction));
        const int64_t now_us = steady_us();
        const bool good = status->stage == MovementStage::following && status->lag_ms &&
                          *status->lag_ms <= lag_ms && status->repairs_open == 0;
        Progress line = progress_of(*status, direction);
        if (!good) {
            good_since_us = 0;
            window = LagWindow{};
            if (line.waiting_for.empty())
                line.waiting_for = fmt::format("a lag of at most {}", span_text(lag_ms));
            if (approach.still_for(*status) > patience.value_or(milliseconds::max())) {
                return fail(ErrorCode::timeout,
                            fmt::format("the {} stream came no closer to its end in {}: {}",
                                        to_string(direction), span_text(patience->count()),
                                        line.waiting_for));
            }
        } else {
            if (good_since_us == 0) good_since_us = now_us;
            window.for_ms = (now_us - good_since_us) / 1000;
            window.lag_ms_max = std::max(window.lag_ms_max, *status->lag_ms);
            window.last = *status;
            if (window.for_ms >= for_ms) return window;
            line.waiting_for =
                fmt::format("lag at most {} for {}", span_text(lag_ms), span_text(for_ms));
            line.eta_ms = for_ms - window.for_ms;
        }
        run.progress(std::move(line));
        // A short window must not be rounded up to a whole poll interval.
        EXODUS_TRY(run.pause(milliseconds(
            std::clamp<int64_t>(good_since_us != 0 ? for_ms - window.for_ms : limits::kPhasePoll_ms,
                                1, limits::kPhasePoll_ms))));
    }
}

Direction feeding(Side gaining) {
    return gaining == Side::target ? Direction::forward : Direction::reverse;
}

Result<LagWindow> wait_lag_of_hand_over(PhaseRun& run, Side gaining) {
    auto window = wait_lag(run, feeding(gaining), run.settings().cutover.max_lag_ms, 0,
                           run.context().side_away);
    if (window || window.error().code != ErrorCode::timeout) return window;
    return fail(ErrorCode::unreachable, window.error().message,
                fmt::format("nothing was changed; see that the {} answers and keeps up with the "
                            "writes, then run the command again",
                            to_string(gaining)));
}

Status prove_standby(PhaseRun& run, Direction direction) {
    const auto stands_by = [&]() -> Result<bool> {
        auto status = movement_status(run, direction);
        if (!status) return tl::unexpected(status.error());
        EXODUS_TRY(no_blocker(*status, direction));
        if (status->stage == MovementStage::standby) return true;
        Progress now;
        now.step = "opening the way back";
        now.waiting_for =
            !status->waiting_for.empty()
                ? status->waiting_for
                : fmt::format("the {} stream ({})", to_string(direction), to_string(status->stage));
        run.progress(std::move(now));
        return false;
    };
    EXODUS_TRY(wait_until(run, milliseconds(limits::kInterlaySilent_ms_max),
                          fmt::format("the {} stream to stand by", to_string(direction)),
                          stands_by));
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    const Status proven =
        MoverClient(**port).prove(direction, milliseconds(limits::kProveTimeout_ms));
    if (!proven)
        return fail(Error(proven.error()),
                    fmt::format("proving the {} stream", to_string(direction)));
    return {};
}

Status forget(PhaseRun& run, Direction direction) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    const Status done = MoverClient(**port).forget(direction);
    if (!done)
        return fail(Error(done.error()),
                    fmt::format("removing what the {} movement keeps", to_string(direction)));
    return {};
}

std::vector<std::string> residue_lines(PhaseRun& run, Side side) {
    auto left = run.inspector().residue(side);
    if (!left)
        return {fmt::format("{} could not be asked: {}", to_string(side), left.error().message)};
    std::vector<std::string> out;
    for (const std::string& item : *left)
        out.push_back(fmt::format("{}: {}", to_string(side), item));
    return out;
}

}  // namespace exodus
