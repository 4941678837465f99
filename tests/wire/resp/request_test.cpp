// The request scanner: recorded conversations cut at every byte, the servers' own words for
// malformed input, limits, streaming.
#include <doctest/doctest.h>

#include "tests/wire/resp/recorded.h"

using namespace exodus;
using namespace exodus::test;
using resp::RequestEvent;
using resp::RequestFault;

namespace {

std::string all_requests(const std::string& name) {
    std::string bytes;
    for (const Exchange& exchange : load_recorded(name)) bytes += exchange.request;
    return bytes;
}

std::string error_of(const std::string& bytes, bool restricted = false) {
    const auto events = scan_requests({bytes}, {}, restricted);
    REQUIRE(!events.empty());
    return events.back().kind;
}

}  // namespace

TEST_CASE("recorded requests are the same wherever they are cut") {
    for (const char* name : {"resp2", "resp3"}) {
        const std::string bytes = all_requests(name);
        const auto whole = scan_requests({bytes});
        REQUIRE(whole.size() == load_recorded(name).size());
        CHECK(whole[0].arguments[0] == "HELLO");
        CHECK(whole.back().arguments == std::vector<std::string>{"GET", std::string("a\0b", 3)});
        // With the default limits, and with limits so small that frames stream.
        for (const std::size_t stream_above : {std::size_t{64 * 1024}, std::size_t{40}}) {
            const resp::RequestLimits limits{limits::kRespBulk_bytes_max, stream_above};
            for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
                const auto events =
                    scan_requests({bytes.substr(0, cut), bytes.substr(cut)}, limits);
                REQUIRE_MESSAGE(events == whole, "cut at " << cut);
            }
            CHECK(scan_requests(single_bytes(bytes), limits) == whole);
        }
    }
}

TEST_CASE("a whole frame is a range of the fed bytes") {
    const std::string bytes = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n*1\r\n$4\r\nPING\r\n";
    resp::RequestScanner scanner;
    scanner.feed(bytes);
    REQUIRE(scanner.next() == RequestEvent::frame);
    CHECK(scanner.frame().bytes.data() == bytes.data());
    CHECK(scanner.frame().args[2].data() == bytes.data() + 24);
    CHECK(scanner.frame().wire_bytes == 28);
    CHECK(scanner.unread() == "*1\r\n$4\r\nPING\r\n");
    REQUIRE(scanner.next() == RequestEvent::frame);
    CHECK(scanner.frame().name() == "PING");
    CHECK(scanner.next() == RequestEvent::need_more);
    CHECK(scanner.idle());
    CHECK(scanner.kept_bytes() == 0);
}

// Each line was sent to redis-server 7.0.15 and valkey-server 8.0.1, which agree.
TEST_CASE("malformed requests get the servers' words") {
    const auto protocol_error = [](const std::string& text) {
        return "error -ERR Protocol error: " + text + "\r\n";
    };
    CHECK(error_of("*2147483648\r\n") == protocol_error("invalid multibulk length"));
    CHECK(error_of("*+1\r\n") == protocol_error("invalid multibulk length"));
    CHECK(error_of("*00\r\nPING\r\n") == protocol_error("invalid multibulk length"));
    CHECK(error_of("*\r\nPING\r\n") == protocol_error("invalid multibulk length"));
    CHECK(error_of("*99999999999999999999\r\n") == protocol_error("invalid multibulk length"));
    CHECK(error_of("*1\r\nx\r\n") == protocol_error("expected '$', got 'x'"));
    CHECK(error_of("*1\r\n\n\r\n") == protocol_error("expected '$', got ' '"));
    CHECK(error_of("*1\r\n$-1\r\n") == protocol_error("invalid bulk length"));
    CHECK(error_of("*1\r\n$04\r\nPING\r\n") == protocol_error("invalid bulk length"));
    CHECK(error_of("*1\r\n$536870913\r\n") == protocol_error("invalid bulk length"));
    CHECK(error_of("get 'a\r\n") == protocol_error("unbalanced quotes in request"));
    CHECK(error_of("PING \"a\"b\r\n") == protocol_error("unbalanced quotes in request"));
    CHECK(error_of(std::string(65537, 'a')) == protocol_error("too big inline request"));
    CHECK(error_of("*" + std::string(65537, '1')) == protocol_error("too big mbulk count string"));
    CHECK(error_of("*1\r\n$" + std::string(65537, '1')) ==
          protocol_error("too big bulk count string"));
    CHECK(error_of("*1048577\r\n") == "unfinished");
    CHECK(error_of("*1\r\n$536870912\r\n") == "unfinished");
}

