// What traffic did between two looks at the interlay's counters, and the few sums that phases and
// gates ask of it.
#pragma once

#include <cstdint>
#include <utility>

#include "core/traffic_stats.h"

namespace exodus {

/// `end` minus `start`. Counters that went backwards (the interlay restarted meanwhile) count from
/// zero. Momentary values (clients now, queues) and observations are those of `end`.
TrafficStats traffic_between(const TrafficStats& start, const TrafficStats& end);

/// The same over an interlay that may begin anew meanwhile (restart, takeover) and counts from zero
/// then. What passed between the last look and such an end is not known.
class TrafficSince {
  public:
    explicit TrafficSince(TrafficStats start) : start_(std::move(start)), last_(start_) {}
    void look(TrafficStats now);
    [[nodiscard]] TrafficStats seen() const;
    [[nodiscard]] uint64_t restarts() const { return restarts_; }

  private:
    TrafficStats earlier_;  ///< of interlays that are gone
    TrafficStats start_;
    TrafficStats last_;
    uint64_t restarts_ = 0;
};

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
