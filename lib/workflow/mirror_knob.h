// The live share of mirrored reads (exodus ctl mirror=N): made durable first, then shown to the
// interlay. Takes no lock, so that it works beside a phase that runs.
#pragma once

#include "core/control.h"
#include "store/workflow_store.h"

namespace exodus {

/// `percent` 0 … 100; 0 always ends mirroring. Error not_allowed while the target does not follow.
/// The knob ends by itself with a switch, a new copy, and the end of compare.
Status set_mirror(WorkflowStore& store, ControlPort& interlay, const std::string& migration,
                  double percent, const Owner& owner);

}  // namespace exodus
