// analyze: applications talk through the interlay, which only forwards. Profiles traffic and data,
// judges compatibility, and makes the plan. Ends in `analyzed` when gate G2 holds.
#pragma once

#include "workflow/phase_context.h"

namespace exodus {

struct AnalyzeOptions {
    milliseconds duration{0};           ///< 0: settings.gates.analyze_duration_ms
    uint64_t requests_min = 0;          ///< 0: settings.gates.analyze_requests_min
    std::string capture_file;           ///< --capture: the interlay writes the workload there
    TapSource* from_capture = nullptr;  ///< --from-capture: no interlay, traffic from a capture
    std::string plan_file;              ///< --out: the plan as JSON
};

PhaseOutcome run_analyze(PhaseContext& context, const AnalyzeOptions& options);

}  // namespace exodus
