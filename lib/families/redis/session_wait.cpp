// WAIT and WAITAOF of a session whose writes went over shared connections (redis.md 3.3).
#include <algorithm>
#include <string>
#include <vector>

#include "base/limits.h"
#include "families/redis/session.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

constexpr std::string_view kUnblocked = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// Longer than any test of patience; keeps the arithmetic below in range.
constexpr int64_t kWait_ms_max = 1'000'000'000'000;

/// Arguments from the second on, all numbers that a server takes.
bool numbers_of(const resp::RequestFrame& frame, std::vector<int64_t>& out) {
    std::vector<std::string_view> scratch;
    for (const std::string_view argument : resp::all_arguments(frame, scratch).subspan(1)) {
        int64_t value = 0;
        if (!resp::parse_int(argument, value) || value < 0) return false;
        out.push_back(std::min(value, kWait_ms_max));
    }
    return true;
}

}  // namespace

/// On a shared connection the server would wait for everybody's writes, on one of its own for
/// nobody's (Valkey 8.0) or for the whole stream (Redis 7.0). So the offset after this client's
/// last answer is compared with what replicas have acknowledged; no connection stands still.
bool ClientSession::do_wait(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    if (!worker_.state().sharing)
        return use_lease(row, frame, kWait, Job::forward, Kind::plain, false);
    std::vector<int64_t> numbers;
    if (frame.argc != 3 || !numbers_of(frame, numbers))
        return use_either(row, frame, Job::forward, Kind::plain);  // the server's own error
    if (outstanding_ > 0) return stall(Stall::drain);
    if (replicas_.has_value() || woken_ != Wake::none) {
        const int64_t so_far = worker_.stop_replica_wait(*this);
        const int64_t count = std::exchange(replicas_, std::nullopt).value_or(so_far);
        if (end_wait() == Wake::error) return local_error(kUnblocked);
        if (count != ReplicaWaits::kNotPrimary)
            return local_reply(":" + std::to_string(count) + "\r\n");
        return use_lease(row, frame, kWait, Job::forward, Kind::plain, false);
    }
    if (!waits_) {
        begin_wait();
        worker_.observe(*this, row, frame, database_);
        wait_deadline_us_ = numbers[1] == 0 ? 0 : worker_.io().now_us() + numbers[1] * 1000;
    }
    flush_run();
    worker_.wait_for_replicas(*this, home(), numbers[0], wait_deadline_us_);
    return stall(Stall::replicas);
}

void ClientSession::on_replicas(int64_t count) {
    if (dead_ || !waits_) return;
    replicas_ = count;
    worker_.run_later(*this);
}

void ClientSession::begin_wait() {
    waits_ = true;
    worker_.state().ids.set_waiting(virtual_id_, true);
}

Wake ClientSession::end_wait() {
    waits_ = false;
    wait_aof_.clear();
    worker_.state().ids.set_waiting(virtual_id_, false);
    return std::exchange(woken_, Wake::none);
}

void ClientSession::wake(Wake how) {
    if (how == Wake::none || dead_ || !waits_) return;
    woken_ = how;
    if (stall_ == Stall::replicas) worker_.run_later(*this);
}

/// No INFO tells how far a server has synced its file, so it is asked on the connection that wrote,
/// for one millisecond at a time; from then on the session has a connection of its own, where the
/// server knows whose the writes are.
bool ClientSession::do_wait_aof(const resp::CommandRow& row, const resp::RequestFrame& frame) {
    std::vector<int64_t> numbers;
    if (!worker_.state().sharing || sticky_ != 0)
        return use_lease(row, frame, kWait, Job::forward, Kind::plain, false);
    if (frame.argc != 4 || !numbers_of(frame, numbers))
        return use_either(row, frame, Job::forward, Kind::plain);
    std::string text;
    resp::append_command(text, "WAITAOF", std::to_string(numbers[0]), std::to_string(numbers[1]),
                         "1");
    resp::RequestFrame changed = frame;
    changed.bytes = text;
    if (!use_shared(row, changed, Job::watched, Kind::wait_aof)) return false;
    if (outstanding_ == 0) return true;
    if (wait_aof_.empty()) {
        wait_aof_.assign(frame.bytes);
        begin_wait();
        wait_deadline_us_ = numbers[2] == 0 ? 0 : worker_.io().now_us() + numbers[2] * 1000;
    }
    wait_aof_local_ = numbers[0];
    wait_aof_replicas_ = numbers[1];
    await_ = true;
    return true;
}

void ClientSession::on_wait_aof(std::string_view frame, char type) {
    const auto reply = resp::parse_reply(frame);
    const int64_t now = worker_.io().now_us();
    const bool counts = type == '*' && reply && reply->items.size() == 2;
    const bool met = !counts || (reply->items[0].integer >= wait_aof_local_ &&
                                 reply->items[1].integer >= wait_aof_replicas_);
    if (met || woken_ != Wake::none || (wait_deadline_us_ != 0 && now >= wait_deadline_us_)) {
        if (counts) sticky_ |= kWait;
        std::string error;
        resp::append_error(error, kUnblocked);
        worker_.to_client(*this, end_wait() == Wake::error ? std::string_view(error) : frame);
        return;
    }
    reissue_ = wait_aof_;
    reissue_at_us_ = now + limits::kRedisReplicaPoll_us;
    worker_.wait_retry(*this);
}

}  // namespace exodus::redis
