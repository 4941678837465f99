// The gates G1–G8: each reads its evidence and decisions in the store again at the moment of a
// transition. Never measures anything itself and never writes, so that `status --gates` and a
// transition see the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "core/settings.h"
#include "store/workflow_store.h"

namespace exodus {

enum class Gate : uint8_t {
    pretest,
    analyze,
    compare,
    test,
    follow,
    switch_over,
    cutover,
    commit
};  // G1 … G8
/// "pretest" … "follow", "switch", "cutover", "commit": what approve, deny, --skip-gate and status
/// call them.
std::string_view to_string(Gate gate);
/// "G1" … "G8".
std::string_view number_of(Gate gate);
std::optional<Gate> gate_from(std::string_view name);  ///< by name or number

enum class GateVerdict : uint8_t { pass, fail, missing, stale, inconclusive, skipped };
std::string_view to_string(GateVerdict verdict);

/// The row of a gate that only a person can fill; require() tells it apart.
inline constexpr const char* kApprovalRequirement = "a decision with an owner";
/// What migrate measures itself before it asks G5 and G6.
inline constexpr const char* kFollowRequirement = "the target follows";
inline constexpr const char* kReadinessRequirement = "everything is ready for the switch";
inline constexpr const char* kWatchRequirement = "the watch window is over";
inline constexpr const char* kReverseRequirement = "the way back follows";
inline constexpr const char* kFinalVerifyRequirement = "final verify: source equals target";

struct GateRow {
    std::string requirement;  ///< "full verify: nothing missing, extra or different"
    std::string found;        ///< "2 missing, 0 extra, 1 different of 41,220,118"
    GateVerdict verdict = GateVerdict::missing;
    std::string hint;  ///< what to do; empty when passed
};

struct GateReport {
    Gate gate = Gate::pretest;
    GateVerdict verdict =
        GateVerdict::missing;  ///< the worst row; skipped when a decision skips the gate
    std::vector<GateRow> rows;
    std::string skipped_by;  ///< "mira@ops1: no traffic to compare"; only when skipped
    [[nodiscard]] bool open() const {
        return verdict == GateVerdict::pass || verdict == GateVerdict::skipped;
    }
};

struct GateInput {
    WorkflowStore& store;
    const Settings& settings;
    const MigrationRow& row;
    EvidenceContext context;  ///< what holds now: WorkflowStore::context() with the current
                              ///< config_hash and tool_version
    int64_t now_ms = 0;
};

/// What evidence must match to count now: the store's context with the present configuration and
/// version, where they are known.
Result<EvidenceContext> context_now(WorkflowStore& store, int64_t migration,
                                    const Settings& settings, const std::string& tool_version);

/// Errors are those of the store; a gate that does not hold is a report.
Result<GateReport> evaluate(Gate gate, const GateInput& input);
/// The same whatever decision skips it: what the phase of this gate says about its own evidence.
/// A skip lets later phases pass; it makes no phase succeed.
Result<GateReport> evaluate_unskipped(Gate gate, const GateInput& input);
/// Success, or gate_not_met (approval_missing when only the approval is missing) with the failed
/// rows in the message.
Status require(const GateReport& report);
/// --skip-gate: compare and test for good; commit only in `switched`, and only at the epoch of this
/// decision. Only with a reason. Whether it may be skipped now; writes nothing.
Status may_skip_gate(const MigrationRow& row, Gate gate, std::string_view reason);
/// may_skip_gate(), and writes the decision.
Status skip_gate(WorkflowStore& store, const MigrationRow& row, Gate gate, std::string_view reason,
                 const Owner& owner);
/// The decision that skips a gate now; none when there is none.
Result<std::optional<DecisionRow>> skip_decision(WorkflowStore& store, const MigrationRow& row,
                                                 Gate gate);
/// Phases that a decision skips, of whatever attempt, for machine.h's Skips.
Result<bool> is_skipped(WorkflowStore& store, const MigrationRow& row, Gate gate);
/// approve and deny. `gate` by name; error usage when unknown.
Status decide(WorkflowStore& store, const MigrationRow& row, bool approve, std::string_view gate,
              std::string_view reason, const Owner& owner, const std::string& config_hash);
/// --ack CHECK: accepts one warning by name.
Status acknowledge(WorkflowStore& store, const MigrationRow& row, std::string_view check,
                   std::string_view reason, const Owner& owner, const std::string& config_hash);

}  // namespace exodus
