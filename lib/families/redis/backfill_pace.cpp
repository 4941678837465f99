// Backfill: how fast it reads. bytes_per_s is kept by waiting after each chunk, origin_p99_ratio by
// the size of the pages and by leaving the origin alone between them.
#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "base/stop_token.h"
#include "families/redis/backfill.h"

namespace exodus::redis {

namespace {

/// What the origin does without the copy is heard from so many PINGs, one after the other, and
/// again after a while: its load changes. One that answers slowly need not answer all of them.
constexpr std::size_t kIdlePings = 100;
constexpr std::size_t kIdlePings_min = 8;
constexpr milliseconds kIdleSpan_max{500};
constexpr milliseconds kIdlePause{1};
constexpr int64_t kIdleAgain_us = 10'000'000;
constexpr milliseconds kBusyPause{2};
/// Whoever limits the bytes wants the origin's other clients to notice little.
constexpr int kLimitedPage_keys = 128;
/// Up to this size of a page, one request is kept small in bytes too.
constexpr int kGentlePage_keys = 256;

}  // namespace

Status Backfill::keep_pace(const std::stop_token& stop) {
    const int64_t percent = flow_.origin_p99_percent;
    pace_.set_limit(percent);
    if (percent == 0) {
        probe_.end();
        idle_heard_us_ = 0;
        return {};
    }
    if (!probe_.runs()) {
        auto client = flow_.connect(flow_.origin, "latency");
        if (!client) return tl::unexpected<Error>(std::move(client).error());
        probe_.begin(std::move(*client));
    }
    auto pings = probe_.take();
    if (!pings) return tl::unexpected<Error>(std::move(pings).error());
    pace_.heard(*pings);
    if (idle_heard_us_ != 0) {
        if (steady_us() - idle_heard_us_ < kIdleAgain_us) return {};
    } else if (auto first = hear_idle(stop); !first) {
        return first;
    }
    return hear_idle(stop);
}

/// The copy stands still meanwhile, some 120 ms.
Status Backfill::hear_idle(const std::stop_token& stop) {
    std::vector<int64_t> all;
    probe_.set_interval(kIdlePause);
    const Deadline enough = Deadline::in(kIdleSpan_max);
    while (all.size() < kIdlePings && !(enough.passed() && all.size() >= kIdlePings_min)) {
        if (!wait_unless_stopped(stop, 5 * kIdlePause)) return {};
        auto some = probe_.take();
        if (!some) return tl::unexpected<Error>(std::move(some).error());
        all.insert(all.end(), some->begin(), some->end());
    }
    probe_.set_interval(kBusyPause);
    pace_.learn_idle(std::move(all));
    idle_heard_us_ = steady_us();
    return {};
}

int Backfill::page_keys() const {
    return flow_.bytes_per_s > 0 ? std::min(pace_.page_keys(), kLimitedPage_keys)
                                 : pace_.page_keys();
}

bool Backfill::gentle() const { return page_keys() <= kGentlePage_keys; }

void Backfill::rest(int64_t page_us, const std::stop_token& stop) {
    owed_us_ += pace_.rest_us(std::max<int64_t>(page_us - std::exchange(waited_us_, 0), 0));
    if (owed_us_ < 1'000) return;  // too short for a timer
    const int64_t began_us = steady_us();
    wait_unless_stopped(stop, milliseconds(owed_us_ / 1'000));
    owed_us_ = std::max<int64_t>(owed_us_ - (steady_us() - began_us), 0);
}

/// False: the fill begins elsewhere.
bool Backfill::deliver(uint64_t id, std::vector<CopyItem> items, const ScanPlace& place,
                       const std::stop_token& stop) {
    const Waiting lane(*this);
    const bool taken = flow_.queue.deliver(id, std::move(items), place, stop);
    if (taken) flow_.lane_work.tell();
    return taken;
}

void Backfill::throttle(std::size_t bytes, const std::stop_token& stop) {
    const int64_t limit = flow_.bytes_per_s;
    int64_t wait_us = 0;
    if (limit > 0) {
        const int64_t now = steady_us();
        if (refilled_us_ == 0) refilled_us_ = now;
        tokens_ =
            std::min(static_cast<double>(limit), tokens_ + static_cast<double>(now - refilled_us_) *
                                                               1e-6 * static_cast<double>(limit));
        refilled_us_ = now;
        tokens_ -= static_cast<double>(bytes);
        if (tokens_ < 0)
            wait_us = static_cast<int64_t>(-tokens_ / static_cast<double>(limit) * 1e6);
    }
    flow_.note(&MovementStatus::throttled,
               wait_us > 0 ? fmt::format("copy limited to {} bytes/s", limit)
                           : pace_.reason(to_string(origin_of(flow_.direction))));
    if (wait_us <= 0) return;
    const Waiting limited(*this);
    wait_unless_stopped(stop, milliseconds((wait_us + 999) / 1000));
}

}  // namespace exodus::redis
