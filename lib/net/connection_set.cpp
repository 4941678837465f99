// The table of connections and the end of a turn.
#include "net/connection_set.h"

#include <spdlog/spdlog.h>

#include "base/limits.h"

namespace exodus {

namespace {
constexpr uint64_t kTrimPayload = 0;  ///< no connection has id 0
}

ConnectionSet::ConnectionSet(Loop& loop, Timers& timers, ConnectionEvents& events)
    : loop_(loop),
      timers_(timers),
      events_(events),
      read_buffer_(limits::kReadChunk_bytes),
      plain_buffer_(limits::kReadChunk_bytes) {}

ConnectionSet::~ConnectionSet() = default;

Connection& ConnectionSet::add(Rank rank) {
    uint32_t slot = 0;
    if (free_.empty()) {
        slot = static_cast<uint32_t>(slots_.size());
        EXODUS_ASSERT(slot < kSlotMask);
        slots_.emplace_back();
        generations_.push_back(0);
    } else {
        slot = free_.back();
        free_.pop_back();
    }
    const auto id = static_cast<ConnId>((++generations_[slot] << kSlotBits) | slot);
    slots_[slot] = std::make_unique<Connection>(*this, id, rank);
    ++live_;
    if (rank == Rank::client) ++clients_;
    if (trim_ == TimerId::none && !closing_all_)
        trim_ = timers_.arm(now_us(), limits::kBufferTrim_ms * 1000, *this, kTrimPayload);
    return *slots_[slot];
}

Connection& ConnectionSet::accept(FileDescriptor socket, bool unix_socket, std::string peer,
                                  const TlsContext* tls) {
    Connection& connection = add(Rank::client);
    connection.accept(socket.release(), unix_socket, std::move(peer), tls);
    return connection;
}

Connection& ConnectionSet::dial(const Endpoint& endpoint, Rank rank, const TlsContext* tls) {
    Connection& connection = add(rank);
    connection.dial(endpoint, tls);
    return connection;
}

bool ConnectionSet::end_turn() {
    gone_.clear();
    bool delivered = false;
    if (!resuming_.empty()) {
        batch_.swap(resuming_);
        for (Connection* connection : batch_) {
            connection->resuming_ = false;
            connection->deliver_plain();
        }
        batch_.clear();
        delivered = true;
    }
    for (auto& rank : dirty_) {
        if (rank.empty()) continue;
        batch_.swap(rank);
        for (Connection* connection : batch_) {
            connection->dirty_ = false;
            connection->flush();
        }
        batch_.clear();
    }
    if (!drained_.empty()) {
        batch_.swap(drained_);
        for (Connection* connection : batch_) {
            if (connection->state_ != Connection::State::open) continue;
            events_.on_drained(*connection);
            delivered = true;
        }
        batch_.clear();
    }
    if (!ending_.empty()) {
        batch_.swap(ending_);
        for (Connection* connection : batch_) {
            if (connection->dirty_) {  // marked again by what this turn delivered
                connection->dirty_ = false;
                connection->flush();
                std::erase(dirty_[static_cast<std::size_t>(connection->rank())], connection);
            }
            connection->close_handle();
        }
        batch_.clear();
        delivered = true;
    }
    return delivered;
}

void ConnectionSet::finished(Connection& connection) {
    const auto slot = static_cast<uint64_t>(connection.id()) & kSlotMask;
    --live_;
    if (connection.rank() == Rank::client) --clients_;
    std::unique_ptr<Connection> owned = std::move(slots_[slot]);
    free_.push_back(static_cast<uint32_t>(slot));
    events_.on_closed(connection, connection.reason_, connection.was_open_);
    gone_.push_back(std::move(owned));
}

TimerId ConnectionSet::arm(int64_t delay_ms, const Connection& connection) {
    return timers_.arm(now_us(), delay_ms * 1000, *this, static_cast<uint64_t>(connection.id()));
}

void ConnectionSet::on_timer_due(TimerId timer, uint64_t payload) {
    if (payload == kTrimPayload) {
        trim_ = TimerId::none;
        for (const auto& connection : slots_) {
            if (connection != nullptr) connection->trim();
        }
        if (live_ > 0 && !closing_all_)
            trim_ = timers_.arm(now_us(), limits::kBufferTrim_ms * 1000, *this, kTrimPayload);
        return;
    }
    Connection* connection = find(static_cast<ConnId>(payload));
    if (connection == nullptr || connection->deadline_ != timer) return;
    connection->deadline_ = TimerId::none;
    if (connection->close_when_flushed_)
        connection->close(CloseMode::now);
    else if (connection->rank() == Rank::client || connection->upgraded_)
        connection->end(CloseReason::error, "the TLS handshake took too long");
    else
        connection->end(CloseReason::timeout, "connecting took too long");
}

void ConnectionSet::close_all() {
    closing_all_ = true;
    timers_.cancel(trim_);
    for (const auto& connection : slots_) {
        if (connection != nullptr) connection->close(CloseMode::now);
    }
}

std::vector<std::string> ConnectionSet::dialled_from(Rank rank) const {
    std::vector<std::string> addresses;
    for (const auto& connection : slots_) {
        if (connection == nullptr || connection->rank() != rank) continue;
        if (auto address = connection->local_address(); !address.empty())
            addresses.push_back(std::move(address));
    }
    return addresses;
}

std::size_t ConnectionSet::buffered_bytes() const {
    std::size_t total = 0;
    for (const auto& connection : slots_) {
        if (connection == nullptr) continue;
        total += connection->plain_.capacity() + connection->wire_.capacity() +
                 connection->inflight_.capacity();
    }
    return total;
}

}  // namespace exodus
