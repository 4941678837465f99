// All that the state file knows of a migration, for `exodus report`: what was moved, who did what
// and why, what was measured, what is left. Reads; changes nothing.
#pragma once

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "workflow/phase_context.h"

namespace exodus {

/// The object that exodus-json(7) describes under "report". Asks no endpoint; asks the interlay
/// what `status` does, so a caller that wants only the file gives an access without one.
Result<nlohmann::json> collect_report(PhaseContext& context);

}  // namespace exodus
