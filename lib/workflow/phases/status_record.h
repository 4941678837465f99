// What the state file remembers of a migration, for status, telemetry and report: the last
// comparisons, findings, switches and the newest decision. JSON as exodus-json(7) describes it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "store/workflow_store.h"

namespace exodus {

struct StatusRecord {
    nlohmann::json compare;  ///< null before the first one
    nlohmann::json data;     ///< null before the first one
    /// How many of each severity; `list`: failures, then warnings; `more`: of them not in it.
    nlohmann::json findings;
    nlohmann::json switches;         ///< newest first
    uint64_t switches_left_out = 0;  ///< older ones and rehearsals that it does not list
    nlohmann::json decision;         ///< the newest, null before the first one
};

/// `confidence` of the interval of the divergence rate.
Result<StatusRecord> recorded(WorkflowStore& store, const MigrationRow& row, double confidence);

/// "1,204 reads   0 confirmed   0.0e+00 [0.0e+00, 2.5e-03]   noise 0.0e+00"; empty for null.
std::string compare_text(const nlohmann::json& compare);
/// verify_text() of it; empty for null.
std::string data_text(const nlohmann::json& data);

}  // namespace exodus
