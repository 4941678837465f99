// What traffic looked like: counters and histograms that every family fills and that analyze,
// compare, status and metrics read. Collected per worker on its own thread, merged here, carried
// over the control socket as JSON.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/histogram.h"

namespace exodus {

/// Per command class (a command name, a statement shape): never a key, never a value.
struct CommandStats {
    uint64_t requests = 0;
    uint64_t errors = 0;     ///< error replies
    uint64_t bytes_in = 0;   ///< of requests
    uint64_t bytes_out = 0;  ///< of replies
    bool is_write = false;
    Histogram latency_us;         ///< of the authority's answers, as sent to answered
    Histogram shadow_latency_us;  ///< of the mirrored requests

    // Compare: every mirrored request ends in exactly one of these.
    uint64_t mirrored = 0;
    uint64_t equal = 0;
    uint64_t candidates = 0;      ///< unequal bytes handed to the comparator
    uint64_t not_comparable = 0;  ///< dropped, errored on the way, or no rule
    uint64_t equal_by_rule = 0;   ///< of the candidates: the family's rules say the same
    /// Of not_comparable: unequal bytes that the full comparator did not take, never a candidate.
    uint64_t comparator_dropped = 0;
    uint64_t aa_pairs = 0;  ///< the noise arm
    uint64_t aa_unequal = 0;
};

/// Name of the counter which says over how many milliseconds the rest was observed; set by analyze.
inline constexpr const char* kObservedMs = "observed_ms";
/// And how often the interlay began anew meanwhile; some of what passed before that is missing.
inline constexpr const char* kInterlayRestarts = "interlay_restarts";

struct TrafficStats {
    std::map<std::string, CommandStats> commands;
    uint64_t clients_now = 0;
    uint64_t clients_total = 0;
    uint64_t backend_connections = 0;
    uint64_t bytes_from_clients = 0;
    uint64_t bytes_to_clients = 0;
    uint64_t shadow_queued = 0;
    uint64_t shadow_queued_bytes = 0;
    uint64_t shadow_dropped = 0;
    uint64_t comparator_dropped = 0;  ///< of all classes, with those of the noise arm
    std::map<std::string, uint64_t> protocol_errors;  ///< by bounded reason
    Histogram pipeline_depth;                         ///< requests found in one read
    Histogram hold_us;                                ///< how long held requests waited
    /// What each side answered, mirrored requests too, by [side][write]; without blocking commands.
    std::array<std::array<Histogram, 2>, 2> answered_us;
    std::map<std::string, uint64_t> counters;  ///< the family's own, bounded names
    /// The family's own observations by name (hot keys, type mix, findings, ...): JSON objects,
    /// merged by the family.
    std::map<std::string, std::string> observations;

    void merge(const TrafficStats& other);
    [[nodiscard]] nlohmann::json to_json() const;
    static TrafficStats from_json(const nlohmann::json& json);
};

/// {"count":…,"mean":…,"p50":…,"p95":…,"p99":…,"p999":…,"max":…,"buckets":[[index,count],…]}
nlohmann::json to_json(const Histogram& histogram);

}  // namespace exodus
