// approve and deny: the human checkpoint before the switch, as decision rows with owner and reason.
#pragma once

#include "workflow/phase_context.h"

namespace exodus {

/// `gate`: "switch" (what migrate --switch asks for), or a phase name. Needs context.reason.
PhaseOutcome run_approve(PhaseContext& context, const std::string& gate);
PhaseOutcome run_deny(PhaseContext& context, const std::string& gate);

}  // namespace exodus
