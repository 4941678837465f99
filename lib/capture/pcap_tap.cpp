// libpcap reads packets, libtins takes them apart and puts TCP streams together.
#include "capture/pcap_tap.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <pcap/pcap.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <tins/loopback.h>
#include <tins/tcp_ip/stream_follower.h>
#include <tins/tins.h>

#include "base/limits.h"

namespace exodus {

namespace {

constexpr int kSnapshot_bytes =
    262'144;  // tcpdump's own default: whole packets even with segmentation offload
constexpr int kKernelBuffer_bytes = 32 * 1024 * 1024;
constexpr int kReadTimeout_ms = 100;

using PcapPtr = std::unique_ptr<pcap_t, void (*)(pcap_t*)>;
using Tins::TCPIP::Stream;
using Tins::TCPIP::StreamFollower;
using Tins::TCPIP::StreamIdentifier;

Result<PcapPtr> open_file(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        if (errno == ENOENT)
            return fail(ErrorCode::no_input, "capture file " + path + " is not there");
        return fail_errno("capture file " + path, errno);
    }
    char text[PCAP_ERRBUF_SIZE] = {};
    PcapPtr handle(pcap_open_offline(path.c_str(), text), pcap_close);
    if (!handle) {
        if (errno == EACCES) return fail_errno("capture file " + path, errno);
        return fail(ErrorCode::data, "capture file " + path + " cannot be read: " + text,
                    "expected a file written by tcpdump -w or dumpcap");
    }
    return handle;
}

Result<PcapPtr> open_interface(const std::string& name) {
    char text[PCAP_ERRBUF_SIZE] = {};
    PcapPtr handle(pcap_create(name.c_str(), text), pcap_close);
    if (!handle) return fail(ErrorCode::unreachable, "interface " + name + ": " + text);
    pcap_set_snaplen(handle.get(), kSnapshot_bytes);
    pcap_set_promisc(handle.get(), 0);
    pcap_set_timeout(handle.get(), kReadTimeout_ms);
    pcap_set_buffer_size(handle.get(), kKernelBuffer_bytes);
    const int code = pcap_activate(handle.get());
    if (code >= 0) {
        // Polling, so that a quiet interface cannot hold back a stop request.
        if (pcap_setnonblock(handle.get(), 1, text) != 0)
            return fail(ErrorCode::io, "interface " + name + ": " + text);
        return handle;
    }
    const std::string why = pcap_geterr(handle.get());
    if (code == PCAP_ERROR_PERM_DENIED || code == PCAP_ERROR_PROMISC_PERM_DENIED) {
        return fail(
            ErrorCode::permission, "no right to capture on " + name + ": " + why,
            "run as root or give the right: setcap cap_net_raw,cap_net_admin+ep /path/to/exodus");
    }
    return fail(ErrorCode::unreachable, "interface " + name + " cannot be captured: " +
                                            (why.empty() ? pcap_statustostr(code) : why));
}

std::unique_ptr<Tins::PDU> parse_link(int link, const uint8_t* bytes, uint32_t size) {
    switch (link) {
        case DLT_EN10MB:
            return std::make_unique<Tins::EthernetII>(bytes, size);
        case DLT_LINUX_SLL:
            return std::make_unique<Tins::SLL>(bytes, size);
        case DLT_NULL:
        case DLT_LOOP:
            return std::make_unique<Tins::Loopback>(bytes, size);
        case DLT_RAW:
            if (size == 0) return nullptr;
            if (bytes[0] >> 4 == 6) return std::make_unique<Tins::IPv6>(bytes, size);
            return std::make_unique<Tins::IP>(bytes, size);
        default:
            return nullptr;
    }
}

bool link_known(int link) {
    return link == DLT_EN10MB || link == DLT_LINUX_SLL || link == DLT_NULL || link == DLT_LOOP ||
           link == DLT_RAW;
}

}  // namespace

double CaptureCounts::loss() const {
    const uint64_t lost = dropped_kernel + dropped_interface + truncated + gaps;
    return packets + lost == 0 ? 0.0
                               : static_cast<double>(lost) / static_cast<double>(packets + lost);
}

