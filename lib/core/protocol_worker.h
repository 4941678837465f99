// How traffic code of a family meets the world. A ProtocolWorker is one family's brain for one
// event-loop thread: all client sessions of that thread and the backend connections which they
// share. It is sans-IO: it sees bytes, answers through WorkerIo, and never blocks, reads a clock,
// opens a socket or logs. The same class runs on sockets (interlay), in the seeded simulator
// (tests/sim), under the fuzzer, and behind a tap.
//
// One brain per thread and not per client, because stateless requests of many clients share one
// backend connection (redis.md 3.1): the pairing of replies then belongs to the backend connection,
// not to the client.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/endpoint.h"
#include "core/route.h"
#include "core/traffic_stats.h"

namespace exodus {

/// A connection; unique for the life of a worker, never reused. 0 is none.
enum class ConnId : uint64_t { none = 0 };
/// A timer; unique, never reused. 0 is none.
enum class TimerId : uint64_t { none = 0 };

enum class CloseReason : uint8_t {
    peer,     ///< the other end closed
    local,    ///< the brain asked for it
    error,    ///< reset, TLS failure, ...
    refused,  ///< a dial that did not succeed
    timeout,  ///< a dial that took longer than kBackendConnect_ms
};

enum class CloseMode : uint8_t {
    after_flush,  ///< what was sent is written first (bounded by a few seconds), then closed
    now,
};

/// What is known of a client when it connects.
struct ClientInfo {
    std::string address;      ///< "10.0.0.7:51234" or "unix"
    std::string tls_subject;  ///< of a verified client certificate, else empty
};

/// Two answers to one request, for the comparator thread. Bytes are whole frames.
struct ExchangePair {
    std::string command;  ///< canonical upper-case name, "CLIENT ID" with its subcommand
    std::string request;  ///< the request's frame
    std::string left;     ///< the authority's reply
    std::string right;    ///< the other side's reply, or the authority's second one for A/A
    int database = 0;
    int left_protocol = 2;  ///< family-specific protocol version of each reply (RESP 2/3)
    int right_protocol = 2;
    bool aa = false;      ///< both answers are from the authority: this measures noise
    int64_t sent_us = 0;  ///< wall time when the request was sent to the authority
    int64_t left_us = 0;  ///< wall time of each answer
    int64_t right_us = 0;
};

/// What the brain may do. Calls never re-enter the brain; results come as later events of the same
/// thread.
class WorkerIo {
  public:
    virtual ~WorkerIo() = default;

    /// Starts connecting (TLS included if the endpoint has it). on_connected or on_closed follows
    /// later.
    virtual ConnId dial(Side side) = 0;
    /// Queues bytes; copied before return, written at the end of the turn (clients first, then
    /// source, then target).
    virtual void send(ConnId conn, std::string_view bytes) = 0;
    /// Bytes queued and not yet taken by the kernel.
    [[nodiscard]] virtual std::size_t unsent_bytes(ConnId conn) const = 0;
    /// Stops and resumes reading from a peer: backpressure. on_drained says when unsent fell below
    /// kLowWater_bytes.
    virtual void set_reading(ConnId conn, bool on) = 0;
    /// Upgrades a plain connection to TLS at this point of the byte stream (PostgreSQL's
    /// SSLRequest).
    virtual void start_tls(ConnId conn) = 0;
    /// on_closed follows with CloseReason::local, unless the connection is already gone.
    virtual void close(ConnId conn, CloseMode mode) = 0;
    virtual TimerId arm_timer(int64_t delay_us) = 0;
    virtual void cancel_timer(TimerId timer) = 0;
    /// Time of this loop turn, read once per turn: steady for measuring, wall for timestamps.
    /// Microseconds.
    [[nodiscard]] virtual int64_t now_us() const = 0;
    [[nodiscard]] virtual int64_t wall_now_us() const = 0;
    /// Hands a pair with unequal digests to the comparator thread; false when its queue is full
    /// (drop and count).
    virtual bool compare(ExchangePair&& pair) = 0;
};

/// How far a worker is from standing still; what C2 of the cutover asks.
struct Quiescence {
    uint64_t epoch =
        0;  ///< the route every session of this worker follows (or will at its boundary)
    uint64_t writes_in_flight = 0;  ///< writes sent to a server and not yet answered, of any epoch
    uint64_t held = 0;              ///< requests waiting for the end of the hold
    std::string blocker;  ///< what the oldest unanswered write is, for the operator; empty at 0
};

class ProtocolWorker {
  public:
    virtual ~ProtocolWorker() = default;

    virtual void on_accept(ConnId client, const ClientInfo& info) = 0;
    virtual void on_connected(ConnId backend) = 0;
    /// Bytes are valid during the call only.
    virtual void on_bytes(ConnId conn, std::string_view bytes) = 0;
    /// Unsent bytes of this connection fell below kLowWater_bytes after having been above
    /// kHighWater_bytes.
    virtual void on_drained(ConnId conn) = 0;
    virtual void on_closed(ConnId conn, CloseReason reason) = 0;
    /// A client sends no more but may still read. False: close it now (on_closed follows); true:
    /// the brain closes it when it has its answers. Reading has ended.
    virtual bool on_half_closed(ConnId conn) {
        static_cast<void>(conn);
        return false;
    }
    virtual void on_timer(TimerId timer) = 0;
    /// All readable connections of this loop turn were delivered; the last chance to batch before
    /// the flush.
    virtual void on_turn_end() = 0;

    /// A new route. Never called with an older epoch than before.
    virtual void adopt(const Route& route) = 0;
    [[nodiscard]] virtual Quiescence quiescence() const = 0;
    /// Ends sessions at their next boundary; no new ones come. True when none is left (then it is
    /// not called again).
    virtual bool drain() = 0;
    /// Adds what this worker has counted since its start to `stats`.
    virtual void collect(TrafficStats& stats) const = 0;
    /// Sets a live knob; false when this family does not know it. "observe": observations begin
    /// anew, or end.
    virtual bool set_knob(std::string_view name, std::string_view value) = 0;
};

}  // namespace exodus
