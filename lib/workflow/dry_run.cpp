#include "workflow/dry_run.h"

#include <algorithm>
#include <fmt/format.h>

#include "workflow/gate_text.h"

namespace exodus {

Status tell_plan(PhaseRun& run, const PhaseFrame& frame) {
    run.outcome.headline = "dry run: nothing was changed";
    for (const std::string& line : frame.plan) run.detail("would " + line);
    for (const Gate gate : frame.gates) {
        auto report = run.judge(gate);
        if (!report) return tl::unexpected(report.error());
        // What was not measured yet is no obstacle when the run itself measures it.
        std::erase_if(report->rows, [&](const GateRow& row) {
            const bool open =
                row.verdict == GateVerdict::missing || row.verdict == GateVerdict::stale;
            return open && std::find(frame.measures.begin(), frame.measures.end(),
                                     row.requirement) != frame.measures.end();
        });
        for (const std::string& line : failed_lines(*report)) run.detail("in the way: " + line);
    }
    return {};
}

std::vector<std::string> cutover_plan(Side gaining, int64_t hold_timeout_ms) {
    const std::string_view to = to_string(gaining);
    const std::string_view from = to_string(other(gaining));
    return {
        "C0 store the decision and begin the operation",
        fmt::format("C1 hold writes, for at most {}; reads go on", span_text(hold_timeout_ms)),
        "C2 wait until no worker has a write in flight",
        fmt::format("C3 fence the {}, proven by a write that it refuses", from),
        fmt::format("C4 read the end position of the {}", from),
        fmt::format("C5 wait until the {} has everything up to it; a last re-check", to),
        fmt::format("C6 arm the stream from the {} to the {}; ask gate G7", to, from),
        fmt::format("C7 hand the authority to the {}; before this any failure goes back to the {}",
                    to, from),
        fmt::format("C8 release the held writes to the {}; the {} follows it", to, from),
    };
}

}  // namespace exodus
