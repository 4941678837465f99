#include "workflow/pause_knob.h"

#include "workflow/mover.h"

namespace exodus {

Status set_paused(WorkflowStore& store, ControlPort* interlay, int64_t migration, bool paused,
                  const Owner& owner, const std::string& reason) {
    std::string why;
    if (paused) {
        why = "by " + owner_name(owner);
        if (!reason.empty()) why += ": " + reason;
    }
    EXODUS_TRY(store.set_paused(migration, why, owner));
    if (interlay == nullptr) return {};
    return MoverClient(*interlay).pause(paused);
}

}  // namespace exodus
