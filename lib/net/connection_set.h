// All connections of one loop: found by id in constant time, flushed once per turn in the order
// clients, source, target, and closed without ever calling back into the caller of close().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "net/connection.h"
#include "net/file_descriptor.h"
#include "net/loop.h"
#include "net/timers.h"

namespace exodus {

/// What happens to connections. Called on the loop's thread, never from within a call of the owner.
class ConnectionEvents {
  public:
    virtual ~ConnectionEvents() = default;
    /// Accepted or connected, TLS included.
    virtual void on_open(Connection& connection) = 0;
    virtual void on_bytes(Connection& connection, std::string_view bytes) = 0;
    /// Unsent bytes fell below the low mark after having been above the high one.
    virtual void on_drained(Connection& connection) = 0;
    /// The peer of an accepted connection has ended its sending side. False: closed now.
    virtual bool on_half_closed(Connection& connection) = 0;
    /// The last event; `was_open` false: on_open never came. The connection goes afterwards.
    virtual void on_closed(Connection& connection, CloseReason reason, bool was_open) = 0;
};

class ConnectionSet final : public TimerTarget {
  public:
    ConnectionSet(Loop& loop, Timers& timers, ConnectionEvents& events);
    ~ConnectionSet() override;

    /// Null when the id is unknown or the connection is being closed.
    [[nodiscard]] Connection* find(ConnId id) {
        const auto slot = static_cast<uint64_t>(id) & kSlotMask;
        if (slot >= slots_.size()) return nullptr;
        Connection* connection = slots_[slot].get();
        if (connection == nullptr || connection->id() != id ||
            connection->state_ >= Connection::State::ending)
            return nullptr;
        return connection;
    }
    Connection& accept(FileDescriptor socket, bool unix_socket, std::string peer,
                       const TlsContext* tls);
    Connection& dial(const Endpoint& endpoint, Rank rank, const TlsContext* tls);

    /// Writes what is queued, then closes and reports. True when an event was delivered on the way,
    /// so that the owner may have queued more.
    bool end_turn();
    /// Nothing to do at the end of this turn.
    [[nodiscard]] bool quiet() const {
        return dirty_[0].empty() && dirty_[1].empty() && dirty_[2].empty() && ending_.empty() &&
               resuming_.empty() && drained_.empty();
    }
    /// Steady time of this turn, read at most once in it.
    [[nodiscard]] int64_t now_us() const {
        if (now_us_ == 0) now_us_ = steady_us();
        return now_us_;
    }
    void forget_time() { now_us_ = 0; }

    void close_all();
    [[nodiscard]] std::size_t size() const { return live_; }
    [[nodiscard]] std::size_t clients() const { return clients_; }
    /// Our ends of the dialled connections of a side; walks all.
    [[nodiscard]] std::vector<std::string> dialled_from(Rank rank) const;
    /// Bytes of output buffers of all connections; walks them.
    [[nodiscard]] std::size_t buffered_bytes() const;

  private:
    friend class Connection;
    static constexpr uint64_t kSlotBits = 24;
    static constexpr uint64_t kSlotMask = (1ULL << kSlotBits) - 1;

    Connection& add(Rank rank);
    void mark_dirty(Connection& connection) {
        if (connection.dirty_) return;
        connection.dirty_ = true;
        dirty_[static_cast<std::size_t>(connection.rank())].push_back(&connection);
    }
    void finished(Connection& connection);
    void on_timer_due(TimerId timer, uint64_t payload) override;
    TimerId arm(int64_t delay_ms, const Connection& connection);

    Loop& loop_;
    Timers& timers_;
    ConnectionEvents& events_;
    std::vector<std::unique_ptr<Connection>> slots_;
    std::vector<uint32_t> free_;
    std::vector<uint64_t> generations_;
    std::array<std::vector<Connection*>, 3> dirty_;
    std::vector<Connection*> ending_;
    std::vector<Connection*> resuming_;
    std::vector<Connection*> drained_;
    std::vector<Connection*> batch_;  ///< the list that is being worked on; keeps its capacity
    std::vector<std::unique_ptr<Connection>> gone_;  ///< deleted at the end of the turn
    std::vector<char> read_buffer_;
    std::vector<char> plain_buffer_;
    mutable int64_t now_us_ = 0;
    std::size_t live_ = 0;
    std::size_t clients_ = 0;
    TimerId trim_ = TimerId::none;
    bool closing_all_ = false;
};

}  // namespace exodus
