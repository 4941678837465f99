// compare: the target is seeded and follows; safe reads are mirrored and compared, all data is
// verified both ways. The source answers every client. Ends in `compared` when gate G3 holds.
#pragma once

#include "workflow/phase_context.h"

namespace exodus {

enum class CompareMode { reads, data, both };

struct CompareOptions {
    CompareMode mode = CompareMode::both;
    std::optional<double> mirror_percent;  ///< none: settings.compare
    std::optional<double> aa_percent;
    std::optional<double> budget;
    std::optional<double> confidence;
    std::optional<uint64_t> samples_min;  ///< none: settings.gates.compare_samples_min
    milliseconds reads_duration_max{
        0};  ///< give up waiting for samples: inconclusive. 0: until --timeout or a stop
    std::vector<std::string>
        ack;  ///< classes with too few samples, accepted by name; needs a reason
    /// Forget what an interrupted run has counted, and copy everything anew. Before `copying` only.
    bool restart = false;
};

PhaseOutcome run_compare(PhaseContext& context, const CompareOptions& options);

}  // namespace exodus
