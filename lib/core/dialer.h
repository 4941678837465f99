// Blocking byte transport for workflow threads: families use it below hiredis' formatter and reader
// (Debian's hiredis has no TLS). core declares it, net implements it with TLS, cli hands it over.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "core/endpoint.h"

namespace exodus {

/// One connection. Not thread-safe, except that shutdown() may be called from another thread to end
/// a wait.
class ByteStream {
  public:
    virtual ~ByteStream() = default;
    /// Reads at least one byte. Errors: timeout, unreachable (peer closed, "connection closed").
    virtual Result<std::size_t> read(std::span<char> buffer, Deadline deadline) = 0;
    virtual Status write(std::string_view bytes, Deadline deadline) = 0;
    /// Wakes a thread that waits in read or write; both then fail with ErrorCode::cancelled.
    virtual void shutdown() = 0;
};

class Dialer {
  public:
    virtual ~Dialer() = default;
    /// Errors: unreachable (with host and port), permission (certificate not accepted), timeout.
    virtual Result<std::unique_ptr<ByteStream>> dial(const Endpoint& endpoint,
                                                     milliseconds timeout) = 0;
};

}  // namespace exodus
