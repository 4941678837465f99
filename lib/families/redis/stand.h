// Lets the lane stand still at one place of the stream for a moment, so that both sides can be read
// exactly there although the origin never rests (Movement::stand). Asked by the movement's callers,
// obeyed by the lane. It always ends by itself.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "families/redis/change_signal.h"

namespace exodus::redis {

class Stand {
  public:
    /// `lane_work` is told when the lane should look again.
    explicit Stand(ChangeSignal& lane_work) : lane_work_(lane_work) {}

    /// Waits until the lane stands, wherever that is; it goes on by itself after `span`. A ticket
    /// for what follows. Errors: locked (another ticket stands), timeout.
    Result<uint64_t> begin(milliseconds span);
    /// Waits until the lane has applied exactly up to `offset`. Errors: gap (it is past that),
    /// timeout (the span is over).
    Status advance(uint64_t ticket, uint64_t offset);
    /// False: the span was over before, so the lane may have moved meanwhile.
    bool end(uint64_t ticket);
    /// Whoever stands must go on: a switch does not wait for a comparison.
    void drop();

    // The lane's part.
    /// What ends behind this offset must not be applied now; nothing asked: no limit.
    [[nodiscard]] uint64_t limit();
    /// There is nothing to do up to the limit. `exact`: the destination is the origin at `offset`.
    void reached(uint64_t offset, bool exact);

  private:
    struct Place {
        uint64_t offset = 0;
        bool exact = false;
    };
    [[nodiscard]] bool holds(uint64_t ticket) const;

    ChangeSignal& lane_work_;
    std::mutex mutex_;  ///< guards all that follows
    std::condition_variable reached_;
    uint64_t tickets_ = 0;
    uint64_t ticket_ = 0;  ///< 0: nobody asks
    int64_t until_us_ = 0;
    uint64_t limit_ = 0;
    std::optional<Place> at_;  ///< of the lane, since the last question
};

}  // namespace exodus::redis
