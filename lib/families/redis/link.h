// The replica side of a replication link, without a fork or an RDB on the origin (redis.md 4.2):
// attaches at "now" or at a known place, splits the stream into commands with their offsets, and
// acknowledges. One reader thread's own, except shutdown().
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "core/dialer.h"
#include "families/redis/client.h"
#include "families/redis/spool.h"

namespace exodus::redis {

struct LinkOptions {
    std::string channel;  ///< PUBLISH channel of markers, "exodus:<id>"
    milliseconds connect{2'000};
};

class Link {
  public:
    Link(Dialer& dialer, const Endpoint& endpoint, LinkOptions options)
        : dialer_(dialer), endpoint_(endpoint), options_(std::move(options)) {}

    /// The origin may fork for all its data when nothing else makes it keep a backlog.
    void accept_full_sync(bool accepted) { full_sync_accepted_ = accepted; }
    /// Attaches at the origin's end of stream; returns the start S behind which every database is
    /// known. Blocks.
    Result<StreamPlace> attach_now(const std::stop_token& stop);
    /// Goes on behind `place`. Error gap when the origin cannot (it offered FULLRESYNC, which is
    /// refused). The replid of place() may be another one afterwards.
    Status attach_at(const StreamPlace& place);

    /// What the next ACK says that was received; 0 unless told, and again behind each attach.
    void acknowledge(uint64_t offset) { ack_ = offset; }
    /// Reads for at most `wait` and gives every whole command to `sink` (frame, its arguments).
    /// Sends ACKs.
    using Sink = std::function<Status(const Frame&, const std::vector<std::string_view>&)>;
    Status pump(const Sink& sink, milliseconds wait);

    /// Behind the last command given out. `place().db` is the database the next command belongs to.
    [[nodiscard]] const StreamPlace& place() const { return place_; }
    /// The origin's end of stream as far as it is known: what it said when attaching, until more
    /// than that was given out.
    [[nodiscard]] uint64_t origin_end() const { return std::max(place_.offset, attached_end_); }
    [[nodiscard]] bool in_group() const { return in_group_; }
    [[nodiscard]] bool attached() const { return stream_ != nullptr; }
    void detach();
    /// From any thread: ends a wait.
    void shutdown();

  private:
    Result<std::unique_ptr<Client>> dial();
    Status activate_backlog(Client& control, const std::stop_token& stop);
    Status psync(const std::string& replid, uint64_t offset);
    Result<StreamPlace> find_marker(Client& control, const std::stop_token& stop);

    Dialer& dialer_;
    const Endpoint endpoint_;
    const LinkOptions options_;
    std::mutex mutex_;  ///< guards stream_ against shutdown()
    std::unique_ptr<ByteStream> stream_;
    std::string buffer_;
    std::size_t parse_at_ =
        0;  ///< an incomplete command is looked at again when this much is there
    StreamPlace place_;
    uint64_t attached_end_ = 0;  ///< of the origin's stream when attaching
    bool in_group_ = false;
    bool full_sync_accepted_ = false;
    uint64_t ack_ = 0;
    int64_t acked_us_ = 0;
    int64_t heard_us_ = 0;
    std::vector<char> chunk_;
};

/// The origin's replication id and offset now. Error unreachable when it is no master.
Result<StreamPosition> origin_now(Client& client);

}  // namespace exodus::redis
