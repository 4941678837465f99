#include "workflow/mirror_knob.h"

#include "workflow/machine.h"
#include "workflow/mover.h"

namespace exodus {

Status set_mirror(WorkflowStore& store, ControlPort& interlay, const std::string& migration,
                  double percent, const Owner& owner) {
    auto row = store.find_migration(migration);
    if (!row) return tl::unexpected(std::move(row).error());
    MoverClient mover(interlay);
    if (percent > 0) {
        EXODUS_TRY(may_mirror(*row));
        auto status = mover.status(Direction::forward);
        if (!status) return tl::unexpected(std::move(status).error());
        if (status->stage != MovementStage::following) {
            return fail(ErrorCode::not_allowed,
                        "the target has not caught up with the source (" +
                            std::string(to_string(status->stage)) + ")",
                        "differences would only say that the copy is not complete");
        }
    }
    EXODUS_TRY(store.set_mirror(*row, percent, owner));
    return mover.look_now();
}

}  // namespace exodus
