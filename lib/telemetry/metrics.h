// The snapshot as Prometheus metrics: base units, labels with bounded values (never a key, never
// statement text). man/exodus-metrics.7 describes each; tests/telemetry compares the two.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "core/telemetry.h"

namespace exodus {

/// What the server itself counts.
struct TelemetryCounts {
    int64_t snapshot_ms = 0;  ///< Unix ms of the snapshot
    std::size_t followers = 0;
    uint64_t followers_dropped = 0;
    std::map<std::string, uint64_t> events{};  ///< by severity
};

/// Command names that have series of their own: the first limits::kTelemetryCommands_max that came.
/// A name that was shown stays, so that no count moves from one series to another.
using ShownCommands = std::set<std::string>;

/// Text exposition format 0.0.4. Adds to `shown`.
std::string render_metrics(const TelemetrySnapshot& snapshot, const TelemetryCounts& counts,
                           ShownCommands& shown);

}  // namespace exodus