TEST_CASE("a NUL hides the line end, as it does for the servers") {
    using namespace std::string_literals;
    CHECK(error_of("PING\0AA\n"s) == "unfinished");
    CHECK(error_of("*1\r\n\0\r\n"s) == "unfinished");
    // The Redis suite's "Protocol desync regression test": the connection must end.
    for (const std::string& start : {"\0"s, "*\0"s, "$\0"s}) {
        std::vector<std::string> pieces{start};
        for (int i = 0; i < 70; ++i) pieces.push_back(std::string(1024, 'A') + "\n");
        const auto events = scan_requests(pieces);
        REQUIRE(events.size() == 1);
        CHECK(events[0].kind.starts_with("error -ERR Protocol error: too big"));
    }
}

TEST_CASE("odd requests that servers take") {
    CHECK(scan_requests({"*1\rX$4\rYPINGZZ"})[0].arguments == std::vector<std::string>{"PING"});
    CHECK(scan_requests({"*-5\r\n\r\n   \r\n*0\r\nPING\r\n"})[0].arguments ==
          std::vector<std::string>{"PING"});
    CHECK(scan_requests({"*1\r\n$0\r\n\r\n"})[0].arguments == std::vector<std::string>{""});
    CHECK(scan_requests({"\"\" x\r\n"})[0].arguments == std::vector<std::string>{"", "x"});
    CHECK(scan_requests({"PING \vx\n"})[0].arguments == std::vector<std::string>{"PING", "x"});
    CHECK(scan_requests({"PING a\"b\"\n"})[0].arguments == std::vector<std::string>{"PING", "ab"});
    CHECK(scan_requests({"PING \"a\\nb\\x4\\q\\x41\"\n"})[0].arguments ==
          std::vector<std::string>{"PING", "a\nbx4qA"});
    CHECK(scan_requests({"'a\\'b\\x' c\r\n"})[0].arguments ==
          std::vector<std::string>{"a'b\\x", "c"});
    // Longer than 64 KiB, but the line end came in the same read.
    CHECK(scan_requests({std::string(65536, 'a') + "\r\n"})[0].arguments[0].size() == 65536);
}

TEST_CASE("browsers are closed without a word") {
    for (const std::string bytes : {"POST / HTTP/1.1\r\n", "*1\r\n$5\r\nhOsT:\r\n", "host: x\n"}) {
        resp::RequestScanner scanner;
        scanner.feed(bytes);
        CHECK(scanner.next() == RequestEvent::error);
        CHECK(scanner.error().fault == RequestFault::cross_protocol);
        CHECK(scanner.error().reply.empty());
        CHECK(scanner.next() == RequestEvent::error);
    }
}

TEST_CASE("before authentication requests are small") {
    CHECK(error_of("*11\r\n", true) ==
          "error -ERR Protocol error: unauthenticated multibulk length\r\n");
    CHECK(error_of("*10\r\n$16385\r\n", true) ==
          "error -ERR Protocol error: unauthenticated bulk length\r\n");
    CHECK(error_of("*10\r\n$16384\r\n", true) == "unfinished");
}

