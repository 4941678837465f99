// The brain's world on real sockets.
#include "interlay/traffic_loop.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/limits.h"

namespace exodus {

namespace {
constexpr int64_t kWarningEvery_us = 1'000'000;
}

TrafficLoop::TrafficLoop(int number, TrafficParts& parts, std::function<void()> on_ended)
    : number_(number),
      parts_(parts),
      on_ended_(std::move(on_ended)),
      loop_(fmt::format("exodus-loop-{}", number)) {}

TrafficLoop::~TrafficLoop() { loop_.join(); }

template <class T>
Result<T> TrafficLoop::ask(std::function<T()> question, Deadline deadline) {
    struct Answer {
        std::mutex mutex;
        std::condition_variable given;
        std::optional<T> value;
    };
    auto answer = std::make_shared<Answer>();
    const bool posted = loop_.post([answer, question = std::move(question)] {
        T value = question();
        const std::lock_guard lock(answer->mutex);
        answer->value = std::move(value);
        answer->given.notify_all();
    });
    if (!posted)
        return fail(ErrorCode::cancelled, fmt::format("traffic loop {} has ended", number_));
    std::unique_lock lock(answer->mutex);
    if (!answer->given.wait_for(lock, deadline.left(), [&] { return answer->value.has_value(); }))
        return fail(ErrorCode::timeout, fmt::format("traffic loop {} does not answer", number_));
    return std::move(*answer->value);
}

Status TrafficLoop::start(const Route& route) {
    EXODUS_TRY(loop_.start(
        *this,
        [this, route] {
            timers_ = std::make_unique<Timers>(loop_.raw());
            connections_ = std::make_unique<ConnectionSet>(loop_, *timers_, *this);
            brain_ = parts_.traffic.make_worker(*this);
            route_ = route;
            brain_->adopt(route);
            active_ = true;
            adopted_.store(route.epoch, std::memory_order_release);
        },
        [this] {
            brain_.reset();
            connections_.reset();
            ended_.store(true);
            on_ended_();
        }));
    // The brain normally stands when this returns; one that is late has adopted no epoch until
    // then.
    (void)ask<bool>([] { return true; }, Deadline::in(milliseconds(limits::kLoopAnswer_ms)));
    return {};
}

bool TrafficLoop::publish(const Route& route) {
    return loop_.post([this, route] {
        // Two publications may have crossed: an older epoch never follows a newer one.
        if (stopping_ || route.epoch < route_.epoch || route == route_) return;
        route_ = route;
        active_ = true;
        brain_->adopt(route);
        adopted_.store(route.epoch, std::memory_order_release);
    });
}

bool TrafficLoop::serve(Listener::Accepted&& client) {
    // A task must be copyable; a socket is not.
    auto shared = std::make_shared<Listener::Accepted>(std::move(client));
    parts_.clients.fetch_add(1, std::memory_order_relaxed);
    const bool posted = loop_.post([this, shared] {
        if (stopping_ || drained_) {
            parts_.clients.fetch_sub(1, std::memory_order_relaxed);
            return;
        }
        connections_->accept(std::move(shared->socket), shared->unix_socket,
                             std::move(shared->peer), parts_.listener_tls);
    });
    if (!posted) parts_.clients.fetch_sub(1, std::memory_order_relaxed);
    return posted;
}

Result<Quiescence> TrafficLoop::quiescence(Deadline deadline) {
    return ask<Quiescence>(
        [this]() -> Quiescence {
            // A loop that is ending has closed everything: nothing is in flight through it.
            if (stopping_) return {.epoch = route_.epoch, .blocker = {}};
            Quiescence now = brain_->quiescence();
            // The brain's own word counts only as far as this thread has run adopt.
            now.epoch = std::min(now.epoch, route_.epoch);
            return now;
        },
        deadline);
}

Result<TrafficStats> TrafficLoop::traffic(Deadline deadline) {
    return ask<TrafficStats>(
        [this] {
            TrafficStats stats;
            brain_->collect(stats);
            stats.counters["net_connections"] += connections_->size();
            stats.counters["net_buffered_bytes"] += connections_->buffered_bytes();
            stats.counters["net_tls_failures"] += tls_failures_;
            stats.counters["net_dials_failed"] += dials_failed_;
            return stats;
        },
        deadline);
}

Result<std::vector<std::string>> TrafficLoop::backends(Side side, Deadline deadline) {
    return ask<std::vector<std::string>>(
        [this, side] {
            return connections_->dialled_from(side == Side::source ? Rank::source : Rank::target);
        },
        deadline);
}

Result<bool> TrafficLoop::set_knob(std::string name, std::string value, Deadline deadline) {
    return ask<bool>(
        [this, name = std::move(name), value = std::move(value)] {
            active_ = true;
            return brain_->set_knob(name, value);
        },
        deadline);
}

void TrafficLoop::drain(int64_t timeout_ms) {
    loop_.post([this, timeout_ms] {
        if (draining_ || stopping_) return;
        draining_ = true;
        timers_->arm(now_us(), timeout_ms * 1000, *this, kDrainDeadline);
        step_drain();
    });
}

void TrafficLoop::step_drain() {
    if (stopping_ || drained_) return;
    active_ = true;
    drained_ = brain_->drain();
    if (!drained_) timers_->arm(now_us(), limits::kDrainStep_ms * 1000, *this, kDrainTimer);
}

void TrafficLoop::stop_now() {
    loop_.post([this] { begin_stop(); });
}

void TrafficLoop::begin_stop() {
    if (stopping_) return;
    stopping_ = true;
    connections_->close_all();
}

void TrafficLoop::end_turn() {
    if (active_ || !connections_->quiet()) {
        do {
            if (active_) {
                active_ = false;
                if (!stopping_) brain_->on_turn_end();
            }
        } while (connections_->end_turn() || active_);
    }
    if (drained_ && !stopping_ && connections_->clients() == 0) {
        begin_stop();
        connections_->end_turn();
    }
    if (stopping_ && connections_->size() == 0) {
        timers_->close();
        loop_.stop();
    }
    connections_->forget_time();
    wall_us_ = 0;
}

void TrafficLoop::on_open(Connection& connection) {
    if (stopping_) return;
    active_ = true;
    if (connection.rank() != Rank::client) return brain_->on_connected(connection.id());
    if (drained_) return connection.close(CloseMode::now);
    brain_->on_accept(connection.id(), {connection.peer(), connection.tls_subject()});
}

void TrafficLoop::on_bytes(Connection& connection, std::string_view bytes) {
    if (stopping_) return;
    active_ = true;
    brain_->on_bytes(connection.id(), bytes);
}

void TrafficLoop::on_drained(Connection& connection) {
    if (stopping_) return;
    active_ = true;
    brain_->on_drained(connection.id());
}

bool TrafficLoop::on_half_closed(Connection& connection) {
    if (stopping_) return false;
    active_ = true;
    return brain_->on_half_closed(connection.id());
}

void TrafficLoop::on_closed(Connection& connection, CloseReason reason, bool was_open) {
    const bool client = connection.rank() == Rank::client;
    if (client) parts_.clients.fetch_sub(1, std::memory_order_relaxed);
    if (stopping_) return;
    if (!was_open && reason != CloseReason::local) {
        client ? ++tls_failures_ : ++dials_failed_;
        // Once a second: a flood of failures must not become a flood of lines.
        if (now_us() - last_warning_us_ > kWarningEvery_us) {
            last_warning_us_ = now_us();
            if (client)
                spdlog::warn("client {}: {}", connection.peer(), connection.reason_text());
            else
                spdlog::warn("cannot connect to {} {}: {}",
                             connection.rank() == Rank::source ? "source" : "target",
                             connection.peer(), connection.reason_text());
        }
    }
    // A client that never came through its handshake is unknown to the brain.
    if (client && !was_open) return;
    active_ = true;
    brain_->on_closed(connection.id(), reason);
}

void TrafficLoop::on_timer_due(TimerId timer, uint64_t payload) {
    if (stopping_) return;
    switch (payload) {
        case kDrainTimer:
            return step_drain();
        case kDrainDeadline:
            spdlog::warn("loop {}: {} clients did not reach a boundary in time; closing them",
                         number_, connections_->clients());
            return begin_stop();
        default:
            active_ = true;
            brain_->on_timer(timer);
    }
}

ConnId TrafficLoop::dial(Side side) {
    const bool source = side == Side::source;
    return connections_
        ->dial(source ? parts_.source : parts_.target, source ? Rank::source : Rank::target,
               source ? parts_.source_tls : parts_.target_tls)
        .id();
}

void TrafficLoop::send(ConnId conn, std::string_view bytes) {
    if (Connection* connection = connections_->find(conn)) connection->send(bytes);
}

std::size_t TrafficLoop::unsent_bytes(ConnId conn) const {
    const Connection* connection = connections_->find(conn);
    return connection != nullptr ? connection->unsent_bytes() : 0;
}

void TrafficLoop::set_reading(ConnId conn, bool on) {
    if (Connection* connection = connections_->find(conn)) connection->set_reading(on);
}

void TrafficLoop::start_tls(ConnId conn) {
    Connection* connection = connections_->find(conn);
    if (connection == nullptr) return;
    const bool source = connection->rank() == Rank::source;
    const TlsContext* context = connection->rank() == Rank::client ? parts_.listener_tls
                                : source                           ? parts_.source_tls
                                                                   : parts_.target_tls;
    if (context == nullptr) return connection->close(CloseMode::now);
    connection->start_tls(*context, connection->rank() == Rank::client ? std::string{}
                                    : source                           ? parts_.source.host
                                                                       : parts_.target.host);
}

void TrafficLoop::close(ConnId conn, CloseMode mode) {
    if (Connection* connection = connections_->find(conn)) connection->close(mode);
}

TimerId TrafficLoop::arm_timer(int64_t delay_us) {
    return timers_->arm(now_us(), delay_us, *this, kBrainTimer);
}

void TrafficLoop::cancel_timer(TimerId timer) { timers_->cancel(timer); }

int64_t TrafficLoop::now_us() const { return connections_->now_us(); }

int64_t TrafficLoop::wall_now_us() const {
    if (wall_us_ == 0) wall_us_ = wall_us();
    return wall_us_;
}

bool TrafficLoop::compare(ExchangePair&& pair) { return parts_.comparator.push(std::move(pair)); }

}  // namespace exodus
