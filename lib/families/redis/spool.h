// The durable replay queue (redis.md 4.3): commands of a replication stream in segment files,
// written by the reader thread, read by the lane. One writer and one reader thread may use it at
// the same time.
//
// Segment "<first offset, 20 digits>.seg": header {"EXSPOOL1", u64 start offset, u32 db, u8 length
// + replid, u8 length + identity, u32 xxh32 of all that}, then frames {u32 bytes, u64 end offset,
// u16 db, u16 flags, u32 xxh32 of the 16 bytes before and the command}, command. Little endian. A
// torn tail is cut off at the last good frame.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"

namespace exodus::redis {

/// A place in a replication stream with what a reader must know there.
struct StreamPlace {
    std::string replid;
    uint64_t offset = 0;
    int db = 0;
    bool operator==(const StreamPlace&) const = default;
};

struct Frame {
    uint64_t end = 0;
    int db = 0;
    std::string_view bytes;
};

/// Whole frames in memory of their own.
struct SpoolBlock {
    std::unique_ptr<std::string> bytes;
    std::vector<Frame> frames;
};

class Spool {
  public:
    ~Spool();
    /// Opens what is in `directory` (made when missing). `identity` names migration and direction:
    /// files of another one are refused. Broken files mean an empty spool: the stream is fetched
    /// again.
    static Result<std::unique_ptr<Spool>> open(
        const std::string& directory, const std::string& identity,
        uint64_t segment_bytes = limits::kSpoolSegment_bytes);

    /// Removes everything and starts again at `start`. Quick, as all that removes: give_back().
    Status reset(const StreamPlace& start);
    /// Removes everything.
    void clear();
    /// Lets the file system free what was removed a second ago. That takes it some 20 ms for a
    /// segment: not for a thread that somebody waits for.
    void give_back();
    [[nodiscard]] bool empty() const;
    /// Where it begins, and where the next command belongs.
    [[nodiscard]] StreamPlace start() const;
    [[nodiscard]] StreamPlace end() const;
    [[nodiscard]] uint64_t bytes() const;
    /// True when a reader can start behind `offset`.
    [[nodiscard]] bool covers(uint64_t offset) const;

    // --- writer
    void append(const Frame& frame);  ///< buffered
    Status write();                   ///< what was appended: readers see it from here on
    Status sync_when_due();           ///< fdatasync, now and then; a disk takes its time
    /// Up to here nothing is lost with the host's memory; 0: not known yet.
    [[nodiscard]] uint64_t durable_end() const { return durable_end_; }
    /// The link was attached at end(), perhaps under another replication id: what was appended and
    /// not written comes again, so it is dropped.
    Status continue_as(const std::string& replid);

    // --- reader
    /// The next block holds the first frame that ends behind `offset`.
    Status seek(uint64_t offset);
    /// Up to about `bytes_max` of whole frames, at least one when there is one; an empty block:
    /// nothing more now.
    Result<SpoolBlock> read(std::size_t bytes_max);
    /// Deletes segments that end at or below `offset`.
    void trim(uint64_t offset);

  private:
    struct Segment {
        std::string path;
        StreamPlace start;
        uint64_t end = 0;  ///< offset behind its last frame
        int end_db = 0;
        uint64_t size = 0;  ///< bytes written
        uint64_t header = 0;
    };
    Spool(std::string directory, std::string identity, uint64_t segment_bytes);
    Result<Segment> load(const std::string& path);
    Status begin_segment(const StreamPlace& start);
    void remove(const std::string& path);
    Status sync_names();

    const std::string directory_;
    const std::string identity_;
    const uint64_t segment_bytes_;
    mutable std::mutex mutex_;
    std::deque<Segment> segments_;
    struct Removed {
        int64_t us;  ///< steady
        int fd;      ///< open, so that the file has no name but is not freed
    };
    std::deque<Removed> removed_;  ///< guarded; oldest first
    // writer
    int write_fd_ = -1;
    std::vector<int> full_fds_;  ///< the segments before it that are not yet synced
    bool names_synced_ = false;  ///< the directory holds all of them for good
    std::string buffer_;
    StreamPlace buffered_end_;
    std::size_t unsynced_ = 0;
    uint64_t durable_end_ = 0;
    int64_t synced_us_ = 0;
    // reader
    int read_fd_ = -1;
    uint64_t read_segment_ = 0;  ///< start offset of the segment read_fd_ is open on
    uint64_t read_at_ = 0;
    uint64_t skip_through_ = 0;
};

}  // namespace exodus::redis
