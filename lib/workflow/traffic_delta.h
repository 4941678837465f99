// What traffic did between two looks at the interlay's counters, and the few sums that phases and
// gates ask of it.
#pragma once

#include <cstdint>

#include "core/traffic_stats.h"

namespace exodus {

/// `end` minus `start`. Counters that went backwards (the interlay restarted meanwhile) count from
/// zero. Momentary values (clients now, queues) and observations are those of `end`.
TrafficStats traffic_between(const TrafficStats& start, const TrafficStats& end);

struct TrafficTotals {
    uint64_t requests = 0;
    uint64_t writes = 0;
    uint64_t errors = 0;
    uint64_t mirrored = 0;
    uint64_t equal = 0;
    uint64_t candidates = 0;
    uint64_t not_comparable = 0;
    uint64_t aa_pairs = 0;
    uint64_t aa_unequal = 0;
    Histogram latency_us;
    Histogram shadow_latency_us;
};
TrafficTotals totals(const TrafficStats& stats);

}  // namespace exodus
