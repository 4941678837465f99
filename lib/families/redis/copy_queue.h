// Chunks of copied keys between the copier and the lane, bounded in bytes, with the floors that
// protect watermarks from late chunks (redis.md 4.5) and the place up to which everything was
// executed. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "families/redis/planner.h"

namespace exodus::redis {

/// Where a fill stands. A repair fill looks for names that only the destination has when it has
/// copied everything.
struct ScanPlace {
    enum class Phase : uint8_t { copy, sweep, done };
    Phase phase = Phase::copy;
    bool repair = false;
    int db = 0;
    std::string cursor = "0";
    std::string run_id;  ///< of the scanned server: cursors mean nothing to another one
    [[nodiscard]] std::string text() const;
    static std::optional<ScanPlace> parse(std::string_view text);
    bool operator==(const ScanPlace&) const = default;
};

class CopyQueue {
  public:
    /// Before a chunk is read: no operation above `floor` may have been forgotten when it arrives.
    /// Returns its id. `generation` is the copier's: when it has risen since, the chunk counts as
    /// dropped at once, because the place behind it belongs to what is no longer copied.
    uint64_t begin(uint64_t floor, uint64_t generation);
    /// Waits while the queue is full. False: the chunk was dropped meanwhile (or stop), the copier
    /// starts from place() again.
    bool deliver(uint64_t id, std::vector<CopyItem> items, const ScanPlace& after,
                 const std::stop_token& stop);

    struct Batch {
        std::vector<CopyItem> items;
        std::size_t chunks = 0;
    };
    /// The next delivered chunks, in order; they stay in flight until finish().
    Batch take(std::size_t items_max, std::size_t bytes_max);
    /// All chunks that were taken have been executed.
    void finish();

    /// By the copier: what it began and will not deliver.
    void abandon();
    /// Drops everything; the copier goes back to place().
    void drop_all();
    /// Everything again from `place`.
    void restart(const ScanPlace& place);
    /// Drops the items of one database (it was flushed).
    void drop_db(int db);

    [[nodiscard]] uint64_t floor() const;       ///< lowest floor in flight
    [[nodiscard]] ScanPlace place() const;      ///< everything before it was executed
    [[nodiscard]] uint64_t generation() const;  ///< rises when the copier has to go back
    [[nodiscard]] bool idle() const;            ///< nothing in flight

  private:
    struct Chunk {
        uint64_t id = 0;
        uint64_t floor = 0;
        bool delivered = false;
        std::vector<CopyItem> items;
        std::size_t bytes = 0;
        ScanPlace after;
    };
    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    std::deque<Chunk> chunks_;
    std::size_t taken_ = 0;  ///< chunks at the front that the lane holds
    std::size_t bytes_ = 0;
    uint64_t next_id_ = 1;
    uint64_t generation_ = 0;
    ScanPlace place_;
};

}  // namespace exodus::redis
