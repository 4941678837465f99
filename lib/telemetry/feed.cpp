#include "telemetry/feed.h"

#include <algorithm>

#include "base/limits.h"
#include "base/stop_token.h"

namespace exodus {

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
    happened_.notify_all();
}

void Feed::take_snapshots(const std::stop_token& stop) {
    Snapshot now;
    do {
        const int64_t began_us = steady_us();
        auto taken = source_.snapshot();
        if (!taken) {
            const std::lock_guard lock(mutex_);
            snapshot_.error = taken.error().message;
            continue;
        }
        now.text = std::make_shared<const std::string>(
            taken->status.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        now.value = std::make_shared<const TelemetrySnapshot>(std::move(*taken));
        now.taken_ms = wall_ms();
        now.took_us = steady_us() - began_us;
        ++now.version;
        auto status = std::make_shared<const std::string>(printed(now));
        const std::lock_guard lock(mutex_);
        snapshot_ = now;
        status_ = std::move(status);
        changed_.notify_all();
    } while (wait_unless_stopped(stop, milliseconds(limits::kTelemetrySnapshot_ms)));
}

/// One object of two: the status is large, and the same for everybody.
std::string Feed::printed(const Snapshot& snapshot) const {
    const nlohmann::json now{{"at_ms", snapshot.taken_ms},
                             {"now_ms", wall_ms()},
                             {"telemetry",
                              {{"clients", followers.load()},
                               {"dropped", dropped.load()},
                               {"snapshot_us", snapshot.took_us},
                               {"error", snapshot.error}}}};
    std::string text = *snapshot.text;
    text.back() = text.size() > 2 ? ',' : ' ';
    return text + now.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).substr(1);
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
        happened_.notify_all();
    }
}

Feed::Snapshot Feed::snapshot() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

std::string Feed::status() const {
    const Snapshot now = snapshot();
    return now.value ? printed(now) : std::string();
}

bool Feed::live() const {
    const std::lock_guard lock(mutex_);
    return snapshot_.value && wall_ms() - snapshot_.taken_ms <= limits::kTelemetryStale_ms;
}

int64_t Feed::newest_event() const {
    const std::lock_guard lock(mutex_);
    return newest_;
}

std::map<std::string, uint64_t> Feed::event_counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
}

bool Feed::next(Place& place, milliseconds span, News& news) {
    news = {};
    std::unique_lock lock(mutex_);
    (place.status ? changed_ : happened_).wait_for(lock, span, [&] {
        return stopped_ || newest_ > place.event ||
               (place.status && snapshot_.version != place.version);
    });
    if (stopped_) return false;
    if (place.status && snapshot_.version != place.version) {
        place.version = snapshot_.version;
        news.status = status_;
    }
    if (place.event >= kept_behind_) {
        const auto first =
            std::find_if(events_.begin(), events_.end(),
                         [&](const TelemetryEvent& event) { return event.id > place.event; });
        news.events.assign(first, events_.end());
    } else {
        lock.unlock();
        if (auto older = source_.events_after(place.event, limits::kTelemetryEvents_max))
            news.events = std::move(*older);
    }
    if (!news.events.empty()) place.event = news.events.back().id;
    return true;
}

}  // namespace exodus
