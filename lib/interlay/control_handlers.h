// The interlay's answers on the control socket: requests in JSON to calls, results to JSON.
#pragma once

#include <string>
#include <vector>

#include "core/control.h"
#include "interlay/interlay.h"
#include "interlay/route_watcher.h"

namespace exodus {

/// What the handlers need of the interlay beyond its public face.
class InterlayOperations {
  public:
    struct Identity {
        std::string worker_id;
        std::string version;
        std::vector<std::string> addresses;
        int threads = 0;
        int64_t started_ms = 0;
        bool draining = false;
        bool taken_over = false;
    };
    virtual ~InterlayOperations() = default;
    [[nodiscard]] virtual Identity identity() const = 0;
    virtual RouteWatcher& watcher() = 0;
    virtual TrafficShared& traffic_shared() = 0;
    virtual Interlay& interlay() = 0;
    /// Sets a family's knob on every loop; false: no family knows it.
    virtual Result<bool> set_knob(const std::string& name, const std::string& value) = 0;
};

ControlHandlers make_control_handlers(InterlayOperations& operations);

}  // namespace exodus
