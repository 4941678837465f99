// A tap on captured packets: an interface or a capture file, TCP put together again, each
// connection's bytes to a TapSession. Knows no protocol. One thread opens, runs and collects;
// request_stop of the token may come from another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "core/family.h"

namespace exodus {

struct PcapTapOptions {
    std::string interface;  ///< to capture on, or
    std::string file;       ///< a capture file (pcap or pcapng); exactly one of both
    std::string
        server_host;  ///< only this address of the server; empty: any. An IP address, not a name
    uint16_t server_port = 0;
};

/// What was seen and what was lost.
struct CaptureCounts {
    uint64_t packets = 0;            ///< that passed the filter
    uint64_t bytes = 0;              ///< captured, with headers
    uint64_t dropped_kernel = 0;     ///< by the kernel, because we were too slow
    uint64_t dropped_interface = 0;  ///< by the interface or its driver
    uint64_t truncated = 0;          ///< packets cut by the snapshot length of the capture
    uint64_t unreadable = 0;         ///< packets that are no IP/TCP
    uint64_t gaps = 0;               ///< holes in connections that were never filled
    uint64_t connections = 0;
    uint64_t connections_refused = 0;  ///< beyond kTapSessions_max at a time
    bool ended = false;                ///< the file was read to its end
    /// Share of packets lost, 0 … 1; more than 0.001 makes what was seen inconclusive (redis.md
    /// 10).
    [[nodiscard]] double loss() const;
};

class PcapTap {
  public:
    using MakeSession = std::function<std::unique_ptr<TapSession>()>;

    /// Errors: no_input (file not there), data (no capture file, or of a link type that is not
    /// understood), permission (the hint names the capability), unreachable (no such interface),
    /// usage (neither or both of interface and file).
    static Result<std::unique_ptr<PcapTap>> open(const PcapTapOptions& options,
                                                 MakeSession make_session);
    ~PcapTap();
    PcapTap(const PcapTap&) = delete;
    PcapTap& operator=(const PcapTap&) = delete;

    /// Reads packets until the file ends, `span` is over or a stop is requested; may be called
    /// again to go on. Error `data` when the file is corrupted or cut (what was read before
    /// counts), `io` when the interface goes away.
    Result<CaptureCounts> run(const std::stop_token& stop, milliseconds span);
    [[nodiscard]] CaptureCounts counts() const;
    /// Adds the observations of all connections, open and closed.
    void collect(TrafficStats& stats) const;

  private:
    class Impl;
    explicit PcapTap(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace exodus
