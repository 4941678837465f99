// All that the state file knows of a migration, for `exodus report`: what was moved, who did what
// and why, what was measured, what is left. Reads; changes nothing.
#pragma once

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/workflow_store.h"

namespace exodus {

/// The object that exodus-json(7) describes under "report". `confidence`: of the intervals.
Result<nlohmann::json> collect_report(WorkflowStore& store, const MigrationRow& row,
                                      double confidence);

}  // namespace exodus
