#include "families/redis/cursor_book.h"

#include "base/limits.h"

namespace exodus::redis {

void CursorBook::issued(uint64_t cursor, Side side, int64_t now_us) {
    if (cursor == 0) return;
    const std::lock_guard lock(mutex_);
    if (seen_.insert_or_assign(cursor, Seen{side, now_us}).second) order_.push_back(cursor);
    while (order_.size() > limits::kRedisCursors_max) {
        seen_.erase(order_.front());
        order_.pop_front();
    }
}

bool CursorBook::foreign(uint64_t cursor, Side side, int64_t now_us) const {
    const std::lock_guard lock(mutex_);
    const auto found = seen_.find(cursor);
    return found != seen_.end() && found->second.side != side &&
           now_us - found->second.at_us < limits::kRedisCursor_us_max;
}

}  // namespace exodus::redis
