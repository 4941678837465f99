// What the telemetry server shows, asked of whoever knows it: cli implements it over the status,
// the interlay, the movements and the state file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "core/traffic_stats.h"

namespace exodus {

/// Everything at one moment.
struct TelemetrySnapshot {
    nlohmann::json status = nlohmann::json::object();  ///< the object of /status, exodus-json(7)
    TrafficStats traffic;                              ///< since the start of this process
};

/// A durable event; `id` grows from row to row.
struct TelemetryEvent {
    int64_t id = 0;
    std::string severity;  ///< "info" | "warn" | "critical"
    std::string json;      ///< as `exodus events --json` prints it
};

/// Thread-safe. Every call ends by itself: a server that ends waits for it.
class TelemetrySource {
  public:
    virtual ~TelemetrySource() = default;
    /// Asks both endpoints: blocks for as long as one that is away may take.
    virtual Result<TelemetrySnapshot> snapshot() = 0;
    /// Events behind `id`, oldest first, at most `limit`. Reads the state file.
    virtual Result<std::vector<TelemetryEvent>> events_after(int64_t id, std::size_t limit) = 0;
    /// Id of the newest event, 0 when there is none.
    virtual Result<int64_t> newest_event() = 0;
};

}  // namespace exodus
