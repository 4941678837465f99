// A family: everything that knows one protocol, behind one interface. workflow and interlay use
// families through this file only; families/registry names them. Adding one = wire/x, families/x
// and one line in the registry.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/compare.h"
#include "core/dialer.h"
#include "core/fence.h"
#include "core/inspector.h"
#include "core/journal.h"
#include "core/movement.h"
#include "core/protocol_worker.h"
#include "core/settings.h"

namespace exodus {

/// What a family's parts get. References outlive the part.
struct FamilyContext {
    const Settings& settings;
    Dialer& dialer;
    Journal& journal;
    std::string
        directory;  ///< private directory beside the state file for the family's own files (spool)
};

/// Asks whether a direction has applied a position.
using AppliedThrough = std::function<Result<bool>(const Position&)>;

/// What comparing both sides needs of the movement between them; answered by the mover, locally or
/// over the control socket. All empty: both sides are at rest.
struct Following {
    AppliedThrough applied;
    /// As Movement::stand and go_on.
    std::function<Result<uint64_t>(uint64_t ticket, const Position&, milliseconds span)> stand;
    std::function<Result<bool>(uint64_t ticket)> go_on;
};

/// State that the traffic workers of one process share (scripts, virtual ids, identities).
/// Thread-safe.
class TrafficShared {
  public:
    virtual ~TrafficShared() = default;
    /// On the worker's own thread. `io` outlives the worker.
    virtual std::unique_ptr<ProtocolWorker> make_worker(WorkerIo& io) = 0;
    /// Adds the observations of one worker to those of others. TrafficStats::merge knows no family:
    /// of two with one name it leaves the first. On the control thread.
    virtual void add_observations(TrafficStats& into, const TrafficStats& from) {
        static_cast<void>(into);
        static_cast<void>(from);
    }
    /// Opens what the other side needs before a switch (logins, scripts, subscriptions); error
    /// names what is missing. Asked by the gate before holding, on the control thread.
    virtual Status ready_for(Side side) = 0;
    /// Sends, as each identity seen, a write that changes nothing; each must be refused by `side`
    /// (fence proof).
    virtual Status probe_fence(Side side, milliseconds timeout) = 0;
    /// Writes the requests of clients to a new file, for replay and analysis; ends a capture that
    /// runs. On the control thread; the file may be written from any.
    virtual Result<nlohmann::json> begin_capture(const std::string& path) {
        return fail(ErrorCode::not_allowed, "this family cannot capture to " + path);
    }
    /// {"written":…,"dropped":…,"bytes":…}
    virtual Result<nlohmann::json> end_capture() {
        return fail(ErrorCode::not_allowed, "no capture runs");
    }
    virtual std::unique_ptr<Normalizer> make_normalizer() = 0;
    virtual std::unique_ptr<Rechecker> make_rechecker(Following following) = 0;
};

/// A passive reader of captured traffic (tap): fed by capture with reassembled TCP bytes of one
/// client connection.
class TapSession {
  public:
    virtual ~TapSession() = default;
    virtual void on_client_bytes(std::string_view bytes, int64_t wall_us) = 0;
    virtual void on_server_bytes(std::string_view bytes, int64_t wall_us) = 0;
    virtual void on_gap() = 0;  ///< bytes were lost; resynchronise or stop
    virtual void collect(TrafficStats& stats) const = 0;
};

class Family {
  public:
    virtual ~Family() = default;
    [[nodiscard]] virtual std::string_view name() const = 0;
    [[nodiscard]] virtual uint16_t default_port() const = 0;
    /// URI schemes and whether each means TLS, e.g. {"redis", false}, {"rediss", true}.
    [[nodiscard]] virtual std::vector<std::pair<std::string, bool>> schemes() const = 0;
    /// Refuses unknown family options and impossible combinations (all of them, not only the
    /// first).
    virtual std::vector<Error> validate(const Settings& settings) const = 0;

    virtual std::unique_ptr<Inspector> make_inspector(const FamilyContext& context) = 0;
    virtual std::unique_ptr<Movement> make_movement(const FamilyContext& context,
                                                    Direction direction) = 0;
    virtual std::unique_ptr<Verifier> make_verifier(const FamilyContext& context,
                                                    Direction direction, Following following) = 0;
    virtual std::unique_ptr<Fence> make_fence(const FamilyContext& context, Side side) = 0;
    virtual std::unique_ptr<TrafficShared> make_traffic(const FamilyContext& context) = 0;
    virtual std::unique_ptr<TapSession> make_tap_session() = 0;

    /// One request of the family's own log: which client sent it, and its frame as that client's
    /// bytes.
    using OnLoggedRequest =
        std::function<void(const std::string& client, std::string_view frame, int64_t wall_us)>;
    /// Reads the family's log of requests: `file`, or when that is empty the live one of the source
    /// (MONITOR) for `duration`. Gives the number of lines that are no requests. Errors:
    /// not_allowed (this family has none), no_input, unreachable.
    virtual Result<uint64_t> read_log(const FamilyContext& context, const std::string& file,
                                      milliseconds duration, const std::stop_token& stop,
                                      const OnLoggedRequest& on_request) {
        static_cast<void>(context);
        static_cast<void>(file);
        static_cast<void>(duration);
        static_cast<void>(stop);
        static_cast<void>(on_request);
        return fail(ErrorCode::not_allowed,
                    "this family has no log of requests that could be read");
    }
};

}  // namespace exodus
