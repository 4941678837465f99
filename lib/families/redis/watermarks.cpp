#include "families/redis/watermarks.h"

#include <algorithm>

namespace exodus::redis {

void Watermarks::drop_db(int db) {
    for (auto it = entries_.begin(); it != entries_.end();)
        it = it->second.db == db ? entries_.erase(it) : std::next(it);
}

void Watermarks::clear() {
    entries_.clear();
    doubt_.clear();
    doubt_default_ = kNoOffset;
    highest_ = 0;
}

void Watermarks::set_doubt(uint64_t offset) {
    doubt_.clear();
    doubt_default_ = offset;
}

uint64_t Watermarks::doubt_max() const {
    uint64_t most = doubt_default_;
    for (const auto& [db, offset] : doubt_) most = std::max(most, offset);
    return most;
}

bool Watermarks::exact_db_before(int db, uint64_t end) const {
    if (doubt(db) >= end) return false;
    return std::none_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
        return entry.second.db == db && entry.second.copied_at >= end;
    });
}

bool Watermarks::evict(uint64_t applied, uint64_t floor) {
    // A quarter at a time, so that the walk is paid seldom; of keys from all over the table, since
    // gaps in one place leave all others crowded, and a crowded table doubles.
    for (int tries = 0; entries_.size() > capacity_ && tries < 4; ++tries, ++part_) {
        for (auto it = entries_.begin(); it != entries_.end();) {
            const Watermark& mark = it->second;
            const bool settled = mark.copied_at != kNoOffset &&
                                 mark.copied_at <= std::max(applied, doubt(mark.db)) &&
                                 mark.last <= floor;
            it = settled && it->first.high % 4 == part_ % 4 ? entries_.erase(it) : std::next(it);
        }
    }
    return entries_.size() <= capacity_;
}

}  // namespace exodus::redis
