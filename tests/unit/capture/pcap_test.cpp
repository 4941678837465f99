// The packet tap: generated captures with reordering, retransmission, loss and several link types;
// broken files; live on lo.
#include <doctest/doctest.h>
#include <pcap/pcap.h>
#include <thread>
#include <tins/tins.h>

#include "capture/pcap_tap.h"
#include "families/redis/tap_session.h"
#include "tests/support/process.h"
#include "tests/support/redis_server.h"
#include "wire/resp/writer.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr uint16_t kServer = 6379;

/// Writes one TCP conversation packet by packet.
class Conversation {
  public:
    Conversation(Tins::PacketWriter& writer, uint16_t client_port, bool handshake = true)
        : writer_(writer), port_(client_port) {
        if (!handshake) return;
        packet(true, Tins::TCP::SYN, "");
        ++client_seq_;
        packet(false, Tins::TCP::SYN | Tins::TCP::ACK, "");
        ++server_seq_;
        packet(true, Tins::TCP::ACK, "");
    }
    void client(const std::string& bytes) { send(true, bytes, true); }
    void server(const std::string& bytes) { send(false, bytes, true); }
    /// Counts in the sequence numbers, is not in the capture.
    void lose_client(const std::string& bytes) { send(true, bytes, false); }
    /// The second half arrives before the first, the first twice.
    void client_reordered(const std::string& bytes) {
        const std::string first = bytes.substr(0, bytes.size() / 2),
                          second = bytes.substr(bytes.size() / 2);
        client_seq_ += static_cast<uint32_t>(first.size());
        packet(true, Tins::TCP::PSH | Tins::TCP::ACK, second);
        client_seq_ -= static_cast<uint32_t>(first.size());
        packet(true, Tins::TCP::PSH | Tins::TCP::ACK, first);
        packet(true, Tins::TCP::PSH | Tins::TCP::ACK, first);
        client_seq_ += static_cast<uint32_t>(bytes.size());
    }
    void close() {
        packet(true, Tins::TCP::FIN | Tins::TCP::ACK, "");
        packet(false, Tins::TCP::FIN | Tins::TCP::ACK, "");
    }

