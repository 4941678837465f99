// Which side issued a SCAN cursor: hash seeds differ, so a cursor of one side means nothing on the
// other; one from before a switch restarts at 0 (duplicates are allowed by SCAN's contract, misses
// are not). Bounded, process-wide, thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <unordered_map>

#include "core/endpoint.h"

namespace exodus::redis {

class CursorBook {
  public:
    /// `side` answered with this cursor. 0 is not kept.
    void issued(uint64_t cursor, Side side, int64_t now_us);
    /// True when the cursor was issued by the other side only.
    [[nodiscard]] bool foreign(uint64_t cursor, Side side, int64_t now_us) const;

  private:
    struct Seen {
        Side side = Side::source;
        int64_t at_us = 0;
    };
    mutable std::mutex mutex_;
    std::unordered_map<uint64_t, Seen> seen_;
    std::deque<uint64_t> order_;
};

}  // namespace exodus::redis
