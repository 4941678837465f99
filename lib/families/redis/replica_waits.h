// Clients in WAIT (redis.md 3.3). Their writes went over shared connections, so the server cannot
// tell whose they were: what a client waits for is the offset that the server's stream had after
// its last write was answered, read from INFO replication. Pure bookkeeping of one worker.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/endpoint.h"

namespace exodus::redis {

class ClientSession;

/// INFO replication as far as WAIT needs it.
struct ReplicaOffsets {
    bool is_primary = false;
    int64_t offset = 0;                 ///< end of the stream
    std::vector<int64_t> acknowledged;  ///< of each replica that is online
};
ReplicaOffsets parse_replica_offsets(std::string_view info);

class ReplicaWaits {
  public:
    struct Done {
        ClientSession* session = nullptr;
        int64_t count = 0;  ///< kNotPrimary: the server itself has to refuse it
    };
    static constexpr int64_t kNotPrimary = -1;

    /// `deadline_us` 0: for ever. A session that waits on that side already stays as it is.
    void add(ClientSession& session, Side side, int64_t replicas, int64_t deadline_us);
    /// How many replicas had acknowledged so far.
    int64_t remove(const ClientSession& session);
    [[nodiscard]] bool empty() const { return waiters_.empty(); }
    /// Somebody waits on this side and no question to it is under way.
    [[nodiscard]] bool wants_poll(Side side) const;
    /// Somebody was told "not yet": replicas should be asked to acknowledge now.
    [[nodiscard]] bool wants_acks(Side side) const;
    void poll_sent(Side side);
    void poll_lost(Side side) { polling_[static_cast<std::size_t>(side)] = false; }
    /// The answer to the oldest poll of a side. Who came after it was sent is not judged by it.
    std::vector<Done> answered(Side side, const ReplicaOffsets& now);
    std::vector<Done> expired(int64_t now_us);

  private:
    struct Waiter {
        ClientSession* session = nullptr;
        Side side = Side::source;
        int64_t replicas = 0;
        int64_t deadline_us = 0;
        int64_t offset = -1;  ///< not known yet
        int64_t count = 0;
        bool asked = false;
        bool second_look = false;
    };
    std::vector<Waiter> waiters_;
    std::array<bool, 2> polling_{};
};

}  // namespace exodus::redis
