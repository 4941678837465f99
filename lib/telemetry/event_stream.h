// One client that follows: what it is sent next, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). The id of an event is its row,
// so a client that comes back with Last-Event-ID misses none and sees none twice.
#pragma once

#include <string>

#include "telemetry/feed.h"

namespace exodus {

/// The snapshot as /status and `event: status` give it: with the server's clock and its own counts.
std::string status_text(const Feed::Snapshot& snapshot, std::size_t followers, uint64_t dropped);

class EventStream {
  public:
    /// Events behind `after`; with `status` each new snapshot, too.
    EventStream(Feed& feed, int64_t after, bool status)
        : feed_(feed), after_(after), status_(status) {}

    /// Waits for the next bytes, a comment when there is nothing for
    /// limits::kTelemetryHeartbeat_ms. Empty: the feed ended.
    std::string next(std::size_t followers, uint64_t dropped);

  private:
    Feed& feed_;
    int64_t after_;
    bool status_;
    bool begun_ = false;
    uint64_t version_ = 0;
};

}  // namespace exodus
