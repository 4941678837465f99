// Bounds and deadlines of the telemetry server, in one place (base/limits.h has all others).
#pragma once

#include <cstddef>
#include <cstdint>

namespace exodus::limits {

/// Commands and samples of divergences in /status.
inline constexpr std::size_t kTelemetryCommandsShown = 30;
inline constexpr std::size_t kTelemetrySamples_max = 20;
/// Of a sample's request and answers: a snapshot goes to each client once a second. `exodus
/// divergences show` has them whole.
inline constexpr std::size_t kTelemetrySampleText_bytes = 200;
/// A probe of an endpoint; the span over which latencies are shown.
inline constexpr int64_t kTelemetryProbe_ms = 2'000;
inline constexpr int64_t kTelemetryWindow_ms = 10'000;
/// A new snapshot, a look for events; what is kept of them for clients that follow.
inline constexpr int64_t kTelemetrySnapshot_ms = 1'000;
inline constexpr int64_t kTelemetryEvents_ms = 500;
inline constexpr std::size_t kTelemetryEvents_max = 1'000;
/// A client that asks for no place in the stream sees so many events first.
inline constexpr int64_t kTelemetryEventsFirst = 100;
/// A snapshot older than this is not live: /readyz and the dashboard say so.
inline constexpr int64_t kTelemetryStale_ms = 5'000;
/// Who serves applications is silent for so long: /readyz says that they should go elsewhere. An
/// orchestrator adds its own patience (three probes by default); a fail-over or a restart of a
/// server is no reason.
inline constexpr int64_t kTelemetryReadySilent_ms = 10'000;
/// Clients that follow, threads that answer, and what a client may leave unread before it is
/// dropped.
inline constexpr std::size_t kTelemetryFollowers_max = 256;
inline constexpr std::size_t kTelemetryThreads_max = 320;
inline constexpr int64_t kTelemetryWrite_ms = 5'000;
inline constexpr int64_t kTelemetryEnd_ms = 8'000;
inline constexpr int64_t kTelemetryRead_ms = 5'000;
inline constexpr int64_t kTelemetryHeartbeat_ms = 5'000;
inline constexpr std::size_t kTelemetryRequest_bytes = 16 * 1024;
/// Command names that have a series of their own in the metrics.
inline constexpr std::size_t kTelemetryCommands_max = 100;

}  // namespace exodus::limits
