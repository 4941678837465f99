// Client ids as applications see them: one number per session, valid on both sides of a switch,
// while the servers know the session's leased connections by ids of their own (redis.md 3.3).
// Process-wide and thread-safe; used on rare commands only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>

#include "core/endpoint.h"

namespace exodus::redis {

inline constexpr int64_t kFirstVirtualId = int64_t{1} << 40;

/// How CLIENT UNBLOCK ends a wait: as if its time were over, or with an error.
enum class Wake : uint8_t { none, timeout, error };

class VirtualIds {
  public:
    int64_t open();
    void close(int64_t id);
    [[nodiscard]] bool known(int64_t id) const;
    /// The server's id of the connection that the session leases on a side now; 0 none.
    void set_real(int64_t id, Side side, int64_t real);
    [[nodiscard]] int64_t real(int64_t id, Side side) const;
    /// Who leases the server's connections on a side now: the server's id to ours.
    [[nodiscard]] std::map<int64_t, int64_t> by_real(Side side) const;
    /// CLIENT KILL ID: the worker that has the session ends it at its next tick.
    void ask_kill(int64_t id);
    /// True once for an id whose end was asked for.
    [[nodiscard]] bool take_kill(int64_t id);

    /// The client waits for replicas in the worker that has its session: no server can wake it.
    void set_waiting(int64_t id, bool waits);
    /// CLIENT UNBLOCK: that worker wakes it at its next tick. False: it does not wait, or was
    /// woken.
    bool ask_wake(int64_t id, Wake how);
    /// Once what was asked for; `none` for others.
    Wake take_wake(int64_t id);
    /// Something was asked for that no worker has taken yet.
    [[nodiscard]] bool anything_asked() const;

  private:
    mutable std::mutex mutex_;
    int64_t next_ = kFirstVirtualId;
    std::map<int64_t, std::array<int64_t, 2>> open_;
    std::set<int64_t> kills_;
    std::map<int64_t, Wake> waiting_;
};

}  // namespace exodus::redis
