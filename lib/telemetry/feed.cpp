#include "telemetry/feed.h"

#include <algorithm>

#include "base/limits.h"
#include "base/stop_token.h"

namespace exodus {

namespace {

std::string printed(const nlohmann::json& status) {
    return status.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Feed::Feed(TelemetrySource& source) : source_(source) {
    for (const char* severity : {"info", "warn", "critical"}) counts_[severity] = 0;
    newest_ = kept_behind_ = source_.newest_event().value_or(0);
    snapshot_thread_ = std::jthread([this](const std::stop_token& stop) { take_snapshots(stop); });
    event_thread_ = std::jthread([this](const std::stop_token& stop) { read_events(stop); });
}

Feed::~Feed() { stop(); }

void Feed::stop() {
    snapshot_thread_.request_stop();
    event_thread_.request_stop();
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
}

void Feed::take_snapshots(const std::stop_token& stop) {
    do {
        const int64_t began_us = steady_us();
        auto taken = source_.snapshot();
        auto text = taken ? std::make_shared<const std::string>(printed(taken->status)) : nullptr;
        const std::lock_guard lock(mutex_);
        if (taken) {
            snapshot_.text = std::move(text);
            snapshot_.value = std::make_shared<const TelemetrySnapshot>(std::move(*taken));
            snapshot_.taken_ms = wall_ms();
            snapshot_.took_us = steady_us() - began_us;
            snapshot_.error.clear();
            ++snapshot_.version;
            changed_.notify_all();
        } else {
            snapshot_.error = taken.error().message;
        }
    } while (wait_unless_stopped(stop, milliseconds(limits::kTelemetrySnapshot_ms)));
}

void Feed::read_events(const std::stop_token& stop) {
    int64_t seen = newest_event();
    while (wait_unless_stopped(stop, milliseconds(limits::kTelemetryEvents_ms))) {
        auto found = source_.events_after(seen, limits::kTelemetryEvents_max);
        if (!found || found->empty()) continue;  // a locked file is read again
        seen = found->back().id;
        const std::lock_guard lock(mutex_);
        for (TelemetryEvent& event : *found) {
            ++counts_[event.severity];
            events_.push_back(std::move(event));
        }
        while (events_.size() > limits::kTelemetryEvents_max) {
            kept_behind_ = events_.front().id;
            events_.pop_front();
        }
        newest_ = seen;
        changed_.notify_all();
    }
}

Feed::Snapshot Feed::snapshot() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

bool Feed::live() const {
    const std::lock_guard lock(mutex_);
    return snapshot_.value && wall_ms() - snapshot_.taken_ms <= limits::kTelemetryStale_ms;
}

Result<std::vector<TelemetryEvent>> Feed::events_after(int64_t id) {
    {
        const std::lock_guard lock(mutex_);
        if (id >= kept_behind_) {
            const auto first =
                std::find_if(events_.begin(), events_.end(),
                             [&](const TelemetryEvent& event) { return event.id > id; });
            return std::vector<TelemetryEvent>(first, events_.end());
        }
    }
    return source_.events_after(id, limits::kTelemetryEvents_max);
}

int64_t Feed::newest_event() const {
    const std::lock_guard lock(mutex_);
    return newest_;
}

std::map<std::string, uint64_t> Feed::event_counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
}

bool Feed::wait(int64_t event, uint64_t version, milliseconds span) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, span, [&] {
        return stopped_ || newest_ > event ||
               (version != kEventsOnly && snapshot_.version != version);
    });
    return !stopped_;
}

}  // namespace exodus
