// The statistics of mirrored reads during a compare run: per command class what was compared,
// confirmed and left open, summed over the interlay's counters and the divergence log, across
// restarts of either process.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "workflow/runner.h"

namespace exodus {

struct ReadClass {
    /// Answers that were judged: equal, or different with an outcome. Where not all that differ
    /// were judged, those that were are a sample, and equal ones count in its proportion only.
    uint64_t comparisons = 0;
    uint64_t confirmed = 0;
    uint64_t unresolved = 0;  ///< of them: read again in vain
    uint64_t not_comparable = 0;
    uint64_t aa_comparisons = 0;  ///< the noise arm: the authority against itself
    uint64_t aa_confirmed = 0;
    uint64_t dropped = 0;  ///< different, and the comparator was full; not among the comparisons
    uint64_t open = 0;     ///< handed to the comparator, no outcome yet; not among the comparisons
    /// Nothing of it differs, or something of that was judged.
    [[nodiscard]] bool seen() const { return comparisons + dropped + open > 0; }
    ReadClass& operator+=(const ReadClass& more);
};
using ReadCounts = std::map<std::string, ReadClass>;

class ReadsCompare {
  public:
    /// `earlier`: what an interrupted run had counted ({"classes":[…]}), or empty.
    Status begin(PhaseRun& run, const nlohmann::json& earlier);
    /// Reads the counters again.
    Status look(PhaseRun& run);
    [[nodiscard]] ReadCounts counts() const;
    [[nodiscard]] nlohmann::json to_json() const;
    /// Pairs that were handed to the comparator and have no outcome yet.
    [[nodiscard]] uint64_t open_pairs() const;
    [[nodiscard]] const TrafficStats& traffic() const { return between_; }

  private:
    Result<ReadCounts> outcomes(PhaseRun& run) const;
    ReadCounts earlier_;
    TrafficStats start_;
    TrafficStats between_;
    ReadCounts logged_at_start_;
    ReadCounts now_;
};

}  // namespace exodus
