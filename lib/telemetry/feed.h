// What all telemetry clients share: the newest snapshot, taken and printed once a second however
// many look, and the newest events. Owns two threads, so that an endpoint that hangs holds up no
// event. Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "core/telemetry.h"

namespace exodus {

/// Name of the threads of telemetry: what it costs is counted by it.
inline constexpr const char* kTelemetryThread = "exodus-http";

class Feed {
  public:
    /// `source` outlives it. Events before now are read from the source when a client wants them.
    explicit Feed(TelemetrySource& source);
    ~Feed();
    Feed(const Feed&) = delete;
    Feed& operator=(const Feed&) = delete;

    struct Snapshot {
        std::shared_ptr<const TelemetrySnapshot> value;  ///< null: there was none yet
        std::shared_ptr<const std::string> text;         ///< its status as JSON
        uint64_t version = 0;                            ///< grows
        int64_t taken_ms = 0;                            ///< Unix ms
        int64_t taken_us = 0;                            ///< the same, steady
        int64_t took_us = 0;
        std::string error;  ///< why the newest could not be taken; `value` is the last that could
        std::string not_ready;  ///< why applications should not be sent here; empty: they may be
    };
    [[nodiscard]] Snapshot snapshot() const;
    /// The object of /status: the snapshot, the server's clock, its own counts.
    [[nodiscard]] std::string status() const;
    /// The snapshot's age is not above limits::kTelemetryStale_ms.
    [[nodiscard]] bool live() const;
    [[nodiscard]] int64_t newest_event() const;
    /// Events since this process started, by severity.
    [[nodiscard]] std::map<std::string, uint64_t> event_counts() const;

    /// Where a client that follows stands.
    struct Place {
        int64_t event = 0;     ///< the last one it has
        uint64_t version = 0;  ///< of the snapshot that it has
        bool status = false;   ///< it wants snapshots, too
    };
    struct News {
        std::vector<TelemetryEvent> events;         ///< oldest first
        std::shared_ptr<const std::string> status;  ///< null: nothing new
    };
    /// What is new behind `place`, which moves on; waits for it at most `span`. False when the feed
    /// ended.
    bool next(Place& place, milliseconds span, News& news);
    /// Ends every wait and both threads.
    void stop();

    std::atomic<std::size_t> followers{0};  ///< clients of next() now
    std::atomic<uint64_t> dropped{0};       ///< of them dropped, being too slow

  private:
    void take_snapshots(const std::stop_token& stop);
    void read_events(const std::stop_token& stop);
    [[nodiscard]] std::string printed(const Snapshot& snapshot) const;

    TelemetrySource& source_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;   ///< of those that want snapshots, too
    std::condition_variable happened_;  ///< of those that want events alone
    bool stopped_ = false;
    Snapshot snapshot_;
    std::shared_ptr<const std::string> status_;  ///< printed(snapshot_) when it changed last
    std::deque<TelemetryEvent> events_;          ///< the newest, without a gap
    int64_t newest_ = 0;
    int64_t kept_behind_ = 0;  ///< events behind this id are all in events_
    std::map<std::string, uint64_t> counts_;
    std::jthread snapshot_thread_;
    std::jthread event_thread_;
};

}  // namespace exodus
