// One client that follows: what it is sent next, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). The id of an event is its row,
// so a client that comes back with Last-Event-ID misses none and sees none twice.
#pragma once

#include <string>

#include "telemetry/feed.h"

namespace exodus {

class EventStream {
  public:
    /// Events behind `after`; with `status` each new snapshot, too.
    EventStream(Feed& feed, int64_t after, bool status) : feed_(feed), place_{after, 0, status} {}

    /// Waits for the next bytes, a comment when there is nothing for
    /// limits::kTelemetryHeartbeat_ms. Empty: the feed ended.
    std::string next();

  private:
    Feed& feed_;
    Feed::Place place_;
    bool begun_ = false;
};

}  // namespace exodus