  private:
    void send(bool client, const std::string& bytes, bool captured) {
        if (captured) packet(client, Tins::TCP::PSH | Tins::TCP::ACK, bytes);
        (client ? client_seq_ : server_seq_) += static_cast<uint32_t>(bytes.size());
    }
    void packet(bool client, int flags, const std::string& bytes) {
        Tins::EthernetII frame =
            Tins::EthernetII("00:00:00:00:00:02", "00:00:00:00:00:01") /
            (client ? Tins::IP("10.0.0.1", "10.0.0.2") : Tins::IP("10.0.0.2", "10.0.0.1")) /
            (client ? Tins::TCP(kServer, port_) : Tins::TCP(port_, kServer)) / Tins::RawPDU(bytes);
        Tins::TCP& tcp = frame.rfind_pdu<Tins::TCP>();
        if (bytes.empty()) tcp.inner_pdu(nullptr);
        tcp.flags(static_cast<uint16_t>(flags));
        tcp.seq(client ? client_seq_ : server_seq_);
        tcp.ack_seq(client ? server_seq_ : client_seq_);
        timeval time{1'700'000'000, static_cast<int>(packets_++ * 100 % 1'000'000)};
        Tins::Packet packet(frame, Tins::Timestamp(time));
        writer_.write(packet);
    }

    Tins::PacketWriter& writer_;
    uint16_t port_;
    uint32_t client_seq_ = 1'000;
    uint32_t server_seq_ = 4'294'967'200U;  // wraps soon
    int64_t packets_ = 0;
};

std::string get(const std::string& key) {
    std::string bytes;
    resp::append_command(bytes, "GET", key);
    return bytes;
}

Result<CaptureCounts> read(const std::string& path, TrafficStats& stats, uint16_t port = kServer) {
    PcapTapOptions options;
    options.file = path;
    options.server_port = port;
    auto tap = PcapTap::open(options, redis::make_redis_tap_session);
    if (!tap) return tl::unexpected(tap.error());
    auto counts = (*tap)->run({}, milliseconds(20'000));
    (*tap)->collect(stats);
    return counts;
}

}  // namespace

TEST_CASE("a captured conversation is put together") {
    const TempDir directory;
    const std::string path = directory.file("a.pcap");
    {
        Tins::PacketWriter writer(path, Tins::DataLinkType<Tins::EthernetII>());
        Conversation one(writer, 40'001), two(writer, 40'002);
        for (int i = 0; i < 20; ++i) {
            one.client(get("user:" + std::to_string(i)));
            two.client_reordered(get("k") + get("kk"));
            one.server("$3\r\nabc\r\n");
            two.server("$-1\r\n");
            two.server("-WRONGTYPE x\r\n");
        }
        two.close();
        Conversation other(writer, 6'000);
        other.client("unrelated");
    }
    TrafficStats stats;
    const auto counts = read(path, stats);
    REQUIRE(counts.has_value());
    CHECK(counts->ended);
    CHECK(counts->gaps == 0);
    CHECK(counts->loss() == 0);
    CHECK(counts->connections == 3);
    CHECK(stats.clients_total == 3);
    CHECK(stats.commands["GET"].requests == 60);
    CHECK(stats.commands["GET"].errors == 20);
    CHECK(stats.commands["GET"].latency_us.count() == 60);
    CHECK(stats.commands["GET"].latency_us.max() < 1'000);
    CHECK(stats.observations.contains("redis.profile"));
    // Another port: nothing.
    TrafficStats none;
    const auto nothing = read(path, none, 7'777);
    REQUIRE(nothing.has_value());
    CHECK(nothing->packets == 0);
    CHECK(none.commands.empty());
}

TEST_CASE("connections that were open before the capture") {
    const TempDir directory;
    const std::string path = directory.file("a.pcap");
    {
        Tins::PacketWriter writer(path, Tins::DataLinkType<Tins::EthernetII>());
        Conversation asked(writer, 40'001, false), answered(writer, 40'002, false);
        answered.server(
            "$3\r\nabc\r\n");  // the answer to a request that was not captured comes first
        for (int i = 0; i < 10; ++i) {
            for (Conversation* c : {&asked, &answered}) {
                c->client(get("k"));
                c->server("$1\r\nx\r\n");
            }
        }
    }
    TrafficStats stats;
    const auto counts = read(path, stats);
    REQUIRE(counts.has_value());
    CHECK(counts->connections == 2);
    CHECK(stats.commands["GET"].requests >= 18);
    CHECK(stats.commands["GET"].latency_us.count() >= 18);
    CHECK(stats.protocol_errors.empty());
}

TEST_CASE("lost packets are counted and survived") {
    const TempDir directory;
    const std::string path = directory.file("a.pcap");
    {
        Tins::PacketWriter writer(path, Tins::DataLinkType<Tins::EthernetII>());
        Conversation one(writer, 40'001);
        one.client(get("k"));
        one.server("$1\r\nx\r\n");
        one.lose_client(get("lost"));
        one.server("$1\r\nx\r\n");
        for (int i = 0; i < 3'000; ++i) {
            one.client(get("k"));
            one.server("$1\r\nx\r\n");
        }
    }
    TrafficStats stats;
    const auto counts = read(path, stats);
    REQUIRE(counts.has_value());
    CHECK(counts->gaps >= 1);
    CHECK(counts->loss() > 0);
    CHECK(stats.counters["redis.tap.gaps"] >= 1);
    CHECK(stats.commands["GET"].requests > 1'500);
}

TEST_CASE("files that are no capture") {
    const TempDir directory;
    TrafficStats stats;
    CHECK(read(directory.file("none"), stats).error().code == ErrorCode::no_input);
    write_file(directory.file("text"), "this is not a capture file at all, is it?");
    CHECK(read(directory.file("text"), stats).error().code == ErrorCode::data);
    write_file(directory.file("empty"), "");
    CHECK(read(directory.file("empty"), stats).error().code == ErrorCode::data);

    const std::string path = directory.file("a.pcap");
    {
        Tins::PacketWriter writer(path, Tins::DataLinkType<Tins::EthernetII>());
        Conversation one(writer, 40'001);
        for (int i = 0; i < 10; ++i) one.client(get("k"));
    }
    const std::string good = read_file(path);
    write_file(path, good.substr(0, good.size() - 7));
    const auto cut = read(path, stats);
    REQUIRE(!cut.has_value());
    CHECK(cut.error().code == ErrorCode::data);
    CHECK(cut.error().message.find("after 12 packets") != std::string::npos);
    // What was readable counts.
    CHECK(stats.commands["GET"].requests == 9);
    // A length field that cannot be.
    std::string bad = good;
    bad.replace(24 + 8, 4, "\xff\xff\xff\x7f");
    write_file(path, bad);
    TrafficStats none;
    CHECK(read(path, none).error().code == ErrorCode::data);
    // Garbage in place of packets' content: an error or unreadable packets, never a crash.
    for (std::size_t at = 40; at < good.size(); at += 3) {
        bad = good;
        bad[at] = static_cast<char>(bad[at] ^ 0x5a);
        write_file(path, bad);
        TrafficStats ignored;
        (void)read(path, ignored);
    }
}

TEST_CASE("options are checked") {
    PcapTapOptions options;
    options.server_port = kServer;
    CHECK(PcapTap::open(options, redis::make_redis_tap_session).error().code == ErrorCode::usage);
    options.interface = "no-such-interface0";
    const auto missing = PcapTap::open(options, redis::make_redis_tap_session);
    REQUIRE(!missing.has_value());
    CHECK((missing.error().code == ErrorCode::unreachable ||
           missing.error().code == ErrorCode::permission));
    options.interface = "lo";
    options.server_host = "evil or port 22";
    const auto host = PcapTap::open(options, redis::make_redis_tap_session);
    REQUIRE(!host.has_value());
    CHECK((host.error().code == ErrorCode::usage || host.error().code == ErrorCode::permission));
}

TEST_CASE("live on the loopback interface") {
    RedisServer server;
    PcapTapOptions options;
    options.interface = "lo";
    options.server_port = static_cast<uint16_t>(server.port());
    auto tap = PcapTap::open(options, redis::make_redis_tap_session);
    if (!tap) {
        MESSAGE("no right to capture here: " << tap.error().message);
        CHECK(tap.error().code == ErrorCode::permission);
        CHECK(!tap.error().hint.empty());
        return;
    }
    std::thread load([&] {
        const ContextPtr context = server.connect();
        for (int i = 0; i < 500; ++i)
            send_command(context.get(), {"SET", "live:" + std::to_string(i), "v"});
    });
    TrafficStats stats;
    const bool seen = eventually(milliseconds(10'000), [&] {
        const auto counts = (*tap)->run({}, milliseconds(50));
        REQUIRE(counts.has_value());
        stats = {};
        (*tap)->collect(stats);
        return stats.commands["SET"].latency_us.count() == 500;
    });
    load.join();
    CHECK(seen);
    CHECK(stats.commands["SET"].requests == 500);
}
