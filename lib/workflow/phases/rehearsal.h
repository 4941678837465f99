// The drills of `test`: switch and rollback through the real cutover code under the present load,
// and cutovers that crash on purpose. The authority is back at the source, and the state is what it
// was, when a drill ends.
#pragma once

#include "workflow/phases/test.h"
#include "workflow/runner.h"

namespace exodus {

/// Runs the drills that the options name and stores kRehearsal and kDrills. A drill that fails is
/// evidence, not an Error; an Error means that the drills could not be run to their end.
Status rehearse(PhaseRun& run, const TestOptions& options);

}  // namespace exodus
