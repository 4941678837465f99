// The control channel between phase commands and the interlay's process: one JSON object per line
// over a private Unix socket. {"op":"…", …} is answered by {"ok":true, …} or
// {"ok":false,"code":"…","message":"…","hint":"…"}. net implements both ends; interlay and workflow
// register handlers; cli composes them.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/clock.h"
#include "base/error.h"

namespace exodus {

/// Handles one operation. Runs on the control thread, may block for a bounded time; never on a
/// traffic loop.
using ControlHandler = std::function<Result<nlohmann::json>(const nlohmann::json& request)>;
using ControlHandlers = std::map<std::string, ControlHandler>;

/// The asking end. Thread-safe; one request at a time.
class ControlPort {
  public:
    virtual ~ControlPort() = default;
    /// Errors: unreachable (nobody listens), timeout, or the handler's own.
    virtual Result<nlohmann::json> call(const nlohmann::json& request, milliseconds timeout) = 0;
};

/// Operations, all of them. interlay answers the first group, workflow's mover the second.
namespace control_op {
inline constexpr const char* kHello =
    "hello";  ///< who is there: pid, version, epoch, listen addresses
inline constexpr const char* kLookNow = "look-now";  ///< read the state file again at once
inline constexpr const char* kQuiescence =
    "quiescence";  ///< {pid, epoch, writes_in_flight, held, blocker, draining} over all workers
/// {observations: true} -> TrafficStats as JSON; observations take the longest.
inline constexpr const char* kTraffic = "traffic";
inline constexpr const char* kBackends =
    "backends";  ///< {side} -> {addresses}: the interlay's ends of its connections there
inline constexpr const char* kCapture =
    "capture";  ///< {path}: starts writing requests; without a path ends -> {written, dropped}
inline constexpr const char* kKnob = "knob";  ///< {name, value}
inline constexpr const char* kDrain = "drain";
inline constexpr const char* kTakeover = "takeover";  ///< passes the listening sockets (SCM_RIGHTS)
inline constexpr const char* kProbe =
    "probe";  ///< fence proof by each identity seen; family-specific
inline constexpr const char* kReady =
    "ready";  ///< {side}: what a switch to that side needs is there
inline constexpr const char* kMover = "mover.status";  ///< both directions' MovementStatus
inline constexpr const char* kApplied =
    "mover.applied";  ///< {direction, position} -> {applied: bool}
inline constexpr const char* kStand =
    "mover.stand";  ///< {direction, ticket, position, span_ms} -> {ticket}
inline constexpr const char* kGoOn = "mover.go-on";   ///< {direction, ticket} -> {stood: bool}
inline constexpr const char* kEnd = "mover.end";      ///< {direction} -> {position}
inline constexpr const char* kProve = "mover.prove";  ///< {direction}
inline constexpr const char* kArm = "mover.arm";      ///< {direction} -> {position}
inline constexpr const char* kHandOver = "mover.hand-over";  ///< {direction}
inline constexpr const char* kTakeBack = "mover.take-back";  ///< {direction}
inline constexpr const char* kTouched =
    "mover.touched";  ///< {direction, span_ms} -> {keys: [base64…]}
inline constexpr const char* kRedrive = "mover.redrive";    ///< {direction} -> {count}
inline constexpr const char* kThrottle = "mover.throttle";  ///< {key, value, by}
inline constexpr const char* kPause = "mover.pause";        ///< {paused}, as the row says
inline constexpr const char* kForget = "mover.forget";      ///< {direction}
}  // namespace control_op

}  // namespace exodus
