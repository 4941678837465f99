// Any number of timers of one loop on one libuv timer: arming and cancelling are cheap enough for a
// timer per request. Due times are exact to a millisecond and never early.
#pragma once

#include <cstdint>
#include <uv.h>
#include <vector>

#include "core/protocol_worker.h"

namespace exodus {

class TimerTarget {
  public:
    virtual ~TimerTarget() = default;
    virtual void on_timer_due(TimerId timer, uint64_t payload) = 0;
};

/// Loop thread only.
class Timers {
  public:
    explicit Timers(uv_loop_t* loop);
    Timers(const Timers&) = delete;
    Timers& operator=(const Timers&) = delete;

    TimerId arm(int64_t now_us, int64_t delay_us, TimerTarget& target, uint64_t payload);
    void cancel(TimerId timer);
    /// Closes the libuv timer; nothing fires afterwards.
    void close();
    [[nodiscard]] std::size_t armed() const { return armed_; }

  private:
    struct Slot {
        uint32_t generation = 0;
        TimerTarget* target = nullptr;  ///< null: free
        uint64_t payload = 0;
    };
    struct Due {
        int64_t at_us;
        TimerId id;
    };

    [[nodiscard]] Slot* find(TimerId timer);
    void release(TimerId timer);
    void fire();
    void schedule(int64_t now_us);
    void compact();

    uv_timer_t timer_{};
    std::vector<Slot> slots_;
    std::vector<uint32_t> free_;
    std::vector<Due> heap_;  ///< with entries of cancelled timers, bounded by compact()
    std::size_t armed_ = 0;
    int64_t scheduled_us_ = INT64_MAX;
    bool firing_ = false;
    bool closed_ = false;
};

}  // namespace exodus
