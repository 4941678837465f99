#include "cli/tap.h"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <map>

#include "base/limits.h"
#include "capture/pcap_tap.h"

namespace exodus::cli {

namespace {

/// The times between which requests were seen.
struct Span {
    int64_t first_us = 0;
    int64_t last_us = 0;
    void note(int64_t wall_us) {
        if (first_us == 0 || wall_us < first_us) first_us = wall_us;
        last_us = std::max(last_us, wall_us);
    }
    [[nodiscard]] int64_t ms() const { return (last_us - first_us) / 1000; }
};

/// A session that also notes when it was fed.
class TimedSession final : public TapSession {
  public:
    TimedSession(std::unique_ptr<TapSession> inner, Span& span)
        : inner_(std::move(inner)), span_(span) {}
    void on_client_bytes(std::string_view bytes, int64_t wall_us) override {
        span_.note(wall_us);
        inner_->on_client_bytes(bytes, wall_us);
    }
    void on_server_bytes(std::string_view bytes, int64_t wall_us) override {
        inner_->on_server_bytes(bytes, wall_us);
    }
    void on_gap() override { inner_->on_gap(); }
    void collect(TrafficStats& stats) const override { inner_->collect(stats); }

  private:
    std::unique_ptr<TapSession> inner_;
    Span& span_;
};

/// Packets of an interface or of a capture file.
class PacketTap final : public TapSource {
  public:
    PacketTap(std::string interface, std::string file, uint16_t port)
        : options_{.interface = std::move(interface),
                   .file = std::move(file),
                   .server_host = {},
                   .server_port = port} {}

    [[nodiscard]] std::string describe() const override {
        return options_.file.empty()
                   ? fmt::format("packets on {}, port {}", options_.interface, options_.server_port)
                   : fmt::format("packets of {}, port {}", options_.file, options_.server_port);
    }

    Result<TapReport> run(const std::function<std::unique_ptr<TapSession>()>& make,
                          milliseconds duration, const std::stop_token& stop,
                          TrafficStats& stats) override {
        Span span;
        auto tap =
            PcapTap::open(options_, [&] { return std::make_unique<TimedSession>(make(), span); });
        if (!tap) return tl::unexpected(std::move(tap.error()));
        auto counts = (*tap)->run(stop, duration);
        (*tap)->collect(stats);
        if (!counts) return tl::unexpected(std::move(counts.error()));
        TapReport report;
        report.span_ms = span.ms();
        report.connections = counts->connections;
        report.packets = counts->packets;
        report.bytes = counts->bytes;
        report.lost = counts->dropped_kernel + counts->dropped_interface + counts->truncated +
                      counts->gaps + counts->connections_refused;
        report.loss = counts->loss();
        uint64_t requests = 0;
        for (const auto& [name, command] : stats.commands) requests += command.requests;
        // Payload was there and nothing of it was this protocol: TLS, or another port's traffic.
        report.unreadable = report.connections > 0 && requests == 0;
        return report;
    }

  private:
    PcapTapOptions options_;
};

/// The family's own log: asked from the source itself, or a file of it. It shows requests and no
/// replies.
class LogTap final : public TapSource {
  public:
    LogTap(Family& family, FamilyContext context, std::string file)
        : family_(family), context_(std::move(context)), file_(std::move(file)) {}

    [[nodiscard]] std::string describe() const override {
        return file_.empty()
                   ? fmt::format("requests as {} reports them", context_.settings.source.address())
                   : fmt::format("the log {}", file_);
    }

    Result<TapReport> run(const std::function<std::unique_ptr<TapSession>()>& make,
                          milliseconds duration, const std::stop_token& stop,
                          TrafficStats& stats) override {
        TapReport report;
        Span span;
        std::map<std::string, std::unique_ptr<TapSession>> sessions;
        auto unread = family_.read_log(
            context_, file_, duration, stop,
            [&](const std::string& client, std::string_view frame, int64_t wall_us) {
                auto found = sessions.find(client);
                if (found == sessions.end()) {
                    if (sessions.size() >= limits::kTapSessions_max) {
                        ++report.lost;
                        return;
                    }
                    found = sessions.emplace(client, make()).first;
                }
                ++report.packets;
                report.bytes += frame.size();
                span.note(wall_us);
                found->second->on_client_bytes(frame, wall_us);
            });
        for (const auto& [client, session] : sessions) session->collect(stats);
        if (!unread) return tl::unexpected(std::move(unread.error()));
        report.span_ms = span.ms();
        report.connections = sessions.size();
        report.lost += *unread;
        if (report.lost > 0)
            report.loss = static_cast<double>(report.lost) /
                          static_cast<double>(report.packets + report.lost);
        report.unreadable = report.packets == 0 && *unread > 0;
        return report;
    }

  private:
    Family& family_;
    FamilyContext context_;
    std::string file_;
};

}  // namespace

Result<std::unique_ptr<TapSource>> make_capture(const std::string& file, const Workspace& space) {
    std::ifstream in(file, std::ios::binary);
    if (!in) return fail(ErrorCode::no_input, file + ": cannot be read");
    // What analyze --capture writes begins with a comment, packets with a magic number.
    const int first = in.get();
    if (first != '#' && first != '@') return make_tap("pcap-file:" + file, space, false);
    FamilyContext context{space.settings, *space.dialer, *space.journal, space.directory};
    return std::make_unique<LogTap>(*space.family, std::move(context), file);
}

Result<std::unique_ptr<TapSource>> make_tap(const std::string& kind, const Workspace& space,
                                            bool accept_monitor_cost) {
    const auto colon = kind.find(':');
    const std::string name = kind.substr(0, colon);
    const std::string rest = colon == std::string::npos ? "" : kind.substr(colon + 1);
    const Endpoint& source = space.settings.source;
    if ((name == "pcap" || name == "pcap-file") && !rest.empty()) {
        if (!source.unix_path.empty()) {
            return fail(ErrorCode::config, "a source on a Unix socket sends no packets",
                        "leave --tap out and use --ack tap --reason TEXT");
        }
        if (name == "pcap-file") return std::make_unique<PacketTap>("", rest, source.port);
        return std::make_unique<PacketTap>(rest, "", source.port);
    }
    if ((name == "monitor" && rest.empty()) || (name == "log" && !rest.empty())) {
        if (name == "monitor" && !accept_monitor_cost) {
            return fail(ErrorCode::usage,
                        "the source reports its requests at a cost: it may lose a quarter to three "
                        "quarters of its "
                        "throughput meanwhile",
                        "add --accept-monitor-cost and a short --duration, or use --tap "
                        "pcap:IFACE, which costs the source nothing");
        }
        FamilyContext context{space.settings, *space.dialer, *space.journal, space.directory};
        return std::make_unique<LogTap>(*space.family, std::move(context), rest);
    }
    return fail(ErrorCode::usage, fmt::format("'{}' is not a kind of tap", printable(kind)),
                "write pcap:IFACE, pcap-file:FILE, monitor or log:FILE");
}

}  // namespace exodus::cli
