// Names, verdicts and decisions of the gates; the requirements themselves are in gate_rules.cpp.
#include "workflow/gates.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "workflow/gate_rules.h"
#include "workflow/machine.h"

namespace exodus {

namespace {
constexpr std::array<std::string_view, 8> kNames{"pretest", "analyze", "compare", "test",
                                                 "follow",  "switch",  "cutover", "commit"};
constexpr std::array<std::string_view, 8> kNumbers{"G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8"};
}  // namespace

std::string_view to_string(Gate gate) { return kNames[static_cast<std::size_t>(gate)]; }
std::string_view number_of(Gate gate) { return kNumbers[static_cast<std::size_t>(gate)]; }

std::optional<Gate> gate_from(std::string_view name) {
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        if (name == kNames[i] || name == kNumbers[i]) return static_cast<Gate>(i);
    }
    return std::nullopt;
}

std::string_view to_string(GateVerdict verdict) {
    switch (verdict) {
        case GateVerdict::pass:
            return "pass";
        case GateVerdict::fail:
            return "fail";
        case GateVerdict::missing:
            return "missing";
        case GateVerdict::stale:
            return "stale";
        case GateVerdict::inconclusive:
            return "inconclusive";
        case GateVerdict::skipped:
            return "skipped";
    }
    return "fail";
}

Result<EvidenceContext> context_now(WorkflowStore& store, int64_t migration,
                                    const Settings& settings, const std::string& tool_version) {
    auto now = store.context(migration);
    if (!now) return now;
    if (!settings.config_hash.empty()) now->config_hash = settings.config_hash;
    if (!tool_version.empty()) now->tool_version = tool_version;
    return now;
}

Result<GateReport> evaluate(Gate gate, const GateInput& input) {
    if (gate == Gate::compare || gate == Gate::test) {
        auto skip = skip_decision(input.store, input.row, gate);
        if (!skip) return tl::unexpected(std::move(skip).error());
        if (*skip) {
            GateReport report;
            report.gate = gate;
            report.verdict = GateVerdict::skipped;
            report.skipped_by = owner_name((*skip)->owner) + ": " + (*skip)->reason;
            return report;
        }
    }
    return evaluate_unskipped(gate, input);
}

Result<GateReport> evaluate_unskipped(Gate gate, const GateInput& input) {
    GateRules rules(gate, input);
    EXODUS_TRY(rules.apply());
    return rules.report();
}

Status require(const GateReport& report) {
    if (report.open()) return {};
    std::string text;
    std::string hint;
    bool only_approval = true;
    for (const GateRow& row : report.rows) {
        if (row.verdict == GateVerdict::pass || row.verdict == GateVerdict::skipped) continue;
        text += (text.empty() ? "" : "; ") + row.requirement + " — " + row.found + " (" +
                std::string(to_string(row.verdict)) + ")";
        if (hint.empty()) hint = row.hint;
        if (row.requirement != kApprovalRequirement) only_approval = false;
    }
    const std::string name(to_string(report.gate));
    if (only_approval)
        return fail(ErrorCode::approval_missing, "gate " + name + " waits for approval: " + text,
                    hint);
    return fail(ErrorCode::gate_not_met, "gate " + name + " is not met: " + text, hint);
}

Status may_skip_gate(const MigrationRow& row, Gate gate, std::string_view reason) {
    if (gate != Gate::compare && gate != Gate::test && gate != Gate::commit) {
        return fail(ErrorCode::usage, "gate " + std::string(to_string(gate)) +
                                          " cannot be skipped; only compare, test and commit can");
    }
    if (reason.empty()) {
        return fail(ErrorCode::approval_missing,
                    "skipping " + std::string(to_string(gate)) + " needs a reason",
                    "add --reason TEXT");
    }
    if (gate == Gate::commit && row.state == MigrationState::committed) return {};
    if (gate == Gate::commit && row.state != MigrationState::switched) {
        return fail(ErrorCode::not_allowed,
                    "gate commit can be skipped only behind the switch (state '" +
                        std::string(to_string(row.state)) + "')",
                    "exodus status");
    }
    return {};
}

Status skip_gate(WorkflowStore& store, const MigrationRow& row, Gate gate, std::string_view reason,
                 const Owner& owner) {
    EXODUS_TRY(may_skip_gate(row, gate, reason));
    if (gate == Gate::commit && row.state == MigrationState::committed) return {};
    auto there = is_skipped(store, row, gate);
    if (!there) return tl::unexpected(std::move(there).error());
    if (*there) return {};
    DecisionRow decision;
    decision.attempt = row.attempt;
    decision.kind = "skip";
    decision.subject = to_string(gate);
    decision.reason = reason;
    decision.owner = owner;
    decision.config_hash = row.config_hash;
    decision.epoch = row.route.epoch;
    auto id = store.add_decision(row.id, decision);
    if (!id) return tl::unexpected(std::move(id).error());
    return {};
}

Result<std::optional<DecisionRow>> skip_decision(WorkflowStore& store, const MigrationRow& row,
                                                 Gate gate) {
    auto skip = store.latest_decision(row.id, 0, {"skip"}, to_string(gate));
    // What a commit gives up is known only for the moment: another switch begins anew.
    if (skip && *skip && gate == Gate::commit && (*skip)->epoch != row.route.epoch)
        return std::optional<DecisionRow>();
    return skip;
}

Result<bool> is_skipped(WorkflowStore& store, const MigrationRow& row, Gate gate) {
    auto skip = skip_decision(store, row, gate);
    if (!skip) return tl::unexpected(std::move(skip).error());
    return skip->has_value();
}

Status decide(WorkflowStore& store, const MigrationRow& row, bool approve, std::string_view gate,
              std::string_view reason, const Owner& owner, const std::string& config_hash) {
    const auto known = gate_from(gate);
    if (!known) {
        return fail(ErrorCode::usage, fmt::format("no gate is called {}", gate),
                    fmt::format("gates: {}", fmt::join(kNames, ", ")));
    }
    DecisionRow decision;
    decision.attempt = current_attempt(row);
    decision.kind = approve ? "approve" : "deny";
    decision.subject = to_string(*known);
    decision.reason = reason;
    decision.owner = owner;
    decision.config_hash = config_hash;
    auto id = store.add_decision(row.id, decision);
    if (!id) return tl::unexpected(std::move(id).error());
    return {};
}

Status acknowledge(WorkflowStore& store, const MigrationRow& row, std::string_view check,
                   std::string_view reason, const Owner& owner, const std::string& config_hash) {
    DecisionRow decision;
    decision.attempt = current_attempt(row);
    decision.kind = "ack";
    decision.subject = check;
    decision.reason = reason;
    decision.owner = owner;
    decision.config_hash = config_hash;
    auto id = store.add_decision(row.id, decision);
    if (!id) return tl::unexpected(std::move(id).error());
    return {};
}

}  // namespace exodus
