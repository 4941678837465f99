// The parts of the report's object, which report.cpp puts together. All of them read the state file
// and change nothing; what is JSON is described in exodus-json(7), "report".
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "workflow/phase_context.h"
#include "workflow/phases/status.h"

namespace exodus::report {

/// An empty object for what is none.
nlohmann::json object_of(const std::string& text);

/// Phase runs, commands, decisions, changes of route and authority, events; oldest first.
Result<nlohmann::json> timeline(WorkflowStore& store, int64_t migration);

/// The verdict of each gate, as `exodus status` and the transitions have it. The report judges
/// nothing itself.
Result<nlohmann::json> gates(PhaseContext& context, const StatusReport& status);
/// The newest of each kind that a gate reads: when it was measured, in which attempt, with which
/// configuration and version, and why it no longer counts.
Result<nlohmann::json> evidence(PhaseContext& context, const MigrationRow& row);
/// Items, bytes, databases and scope, each null when the state file does not know it.
Result<nlohmann::json> migrated(PhaseContext& context, const MigrationRow& row);
/// Fences that may still stand: {"side","at_ms"}.
Result<nlohmann::json> fences(WorkflowStore& store, int64_t migration);
/// What somebody has to do by hand, or must know that nobody did; texts.
Result<nlohmann::json> left_to_do(WorkflowStore& store, const MigrationRow& row,
                                  const std::vector<FindingRow>& found,
                                  const nlohmann::json& fences);

}  // namespace exodus::report
