// What all telemetry clients share: the newest snapshot, taken once a second however many look, and
// the newest events. Owns two threads, so that an endpoint that hangs holds up no event.
// Thread-safe.
#pragma once

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

class Feed {
  public:
    /// `source` outlives it. Events before now are read from the source when a client wants them.
    explicit Feed(TelemetrySource& source);
    ~Feed();
    Feed(const Feed&) = delete;
    Feed& operator=(const Feed&) = delete;

    struct Snapshot {
        std::shared_ptr<const TelemetrySnapshot> value;  ///< null: there was none yet
        std::shared_ptr<const std::string> text;         ///< its status, printed once for all
        uint64_t version = 0;                            ///< grows
        int64_t taken_ms = 0;                            ///< Unix ms
        int64_t took_us = 0;
        std::string error;  ///< why the newest could not be taken; `value` is the last that could
    };
    [[nodiscard]] Snapshot snapshot() const;
    /// Its age is not above limits::kTelemetryStale_ms.
    [[nodiscard]] bool live() const;

    /// Events behind `id`, oldest first, at most limits::kTelemetryEvents_max.
    Result<std::vector<TelemetryEvent>> events_after(int64_t id);
    [[nodiscard]] int64_t newest_event() const;
    /// Events since this process started, by severity.
    [[nodiscard]] std::map<std::string, uint64_t> event_counts() const;

    /// Waits until there is an event behind `event` or a snapshot other than `version`, at most
    /// `span`; false when the feed ends. kEventsOnly as `version` waits for events alone.
    bool wait(int64_t event, uint64_t version, milliseconds span);
    static constexpr uint64_t kEventsOnly = UINT64_MAX;
    /// Ends every wait.
    void stop();

  private:
    void take_snapshots(const std::stop_token& stop);
    void read_events(const std::stop_token& stop);

    TelemetrySource& source_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool stopped_ = false;
    Snapshot snapshot_;
    std::deque<TelemetryEvent> events_;  ///< the newest, without a gap
    int64_t newest_ = 0;
    int64_t kept_behind_ = 0;  ///< events behind this id are all in events_
    std::map<std::string, uint64_t> counts_;
    std::jthread snapshot_thread_;
    std::jthread event_thread_;
};

}  // namespace exodus
