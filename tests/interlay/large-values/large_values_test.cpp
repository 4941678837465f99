// Hazard: values as large as a server takes (512 MiB), and pipelines 10,000 deep. The interlay must
// pass them on as they come, in order, with its own memory bounded however slow either end is.
#include <algorithm>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>

#include "tests/support/raw_client.h"
#include "tests/support/rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr std::size_t kLarge = std::size_t{512} << 20;
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr int64_t kRoom_bytes = int64_t{32} << 20;  // 7 MB were observed

/// Sends and reads in pieces, so that the test itself keeps no large value either.
struct Client : RawClient {
    explicit Client(int port) : RawClient(port, milliseconds(120'000)) {
        send(fmt::format("AUTH {} {}\r\n", Rig::kUser, Rig::kPassword));
        REQUIRE(line() == "+OK");
    }
    /// The next `size` bytes must be those of `pattern`, over and over.
    bool body_is(std::size_t size, std::string_view pattern) {
        for (std::size_t at = 0; at < size;) {
            const std::size_t offset = at % pattern.size();
            const std::string piece = take(std::min(size - at, pattern.size() - offset));
            if (pattern.substr(offset, piece.size()) != piece) return false;
            at += piece.size();
        }
        return true;
    }
};

std::string pattern() {
    std::string out(kPiece, '\0');
    uint32_t state = 12345;
    for (char& c : out) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
    return out;
}

/// Bytes of resident memory that the process had at most until now.
int64_t peak_bytes(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
    }
    throw std::runtime_error("no VmHWM");
}

#ifdef EXODUS_SANITIZED
constexpr bool kSanitized = true;  // sanitizers keep what was freed
#else
constexpr bool kSanitized = false;
#endif

void check_peak(Rig& rig, int64_t before) {
    const int64_t grown = peak_bytes(rig.interlay_pid()) - before;
    CAPTURE(grown);
    CHECK((kSanitized || grown < kRoom_bytes));
}

void send_set(Client& client, const std::string& key, const std::string& piece) {
    client.send(fmt::format("*3\r\n$3\r\nSET\r\n${}\r\n{}\r\n${}\r\n", key.size(), key, kLarge));
    for (std::size_t at = 0; at < kLarge; at += piece.size()) client.send(piece);
    client.send("\r\n");
}

RigOptions rig_options(std::string_view sharing) {
    RigOptions options;
    options.config = {{"redis", fmt::format("\"interlay.sharing\" = \"{}\"", sharing)}};
    // What the servers allow a client that asks for 512 MiB twice.
    options.source_config = {"client-query-buffer-limit 2gb"};
    return options;
}

}  // namespace

TEST_CASE("a value of 512 MiB streams through in both directions, also inside MULTI") {
    for (const std::string_view sharing : {"on", "off"}) {
        CAPTURE(sharing);
        Rig rig(rig_options(sharing));
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        const std::string piece = pattern();
        Client client(rig.port());
        Client other(rig.port());
        other.send("PING\r\n");
        REQUIRE(other.line() == "+PONG");
        const int64_t before = peak_bytes(rig.interlay_pid());

        client.send("SET small 1\r\n");
        send_set(client, "large", piece);
        client.send("INCR small\r\nGET large\r\nINCR small\r\n");
        CHECK(client.line() == "+OK");
        CHECK(client.line() == "+OK");
        CHECK(client.line() == ":2");
        // It reads nothing for as long as another client needs for its requests.
        for (int i = 0; i < 100; ++i) {
            other.send("GET small\r\n");
            CHECK(other.line() == "$1");
            (void)other.line();
        }
        CHECK(client.line() == fmt::format("${}", kLarge));
        CHECK(client.body_is(kLarge, piece));
        CHECK(client.line().empty());
        CHECK(client.line() == ":3");

        client.send("MULTI\r\n");
        send_set(client, "large", piece);
        client.send("STRLEN large\r\nEXEC\r\n");
        for (const char* reply : {"+OK", "+QUEUED", "+QUEUED", "*2", "+OK"})
            CHECK(client.line() == reply);
        CHECK(client.line() == fmt::format(":{}", kLarge));
        check_peak(rig, before);
        CHECK(rig.stop_interlay() == 0);
    }
}

TEST_CASE("10,000 requests in flight: all answered, in order, with bounded memory") {
    for (const std::string_view sharing : {"on", "off"}) {
        CAPTURE(sharing);
        Rig rig(rig_options(sharing));
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        Client client(rig.port());
        const int64_t before = peak_bytes(rig.interlay_pid());
        std::string text;
        for (int i = 0; i < 10'000; ++i) {
            // Every kind of connection in between: shared, leased, a transaction.
            if (i % 1'000 == 999) {
                text += "MULTI\r\nINCR n\r\nEXEC\r\n";
            } else if (i % 1'000 == 500) {
                text += "BLPOP nothing 0.001\r\n";
            } else {
                text += "INCR n\r\n";
            }
        }
        client.send(text);
        int64_t n = 0;
        for (int i = 0; i < 10'000; ++i) {
            if (i % 1'000 == 999) {
                CHECK(client.line() == "+OK");
                CHECK(client.line() == "+QUEUED");
                CHECK(client.line() == "*1");
            }
            const std::string expected = i % 1'000 == 500 ? "*-1" : fmt::format(":{}", ++n);
            REQUIRE(client.line() == expected);
        }
        // And replies that are not read while all of the requests were sent: 10,000 of 4 KiB.
        client.send(fmt::format("SET v {}\r\n", std::string(4096, 'v')));
        CHECK(client.line() == "+OK");
        text.clear();
        for (int i = 0; i < 10'000; ++i) text += "GET v\r\n";
        client.send(text);
        for (int i = 0; i < 10'000; ++i) {
            REQUIRE(client.line() == "$4096");
            REQUIRE(client.line().size() == 4096);
        }
        check_peak(rig, before);
        CHECK(rig.stop_interlay() == 0);
    }
}