TEST_CASE("a large request streams with bounded memory") {
    resp::RequestScanner scanner;
    const uint64_t size = 512ULL * 1024 * 1024;
    const std::string head = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$" + std::to_string(size) + "\r\nabc";
    scanner.feed(head);
    REQUIRE(scanner.next() == RequestEvent::head);
    CHECK(scanner.frame().bytes == head);
    CHECK(scanner.frame().argc == 3);
    REQUIRE(scanner.frame().indexed == 2);
    CHECK(scanner.frame().args[1] == "key");
    CHECK(scanner.remaining_bytes() == size - 3 + 2);
    CHECK(!scanner.idle());
    CHECK(scanner.next() == RequestEvent::need_more);
    const std::string chunk(1 << 20, 'x');
    uint64_t left = size - 3;
    while (left > 0) {
        const std::string_view now =
            std::string_view(chunk).substr(0, std::min<uint64_t>(left, chunk.size()));
        scanner.feed(now);
        REQUIRE(scanner.next() == RequestEvent::body);
        REQUIRE(scanner.piece().data() == now.data());
        REQUIRE(!scanner.last_piece());
        REQUIRE(scanner.next() == RequestEvent::need_more);
        left -= now.size();
    }
    CHECK(scanner.kept_bytes() == 0);
    scanner.feed("\r\n*1\r\n$4\r\nPING\r\n");
    REQUIRE(scanner.next() == RequestEvent::body);
    CHECK(scanner.piece() == "\r\n");
    CHECK(scanner.last_piece());
    REQUIRE(scanner.next() == RequestEvent::frame);
    CHECK(scanner.frame().name() == "PING");
}

TEST_CASE("the name of a streaming request is known at its head") {
    for (std::size_t cut = 1; cut < 30; ++cut) {
        const std::string bytes =
            "*4\r\n$4\r\nMSET\r\n$1\r\na\r\n$200\r\n" + std::string(200, 'v') + "\r\n$1\r\nb\r\n";
        resp::RequestScanner scanner(resp::RequestLimits{limits::kRespBulk_bytes_max, 20});
        const std::string first = bytes.substr(0, cut);
        scanner.feed(first);
        const RequestEvent event = scanner.next();
        if (event == RequestEvent::head) {
            CHECK(scanner.frame().indexed >= 1);
            CHECK(scanner.frame().name() == "MSET");
        } else {
            CHECK(event == RequestEvent::need_more);
            CHECK(scanner.kept_bytes() <= 2 * 21);
        }
    }
}

TEST_CASE("keep_whole collects a large request after all") {
    const std::string script(100'000, 's');
    std::string bytes;
    resp::append_command(bytes, "EVAL", script, "0");
    for (const std::size_t cut : {std::size_t{30}, std::size_t{90'000}}) {
        const std::string first = bytes.substr(0, cut);
        const std::string second = bytes.substr(cut);
        resp::RequestScanner scanner;
        scanner.feed(first);
        REQUIRE(scanner.next() == RequestEvent::head);
        CHECK(scanner.frame().name() == "EVAL");
        scanner.keep_whole(200'000);
        CHECK(scanner.next() == RequestEvent::need_more);
        scanner.feed(second);
        REQUIRE(scanner.next() == RequestEvent::frame);
        CHECK(scanner.frame().bytes == bytes);
        CHECK(scanner.frame().args[1] == script);
        CHECK(scanner.next() == RequestEvent::need_more);
        CHECK(scanner.kept_bytes() == 0);
    }
    // Longer than what may be kept: it streams from there.
    resp::RequestScanner scanner;
    scanner.feed(std::string_view(bytes).substr(0, 30));
    REQUIRE(scanner.next() == RequestEvent::head);
    scanner.keep_whole(70'000);
    REQUIRE(scanner.next() == RequestEvent::need_more);
    scanner.feed(std::string_view(bytes).substr(30, 50'000));
    REQUIRE(scanner.next() == RequestEvent::head);
    CHECK(scanner.frame().bytes == std::string_view(bytes).substr(0, 50'030));
    CHECK(scanner.next() == RequestEvent::need_more);
    scanner.feed(std::string_view(bytes).substr(50'030));
    REQUIRE(scanner.next() == RequestEvent::body);
    CHECK(scanner.last_piece());
}

TEST_CASE("split_arguments refuses what is no request") {
    std::vector<std::string_view> arguments;
    CHECK(!resp::split_arguments("", arguments));
    CHECK(!resp::split_arguments("*1\r\n", arguments));
    CHECK(!resp::split_arguments("*1000000000\r\n$1\r\na\r\n", arguments));
    CHECK(!resp::split_arguments("*1\r\n$1\r\nab\r\n", arguments));
    CHECK(!resp::split_arguments("*1\r\n$5\r\na\r\n", arguments));
    CHECK(resp::split_arguments("*1\r\n$1\r\na\r\n", arguments));
}
