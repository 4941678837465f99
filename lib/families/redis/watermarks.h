// What a lane knows about single keys while it applies a stream (redis.md 4.5): W, a bounded cache
// of key -> {state copied at, last operation applied}, and M, the offsets up to which a key that is
// not in W is unknown. Pure; one lane's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <tsl/robin_map.h>

#include "base/digest.h"

namespace exodus::redis {

inline constexpr uint64_t kNoOffset = std::numeric_limits<uint64_t>::max();

struct DigestHash {
    std::size_t operator()(const Digest128& digest) const {
        return static_cast<std::size_t>(digest.low);
    }
};

struct Watermark {
    uint64_t copied_at =
        0;  ///< the destination holds the origin's state at this offset, or a later one by `last`
    uint64_t last = 0;  ///< end of the last operation applied
    int db = 0;
    bool no_expiry =
        false;  ///< the key has no expiry on the destination: it cannot vanish by itself
};

class Watermarks {
  public:
    /// A table of so many slots of 48 bytes, at most seven eighths of them in use: a little more,
    /// as one batch may add, and it would double.
    explicit Watermarks(std::size_t slots) : capacity_(slots - slots / 8) {
        entries_.max_load_factor(0.9F);
    }

    [[nodiscard]] const Watermark* find(const Digest128& key) const {
        const auto found = entries_.find(key);
        return found == entries_.end() ? nullptr : &found->second;
    }
    void put(const Digest128& key, const Watermark& mark) {
        entries_[key] = mark;
        if (mark.copied_at != kNoOffset && mark.copied_at > highest_) highest_ = mark.copied_at;
    }
    void erase(const Digest128& key) { entries_.erase(key); }
    void drop_db(int db);
    void clear();

    /// M of a database.
    [[nodiscard]] uint64_t doubt(int db) const {
        const auto found = doubt_.find(db);
        return found == doubt_.end() ? doubt_default_ : found->second;
    }
    void set_doubt(uint64_t offset);  ///< all databases
    void set_doubt(int db, uint64_t offset) { doubt_[db] = offset; }
    [[nodiscard]] uint64_t doubt_max() const;

    /// Drops entries that are no longer needed when the table is over its capacity: copied_at <=
    /// max(applied, M) and last <= floor. False when it is still over: the caller raises M to the
    /// origin's offset and calls again.
    bool evict(uint64_t applied, uint64_t floor);

    /// True when the destination is the origin at `applied`: no key runs ahead and none is unknown.
    [[nodiscard]] bool exact_at(uint64_t applied) const {
        return applied >= doubt_max() && applied >= highest_;
    }
    /// True when the destination's database is the origin's as it was before the operation that
    /// ends at `end`: no key holds that operation already, and none is unknown to it.
    [[nodiscard]] bool exact_db_before(int db, uint64_t end) const;
    [[nodiscard]] std::size_t size() const { return entries_.size(); }
    [[nodiscard]] std::size_t slots() const { return entries_.bucket_count(); }

  private:
    std::size_t capacity_;
    uint64_t part_ = 0;  ///< which quarter of the keys the next eviction drops
    tsl::robin_map<Digest128, Watermark, DigestHash> entries_;
    std::map<int, uint64_t> doubt_;
    uint64_t doubt_default_ = kNoOffset;
    uint64_t highest_ = 0;
};

}  // namespace exodus::redis