class PcapTap::Impl {
  public:
    Impl(PcapPtr handle, bool live, const PcapTapOptions& options, MakeSession make_session)
        : handle_(std::move(handle)),
          live_(live),
          link_(pcap_datalink(handle_.get())),
          port_(options.server_port),
          what_(live ? "interface " + options.interface : "capture file " + options.file),
          make_session_(std::move(make_session)) {
        follower_.follow_partial_streams(true);
        follower_.new_stream_callback([this](Stream& stream) { on_stream(stream); });
        follower_.stream_termination_callback(
            [this](Stream& stream, StreamFollower::TerminationReason reason) {
                on_terminated(stream, reason);
            });
    }

    Result<CaptureCounts> run(const std::stop_token& stop, milliseconds span) {
        const Deadline deadline = Deadline::in(span);
        for (uint64_t n = 0;; ++n) {
            if ((n & 63) == 0 && (deadline.passed() || stop.stop_requested())) return counts();
            pcap_pkthdr* header = nullptr;
            const u_char* bytes = nullptr;
            const int code = pcap_next_ex(handle_.get(), &header, &bytes);
            if (code == 1) {
                on_packet(*header, bytes);
            } else if (code == PCAP_ERROR_BREAK) {
                counts_.ended = true;
                return counts();
            } else if (code == 0) {
                if (!live_) continue;
                if (deadline.passed() || stop.stop_requested()) return counts();
                wait_for_packets(std::min(deadline.left(), milliseconds(kReadTimeout_ms)));
            } else {
                return fail(live_ ? ErrorCode::io : ErrorCode::data,
                            what_ +
                                (live_ ? ": "
                                       : " is corrupted or cut after " +
                                             std::to_string(counts_.packets) + " packets: ") +
                                pcap_geterr(handle_.get()));
            }
        }
    }

    CaptureCounts counts() const {
        CaptureCounts now = counts_;
        pcap_stat stats{};
        if (live_ && pcap_stats(handle_.get(), &stats) == 0) {
            now.dropped_kernel = stats.ps_drop;
            now.dropped_interface = stats.ps_ifdrop;
        }
        return now;
    }

    void collect(TrafficStats& stats) const {
        TrafficStats sum = closed_;
        for (const auto& [id, session] : sessions_) session->collect(sum);
        sum.clients_now = sessions_.size();
        stats.merge(sum);
    }

  private:
    void wait_for_packets(milliseconds span) {
        const int descriptor = pcap_get_selectable_fd(handle_.get());
        if (descriptor < 0) return;
        fd_set set;
        FD_ZERO(&set);
        FD_SET(descriptor, &set);
        timeval wait{span.count() / 1000, (span.count() % 1000) * 1000};
        ::select(descriptor + 1, &set, nullptr, nullptr, &wait);
    }

    void on_packet(const pcap_pkthdr& header, const u_char* bytes) {
        ++counts_.packets;
        counts_.bytes += header.caplen;
        if (header.caplen < header.len) ++counts_.truncated;
        now_us_ = static_cast<int64_t>(header.ts.tv_sec) * 1'000'000 + header.ts.tv_usec;
        try {  // libtins throws on malformed packets; none of it leaves this file
            std::unique_ptr<Tins::PDU> pdu = parse_link(link_, bytes, header.caplen);
            if (!pdu || pdu->find_pdu<Tins::TCP>() == nullptr) {
                ++counts_.unreadable;
                return;
            }
            Tins::Packet packet(pdu.release(), header.ts, Tins::Packet::own_pdu());
            follower_.process_packet(packet);
        } catch (const std::exception&) {
            ++counts_.unreadable;
        }
    }

    void on_stream(Stream& stream) {
        const StreamIdentifier id = StreamIdentifier::make_identifier(stream);
        const auto known = sessions_.find(id);
        if (known == sessions_.end()) {
            if (sessions_.size() >= limits::kTapSessions_max) {
                ++counts_.connections_refused;
                stream.ignore_client_data();
                stream.ignore_server_data();
                return;
            }
            ++counts_.connections;
            TapSession& session = *sessions_.emplace(id, make_session_()).first->second;
            // Seen from its middle: whatever comes first may be half of something.
            if (stream.is_partial_stream()) session.on_gap();
        } else if (!stream.is_partial_stream()) {
            close(known->first);  // the same ports again: a new connection
            ++counts_.connections;
            sessions_.emplace(id, make_session_());
        }
        // A stream that is joined in its middle calls the sender of its first packet the client.
        const bool swapped = stream.server_port() != port_ && stream.client_port() == port_;
        stream.client_data_callback(
            [this, swapped, id](Stream& s) { on_data(id, s.client_payload(), !swapped); });
        stream.server_data_callback(
            [this, swapped, id](Stream& s) { on_data(id, s.server_payload(), swapped); });
        stream.stream_closed_callback([this, id](Stream&) { close(id); });
    }

