#include "telemetry/feed.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <pthread.h>

#include "base/stop_token.h"
#include "core/json_text.h"
#include "telemetry/limits.h"
#include "telemetry/readiness.h"

namespace exodus {

namespace {

/// What a source asks may be of another version of exodus: nothing it throws may end this process.
template <class Ask>
auto guarded(Ask ask) -> decltype(ask()) {
    try {
        return ask();
    } catch (const std::exception& error) {
        return fail(ErrorCode::internal, error.what());
    }
}

}  // namespace

Feed::Feed(TelemetrySource& source) : source_(source) {
    newest_ = kept_behind_ = guarded([this] { return source_.newest_event(); }).value_or(-1);
    for (const char* severity : {"info", "warn", "critical"}) counts_[severity] = 0;
    snapshot_thread_ = std::jthread([this](const std::stop_token& stop) {
        pthread_setname_np(pthread_self(), kTelemetryThread);
        take_snapshots(stop);
    });
    event_thread_ = std::jthread([this](const std::stop_token& stop) {
        pthread_setname_np(pthread_self(), kTelemetryThread);
        read_events(stop);
    });
}

Feed::~Feed() { stop(); }

void Feed::stop() {
    snapshot_thread_.request_stop();
    event_thread_.request_stop();
    {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        changed_.notify_all();
        happened_.notify_all();
    }
    if (snapshot_thread_.joinable()) snapshot_thread_.join();
    if (event_thread_.joinable()) event_thread_.join();
}

void Feed::take_snapshots(const std::stop_token& stop) {
    Snapshot now;
    Readiness readiness;
    do {
        const int64_t began_us = steady_us();
        auto taken = guarded([this] { return source_.snapshot(); });
        if (taken) {
            now.not_ready = readiness.after(taken->status, began_us);
            now.text = std::make_shared<const std::string>(json_text(taken->status));
            now.value = std::make_shared<const TelemetrySnapshot>(std::move(*taken));
            now.taken_ms = wall_ms();
            now.taken_us = steady_us();
            now.took_us = now.taken_us - began_us;
        }
        now.error = taken ? "" : taken.error().message;
        // One that could not be taken is news, too: the old one with its age, and why.
        if (now.value) ++now.version;
        auto status = now.value ? std::make_shared<const std::string>(printed(now)) : nullptr;
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
    return text + json_text(now).substr(1);
}

void Feed::read_events(const std::stop_token& stop) {
    constexpr milliseconds kPause(limits::kTelemetryEvents_ms);
    int64_t seen = newest_event();
    while (seen < 0 && wait_unless_stopped(stop, kPause)) {  // the file was locked
        seen = guarded([this] { return source_.newest_event(); }).value_or(-1);
        const std::lock_guard lock(mutex_);
        newest_ = kept_behind_ = seen;
    }
    while (wait_unless_stopped(stop, kPause)) {
        auto found =
            guarded([&] { return source_.events_after(seen, limits::kTelemetryEvents_max); });
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
    return snapshot_.value && steady_us() - snapshot_.taken_us <= limits::kTelemetryStale_ms * 1000;
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
    std::optional<Snapshot> first;
    if (place.status && snapshot_.version != place.version) {
        // Printed anew for who has just come: what was printed before knows no age.
        if (place.version == 0) first = snapshot_;
        place.version = snapshot_.version;
        news.status = status_;
    }
    if (place.event >= kept_behind_) {
        const auto behind =
            std::find_if(events_.begin(), events_.end(),
                         [&](const TelemetryEvent& event) { return event.id > place.event; });
        news.events.assign(behind, events_.end());
    } else {
        lock.unlock();
        auto older = guarded(
            [&] { return source_.events_after(place.event, limits::kTelemetryEvents_max); });
        if (older) {
            news.events = std::move(*older);
        } else {
            lock.lock();
            happened_.wait_for(lock, span, [&] { return stopped_; });
        }
    }
    if (lock.owns_lock()) lock.unlock();
    if (first) news.status = std::make_shared<const std::string>(printed(*first));
    if (!news.events.empty()) place.event = news.events.back().id;
    return true;
}

}  // namespace exodus
