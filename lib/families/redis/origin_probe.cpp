#include "families/redis/origin_probe.h"

#include <utility>

#include "base/stop_token.h"

namespace exodus::redis {

namespace {

/// Who does not take them does not want them: a copier that waits for its lane.
constexpr std::size_t kKept_max = 4'096;

}  // namespace

void OriginProbe::begin(std::unique_ptr<Client> client) {
    const std::lock_guard lock(mutex_);
    client_ = std::move(client);
    changed_.notify_all();
}

void OriginProbe::end() {
    const std::lock_guard lock(mutex_);
    if (client_) client_->shutdown();
    client_.reset();
    failed_.reset();
    taken_us_.clear();
}

bool OriginProbe::runs() {
    const std::lock_guard lock(mutex_);
    return client_ || failed_;
}

void OriginProbe::shutdown() {
    const std::lock_guard lock(mutex_);
    if (client_) client_->shutdown();
}

void OriginProbe::run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        std::shared_ptr<Client> client;
        {
            std::unique_lock lock(mutex_);
            if (!changed_.wait(lock, stop, [this] { return client_ != nullptr; })) return;
            client = client_;
        }
        const int64_t began_us = steady_us();
        auto pong = client->command({"PING"});
        const int64_t took_us = steady_us() - began_us;
        {
            const std::lock_guard lock(mutex_);
            if (client != client_) continue;  // ended meanwhile
            if (!pong) {
                failed_ = std::move(pong).error();
                client_.reset();
                continue;
            }
            if (taken_us_.size() < kKept_max) taken_us_.push_back(took_us);
        }
        wait_unless_stopped(stop, milliseconds(interval_ms_));
    }
}

Result<std::vector<int64_t>> OriginProbe::take() {
    const std::lock_guard lock(mutex_);
    if (failed_) return fail(Error(*failed_), "asking how fast the origin answers");
    return std::exchange(taken_us_, {});
}

}  // namespace exodus::redis