    void on_data(const StreamIdentifier& id, const Stream::payload_type& payload,
                 bool from_client) {
        const auto found = sessions_.find(id);
        if (found == sessions_.end() || payload.empty()) return;
        const std::string_view bytes(reinterpret_cast<const char*>(payload.data()), payload.size());
        if (from_client) {
            found->second->on_client_bytes(bytes, now_us_);
        } else {
            found->second->on_server_bytes(bytes, now_us_);
        }
    }

    void on_terminated(Stream& stream, StreamFollower::TerminationReason reason) {
        const StreamIdentifier id = StreamIdentifier::make_identifier(stream);
        if (reason == StreamFollower::TIMEOUT) {
            close(id);
            return;
        }
        // A hole that no packet fills any more. The follower joins again with the next packet; the
        // session stays.
        ++counts_.gaps;
        if (const auto found = sessions_.find(id); found != sessions_.end())
            found->second->on_gap();
    }

    void close(const StreamIdentifier id) {
        const auto found = sessions_.find(id);
        if (found == sessions_.end()) return;
        found->second->collect(closed_);
        sessions_.erase(found);
    }

    PcapPtr handle_;
    bool live_;
    int link_;
    uint16_t port_;
    std::string what_;
    MakeSession make_session_;
    StreamFollower follower_;
    std::map<StreamIdentifier, std::unique_ptr<TapSession>> sessions_;
    TrafficStats closed_;
    CaptureCounts counts_;
    int64_t now_us_ = 0;
};

PcapTap::PcapTap(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PcapTap::~PcapTap() = default;
Result<CaptureCounts> PcapTap::run(const std::stop_token& stop, milliseconds span) {
    return impl_->run(stop, span);
}
CaptureCounts PcapTap::counts() const { return impl_->counts(); }
void PcapTap::collect(TrafficStats& stats) const { impl_->collect(stats); }

Result<std::unique_ptr<PcapTap>> PcapTap::open(const PcapTapOptions& options,
                                               MakeSession make_session) {
    if (options.interface.empty() == options.file.empty()) {
        return fail(ErrorCode::usage, "a capture needs either an interface or a file");
    }
    if (options.server_port == 0)
        return fail(ErrorCode::usage, "a capture needs the server's port");
    const bool live = options.file.empty();
    Result<PcapPtr> handle = live ? open_interface(options.interface) : open_file(options.file);
    if (!handle) return tl::unexpected(handle.error());
    const int link = pcap_datalink(handle->get());
    if (!link_known(link)) {
        const char* name = pcap_datalink_val_to_name(link);
        return fail(
            ErrorCode::data,
            std::string("link type ") + (name == nullptr ? "unknown" : name) + " is not understood",
            "capture on one interface instead of \"any\"");
    }
    std::string filter = "tcp port " + std::to_string(options.server_port);
    if (!options.server_host.empty()) {
        if (options.server_host.find_first_not_of("0123456789abcdefABCDEF.:") !=
            std::string::npos) {
            return fail(ErrorCode::usage,
                        "the server's address in a capture filter must be an IP address: " +
                            options.server_host);
        }
        filter += " and host " + options.server_host;
    }
    bpf_program program{};
    if (pcap_compile(handle->get(), &program, filter.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0) {
        return fail(ErrorCode::internal,
                    "capture filter \"" + filter + "\": " + pcap_geterr(handle->get()));
    }
    const int installed = pcap_setfilter(handle->get(), &program);
    pcap_freecode(&program);
    if (installed != 0)
        return fail(ErrorCode::io, std::string("capture filter: ") + pcap_geterr(handle->get()));
    return std::unique_ptr<PcapTap>(new PcapTap(
        std::make_unique<Impl>(std::move(*handle), live, options, std::move(make_session))));
}

}  // namespace exodus
