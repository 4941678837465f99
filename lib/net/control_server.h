// The answering end of the control channel (core/control.h): a private Unix socket, one JSON object
// per line, each connection on a thread of its own so that a slow handler delays nobody else.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/control.h"
#include "net/file_descriptor.h"

namespace exodus {

class ControlServer {
  public:
    struct Options {
        std::string path;
        ControlHandlers handlers;
        /// The sockets that go with a successful answer to `takeover`; empty: none can be had.
        std::function<Result<std::vector<FileDescriptor>>()> listeners;
        /// Take the path over from a process that still answers there (after a takeover).
        bool replace = false;
    };

    /// Binds with mode 0600 and starts. A socket file of a dead process is replaced. Errors: locked
    /// (another process answers there), cannot_create, permission, usage (path too long).
    static Result<std::unique_ptr<ControlServer>> start(Options options);
    /// Ends all connections, waits for running handlers, and removes the file if it is still ours.
    virtual ~ControlServer() = default;
    [[nodiscard]] virtual const std::string& path() const = 0;
};

}  // namespace exodus
