// Polling, publishing, registering.
#include "interlay/route_watcher.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "base/limits.h"

namespace exodus {

namespace {
constexpr int64_t kComplainEvery_us = 30'000'000;
}

RouteWatcher::RouteWatcher(StateSource& source, WorkerRegistry& registry, RouteFollower& follower)
    : source_(source), registry_(registry), follower_(follower) {}

RouteWatcher::~RouteWatcher() { stop(); }

Result<MigrationRow> RouteWatcher::open(WorkerRow row) {
    registered_ = std::move(row);
    if (auto put = registry_.put(registered_); !put)
        return fail(std::move(put).error(), "registering this interlay");
    registered_us_ = steady_us();
    is_registered_ = true;
    auto read = source_.read();
    if (!read) return read;  // stop() takes the registration back
    const std::lock_guard lock(mutex_);
    row_ = *read;
    read_ms_ = wall_ms();
    return read;
}

void RouteWatcher::start() {
    sigset_t all;
    sigset_t former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), "exodus-route");
        run();
    });
    pthread_sigmask(SIG_SETMASK, &former, nullptr);
}

void RouteWatcher::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    looked_.notify_all();
    if (thread_.joinable()) thread_.join();
    if (!std::exchange(is_registered_, false)) return;
    if (auto removed = registry_.remove(registered_.id); !removed)
        spdlog::warn("taking the registration back: {}", removed.error().message);
}

MigrationRow RouteWatcher::row() const {
    const std::lock_guard lock(mutex_);
    return row_;
}

int64_t RouteWatcher::read_ms() const {
    const std::lock_guard lock(mutex_);
    return read_ms_;
}

Result<Route> RouteWatcher::look_now(milliseconds timeout) {
    const Deadline deadline = Deadline::in(timeout);
    std::unique_lock lock(mutex_);
    const uint64_t mine = ++asked_;
    wake_.notify_all();
    looked_.wait_for(lock, deadline.left(), [&] { return stopping_ || answered_ >= mine; });
    if (stopping_) return fail(ErrorCode::cancelled, "the interlay is ending");
    if (answered_ < mine) return fail(ErrorCode::timeout, "the state file was not read in time");
    if (last_error_) return tl::unexpected<Error>(*last_error_);
    const Route route = row_.route;
    lock.unlock();
    // Published is not adopted: the answer is about what the loops do.
    while (!follower_.follows(route.epoch)) {
        if (deadline.passed())
            return fail(ErrorCode::timeout, "a traffic loop has not taken the route yet");
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return route;
}

int64_t RouteWatcher::interval_ms() const {
    const bool cutover = row_.route.hold || row_.state == MigrationState::holding;
    return cutover || read_again_ || steady_us() < near_until_us_ ? limits::kStatePollNear_ms
                                                                  : limits::kStatePoll_ms;
}

void RouteWatcher::run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        const auto interval = milliseconds(interval_ms());
        wake_.wait_for(lock, interval, [&] { return stopping_ || asked_ > answered_; });
        if (stopping_) return;
        const uint64_t asked = asked_;
        const bool was_asked = asked > answered_;
        lock.unlock();
        tick(was_asked);
        lock.lock();
        answered_ = asked;
        if (was_asked) looked_.notify_all();
        lock.unlock();
        register_standing();  // who asked does not wait for it
        lock.lock();
    }
}

void RouteWatcher::tick(bool asked) {
    if (asked) near_until_us_ = steady_us() + limits::kStateNear_ms * 1000;
    bool look = asked || read_again_;
    if (!look) {
        auto changed = source_.changed();
        if (!changed) {
            // Whatever the reason, only a read that succeeds says what is in the file now.
            read_again_ = true;
            complain(changed.error());
        }
        look = changed && *changed;
    }
    if (look) {
        auto row = source_.read();
        const std::lock_guard lock(mutex_);
        if (row) {
            last_error_.reset();
            read_again_ = false;
            if (failing_) spdlog::info("the state file can be read again");
            failing_ = false;
            read_ms_ = wall_ms();
            consider(*row);
        } else {
            last_error_ = row.error();
            read_again_ = true;
            complain(row.error());
        }
    }
    const Route route = this->row().route;
    // Also for a loop whose mailbox was full the last time.
    follower_.follow(route);
}

void RouteWatcher::consider(const MigrationRow& row) {
    if (row.route.epoch < row_.route.epoch) {
        // A restored backup or a foreign file: going back could give two sides the truth.
        return complain(
            {ErrorCode::safety,
             "the state file shows an older epoch than the route in force; keeping it"});
    }
    if (!(row.route == row_.route) || row.state != row_.state)
        near_until_us_ = steady_us() + limits::kStateNear_ms * 1000;
    if (row.route.epoch != row_.route.epoch)
        spdlog::info("epoch {}: writes {}, reads {}{}", row.route.epoch,
                     to_string(row.route.writes), to_string(row.route.reads),
                     row.route.hold ? ", holding writes" : "");
    else if (row.route.mirror_percent != row_.route.mirror_percent)
        spdlog::info("mirrored reads: {:g} %", row.route.mirror_percent);
    row_ = row;
}

void RouteWatcher::register_standing() {
    auto standing = follower_.standing();
    if (!standing) return complain(standing.error());
    const int64_t now = steady_us();
    const int64_t age_ms = (now - registered_us_) / 1000;
    const bool holding = row().route.hold;
    const bool epoch_changed = standing->epoch != registered_.epoch;
    const bool settled = (standing->writes_in_flight == 0) != (registered_.writes_in_flight == 0) ||
                         standing->blocker != registered_.blocker;
    const bool counts = standing->writes_in_flight != registered_.writes_in_flight ||
                        standing->held != registered_.held;
    // Each put is a durable write of the state file, and in a hold clients wait for those of the
    // switch: whoever needs the numbers then asks over the control socket.
    const bool due =
        (epoch_changed && !holding) ||
        (holding && (epoch_changed || settled || counts) && age_ms >= limits::kWorkerHeld_ms) ||
        age_ms >= limits::kWorkerSeen_ms;
    if (!due) return;
    WorkerRow row = registered_;
    row.epoch = standing->epoch;
    row.writes_in_flight = standing->writes_in_flight;
    row.held = standing->held;
    row.blocker = standing->blocker;
    row.seen_ms = wall_ms();
    if (auto put = registry_.put(row); !put) return complain(put.error());
    registered_ = std::move(row);
    registered_us_ = now;
}

void RouteWatcher::complain(const Error& error) {
    if (failing_ && steady_us() - complained_us_ < kComplainEvery_us) return;
    failing_ = true;
    complained_us_ = steady_us();
    spdlog::error("{}; the last route stays in force", error.message);
}

}  // namespace exodus
