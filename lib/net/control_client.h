// The asking end of the control channel, and the asking end of a takeover.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/control.h"
#include "net/file_descriptor.h"

namespace exodus {

/// One connection per call, so that it survives restarts of the other end. Thread-safe; calls of
/// several threads run side by side.
std::unique_ptr<ControlPort> make_control_client(std::string path);

/// Asks the process at `path` for its listening sockets. It goes on accepting until it is asked to
/// drain. Errors: not_allowed (a switch is under way), unreachable, timeout.
Result<std::vector<FileDescriptor>> take_listeners(const std::string& path, milliseconds timeout);

}  // namespace exodus
