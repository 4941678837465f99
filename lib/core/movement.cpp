#include "core/movement.h"

namespace exodus {

std::string_view to_string(MovementStage stage) {
    switch (stage) {
        case MovementStage::off:
            return "off";
        case MovementStage::attaching:
            return "attaching";
        case MovementStage::standby:
            return "standby";
        case MovementStage::filling:
            return "filling";
        case MovementStage::following:
            return "following";
        case MovementStage::repairing:
            return "repairing";
        case MovementStage::blocked:
            return "blocked";
        case MovementStage::failed:
            return "failed";
    }
    return "failed";
}

std::string_view to_string(MovementMode mode) {
    switch (mode) {
        case MovementMode::off:
            return "off";
        case MovementMode::standby:
            return "standby";
        case MovementMode::apply:
            return "apply";
    }
    return "off";
}

}  // namespace exodus
