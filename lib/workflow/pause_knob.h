// Whether the copy rests (migrate --pause, ctl pause): made durable first, then shown to the
// interlay, so that status and a restarted interlay know it. Takes no lock: a migrate that waits
// for the copy runs meanwhile.
#pragma once

#include "core/control.h"
#include "store/workflow_store.h"

namespace exodus {

/// `interlay` null: none runs, the flag takes effect when one starts. `reason` may be empty.
Status set_paused(WorkflowStore& store, ControlPort* interlay, int64_t migration, bool paused,
                  const Owner& owner, const std::string& reason);

}  // namespace exodus
