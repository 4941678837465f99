#include "workflow/phases/approve.h"

#include <fmt/format.h>

#include "workflow/runner.h"

namespace exodus {

namespace {

PhaseOutcome decide_phase(PhaseContext& context, const std::string& gate, bool approve) {
    const std::string word = approve ? "approve" : "deny";
    PhaseFrame frame;
    // No lock: the approver decides while another command waits with it. A decision is one row in
    // one transaction.
    frame.takes_lock = false;
    frame.recovers = false;
    frame.plan = {
        fmt::format("store the decision \"{} {}\" of {}", word, gate, owner_name(context.owner))};
    return run_phase(context, std::nullopt, word, frame, [&](PhaseRun& run) -> Status {
        if (context.reason.empty())
            return fail(ErrorCode::usage, word + " needs a reason", "--reason TEXT");
        const auto known = gate_from(gate);
        if (!known) {
            return fail(ErrorCode::usage, "there is no gate " + gate,
                        "pretest analyze compare test follow switch commit");
        }
        EXODUS_TRY(decide(run.store(), run.row(), approve, to_string(*known), context.reason,
                          context.owner, run.settings().config_hash));
        run.outcome.headline =
            fmt::format("{} {} by {}: {}", to_string(*known), approve ? "approved" : "denied",
                        owner_name(context.owner), context.reason);
        auto report = run.judge(*known);
        if (!report) return tl::unexpected(report.error());
        return {};
    });
}

}  // namespace

PhaseOutcome run_approve(PhaseContext& context, const std::string& gate) {
    return decide_phase(context, gate, true);
}
PhaseOutcome run_deny(PhaseContext& context, const std::string& gate) {
    return decide_phase(context, gate, false);
}

}  // namespace exodus
