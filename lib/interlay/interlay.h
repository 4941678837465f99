// The interlay: everything between the listening sockets and the brains of a family, composed and
// ended here. cli makes it, hands it the parts, and serves its control handlers; signals are cli's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/control.h"
#include "core/family.h"
#include "core/settings.h"
#include "core/state.h"
#include "net/file_descriptor.h"

namespace exodus {

/// What an interlay works with. References outlive it.
struct InterlayParts {
    TrafficShared& traffic;
    StateSource& state;
    WorkerRegistry& registry;
    DivergenceLog& divergences;
    const InterlaySettings& settings;
    const Endpoint& source;
    const Endpoint& target;
    /// Whether the forward movement has applied a position; for the re-check of differing answers.
    Following following;
    std::string version;       ///< of the program, for `hello`
    std::string control_path;  ///< for the registration; the server itself is cli's
};

class Interlay {
  public:
    /// Binds (or adopts `taken` sockets), registers the worker, reads the state and then accepts
    /// clients: never before. The target is not asked for anything. Errors: config and files of
    /// TLS, addresses, the state file.
    static Result<std::unique_ptr<Interlay>> start(InterlayParts parts,
                                                   std::vector<FileDescriptor> taken = {});
    /// stop_now() and wait().
    virtual ~Interlay() = default;

    /// hello, look-now, quiescence, traffic, knob, drain, takeover, probe, ready. They refer to
    /// this object: end the server first.
    virtual ControlHandlers handlers() = 0;
    /// Duplicates of the listening sockets for ControlServer::Options::listeners.
    virtual Result<std::vector<FileDescriptor>> listeners() = 0;
    /// Accepts no more; sessions end at their boundaries, at the latest after drain_timeout_ms.
    /// Then wait() returns. Thread-safe, quick, idempotent.
    virtual void request_drain() = 0;
    /// Closes everything now. Thread-safe, quick, idempotent.
    virtual void stop_now() = 0;
    /// Blocks until drained or stopped, then ends all threads and takes the registration back.
    virtual void wait() = 0;
    /// As wait(), at most so long. True: it has ended.
    virtual bool wait_for(milliseconds span) = 0;

    /// Over all loops. Adding up observations can take milliseconds of this thread for each loop.
    virtual Result<TrafficStats> traffic(bool observations = true) = 0;
    virtual Result<Quiescence> quiescence() = 0;
    /// Our ends of all connections to a side, "10.0.0.7:51234": what its list of clients names.
    virtual Result<std::vector<std::string>> backends(Side side) = 0;
    /// Bound addresses, ports filled in.
    [[nodiscard]] virtual const std::vector<std::string>& addresses() const = 0;
    /// Reads certificates and keys again; connections keep theirs. On an error nothing changed.
    virtual Status reload_tls() = 0;
    [[nodiscard]] virtual std::size_t clients() const = 0;
};

}  // namespace exodus
