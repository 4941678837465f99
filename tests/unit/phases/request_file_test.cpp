// The line format of smoke and replay files, as exodus-test(1) documents it.
#include "workflow/request_file.h"

#include <doctest/doctest.h>

#include "base/digest.h"
#include "workflow/base64.h"
#include "workflow/traffic_delta.h"

using namespace exodus;
using Expect = FileRequest::Expect;

TEST_CASE("smoke lines") {
    auto requests = parse_request_file(
        "# comment\n\nPING => PONG\n  GET user:1 => ~ mira*\nINCR a => ! WRONGTYPE\r\nSET a b => "
        "*\nDEL a\n"
        "ECHO \"a => b\" => a => b\nGET x => line1\\nline2\\x41\\\\\nGET gone =>\n");
    REQUIRE(requests);
    REQUIRE(requests->size() == 8);
    CHECK(requests->at(0).request == "PING");
    CHECK(requests->at(0).expected == "PONG");
    CHECK(requests->at(0).line == 3);
    CHECK(requests->at(1).expect == Expect::glob);
    CHECK(requests->at(2).expect == Expect::error);
    CHECK(requests->at(2).expected == "WRONGTYPE");
    CHECK(requests->at(3).expect == Expect::any);
    CHECK(requests->at(4).expect == Expect::any);
    CHECK(requests->at(5).request == "ECHO \"a => b\" => a");  // the last arrow counts
    CHECK(requests->at(6).expected == "line1\nline2A\\");
    CHECK(requests->at(7).expect == Expect::exact);
    CHECK(requests->at(7).expected.empty());
}

TEST_CASE("replay lines") {
    auto requests = parse_request_file("@0 r GET a\n@1532 w SET a => b\n");
    REQUIRE(requests);
    CHECK(requests->at(0).timed);
    CHECK(!requests->at(0).may_write);
    CHECK(requests->at(1).at_ms == 1532);
    CHECK(requests->at(1).may_write);
    CHECK(requests->at(1).request == "SET a => b");
}

TEST_CASE("bad lines name their number") {
    for (const char* text :
         {"\n => PONG", "\n@x r GET a", "\n@5 q GET a", "\n@5 r", "\nGET a => \\q",
          "\nGET a => \\x4", "\nGET a => b\\", "\n@-1 r GET a"}) {
        CAPTURE(text);
        auto requests = parse_request_file(text);
        REQUIRE(!requests);
        CHECK(requests.error().message.starts_with("line 2: "));
        CHECK(requests.error().code == ErrorCode::data);
    }
    CHECK(read_request_file("/nonexistent/smoke").error().code == ErrorCode::no_input);
}

TEST_CASE("replies are judged") {
    const auto judge = [](const char* line, Result<std::string> reply) {
        return judge_reply(parse_request_file(line)->at(0), reply);
    };
    CHECK(judge("PING => PONG", "PONG").empty());
    CHECK(judge("PING => PONG", "PONG\n").empty());
    CHECK(judge("PING => PONG", "pong") == "expected \"PONG\", got \"pong\"");
    CHECK(judge("GET a => ~ m?r*", "mira").empty());
    CHECK(!judge("GET a => ~ m?r*", "mr").empty());
    CHECK(judge("GET a => *", "anything").empty());
    CHECK(!judge("GET a => *", "(error) ERR no").empty());
    CHECK(!judge("GET a", fail(ErrorCode::data, "ERR no")).empty());
    CHECK(judge("INCR a => ! WRONGTYPE", "(error) WRONGTYPE Operation").empty());
    CHECK(judge("INCR a => ! WRONGTYPE", fail(ErrorCode::data, "WRONGTYPE Operation")).empty());
    CHECK(judge("INCR a => !", fail(ErrorCode::data, "WRONGTYPE Operation")).empty());
    CHECK(!judge("INCR a => !", "5").empty());
    CHECK(!judge("INCR a => !", fail(ErrorCode::unreachable, "connection refused")).empty());
}

TEST_CASE("globs") {
    CHECK(glob_match("*", ""));
    CHECK(glob_match("a*b*c", "aXXbYYc"));
    CHECK(!glob_match("a*b*c", "aXXcYYb"));
    CHECK(glob_match("**", "x"));
    CHECK(!glob_match("?", ""));
}

TEST_CASE("base64 of any bytes") {
    CHECK(base64_encode("foobar") == "Zm9vYmFy");
    CHECK(base64_encode("foob") == "Zm9vYg==");
    for (std::size_t length = 0; length < 50; ++length) {
        const std::string bytes = random_bytes(length);
        auto back = base64_decode(base64_encode(bytes));
        REQUIRE(back);
        CHECK(*back == bytes);
    }
    CHECK(!base64_decode("abc"));
    CHECK(!base64_decode("ab!="));
    CHECK(!base64_decode("a==="));
}

TEST_CASE("traffic between two looks") {
    TrafficStats start;
    start.commands["GET"].requests = 10;
    start.commands["GET"].latency_us.record(100);
    start.commands["OLD"].requests = 4;
    start.shadow_dropped = 2;
    TrafficStats end = start;
    end.commands["GET"].requests = 25;
    end.commands["GET"].latency_us.record(200);
    end.commands["SET"].requests = 3;
    end.commands["SET"].is_write = true;
    end.shadow_dropped = 5;
    const TrafficStats between = traffic_between(start, end);
    CHECK(between.commands.at("GET").requests == 15);
    CHECK(between.commands.at("GET").latency_us.count() == 1);
    CHECK(between.commands.at("GET").latency_us.percentile(0.5) >= 200);
    CHECK(!between.commands.contains("OLD"));
    CHECK(between.shadow_dropped == 3);
    CHECK(totals(between).requests == 18);
    CHECK(totals(between).writes == 3);
    end.commands["GET"].requests = 4;  // restarted
    CHECK(traffic_between(start, end).commands.at("GET").requests == 4);
}

TEST_CASE("traffic over interlays that begin anew") {
    const auto counted = [](uint64_t requests, uint64_t bytes) {
        TrafficStats stats;
        stats.commands["GET"].requests = requests;
        stats.bytes_from_clients = bytes;
        stats.clients_now = 3;
        return stats;
    };
    TrafficSince since(counted(100, 1'000));
    since.look(counted(150, 1'500));
    CHECK(since.seen().commands.at("GET").requests == 50);
    CHECK(since.restarts() == 0);
    since.look(counted(7, 70));  // another process
    since.look(counted(200, 2'000));
    CHECK(since.restarts() == 1);
    const TrafficStats seen = since.seen();
    CHECK(seen.commands.at("GET").requests == 250);
    CHECK(seen.bytes_from_clients == 2'500);
    CHECK(seen.clients_now == 3);
    since.look(counted(1, 10));
    CHECK(since.seen().commands.at("GET").requests == 251);
    CHECK(since.restarts() == 2);
}
