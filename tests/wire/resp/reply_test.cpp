// The reply scanner, the value reader and the writers.
#include <doctest/doctest.h>

#include "tests/wire/resp/recorded.h"
#include "wire/resp/slot.h"

using namespace exodus;
using namespace exodus::test;
using resp::ReplyEvent;
using resp::Type;

namespace {

std::string all_replies(const std::string& name) {
    std::string bytes;
    for (const Exchange& exchange : load_recorded(name)) bytes += exchange.reply;
    return bytes;
}

/// RESP3 forms that servers do not send today.
const std::string kStreamed =
    "$?\r\n;4\r\nabcd\r\n;2\r\n\r\n\r\n;0\r\n*?\r\n:1\r\n*2\r\n$?\r\n;0\r\n_\r\n.\r\n%?\r\n+k\r\n#"
    "t\r\n.\r\n~?\r\n.\r\n"
    "*2\r\n|1\r\n+a\r\n*1\r\n|1\r\n+x\r\n+y\r\n:7\r\n:1\r\n:2\r\n|0\r\n+OK\r\n|1\r\n+ttl\r\n:3\r\n>"
    "2\r\n+invalidate\r\n*1\r\n+k\r\n"
    "!8\r\nERR "
    "a\r\nb\r\n=7\r\ntxt:abc\r\n(-123\r\n,inf\r\n+a\rb\r\n-\r\n%0\r\n*0\r\n>1\r\n$0\r\n\r\n";

std::string dump(const resp::Value& value) {
    std::string out(resp::to_string(value.type));
    if (!value.is_aggregate()) return out + ":" + std::string(value.text);
    out += "[";
    for (const resp::Value& item : value.items) out += dump(item) + ",";
    return out + "]";
}

std::string dump(std::string_view bytes) {
    auto value = resp::parse_reply(bytes);
    return value ? dump(*value) : "malformed";
}

}  // namespace

TEST_CASE("replies are the same wherever they are cut") {
    for (const std::string& bytes : {all_replies("resp2"), all_replies("resp3"), kStreamed}) {
        const auto whole = scan_replies({bytes});
        REQUIRE(whole.size() > 10);
        CHECK(whole.back().kind == "frame");
        for (const std::size_t stream_above : {std::size_t{1 << 20}, std::size_t{5}}) {
            for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
                const auto events =
                    scan_replies({bytes.substr(0, cut), bytes.substr(cut)}, {stream_above});
                REQUIRE_MESSAGE(events == whole, "cut at " << cut);
            }
            CHECK(scan_replies(single_bytes(bytes), {stream_above}) == whole);
        }
        for (const Event& event : whole)
            CHECK_MESSAGE(resp::parse_reply(event.bytes).has_value(), event.bytes);
    }
}

TEST_CASE("recorded replies pair with their requests") {
    for (const char* name : {"resp2", "resp3"}) {
        for (const Exchange& exchange : load_recorded(name)) {
            const auto events = scan_replies({exchange.reply});
            REQUIRE(!events.empty());
            CHECK(events.back().kind == "frame");
            if (exchange.request.find("SUBSCRIBE") == std::string::npos &&
                exchange.request.find("push") == std::string::npos) {
                CHECK(events.size() == 1);
            }
        }
    }
}

TEST_CASE("attributes and pushes") {
    const auto events = scan_replies({kStreamed});
    bool attributed_push = false;
    for (const Event& event : events) {
        if (event.bytes.starts_with("|1\r\n+ttl")) {
            attributed_push =
                event.type == '>' && event.value == ">2\r\n+invalidate\r\n*1\r\n+k\r\n";
        }
    }
    CHECK(attributed_push);
    resp::ReplyScanner scanner;
    scanner.feed("|0\r\n+OK\r\n-MOVED 1 a:1\r\n!12\r\nNOSCRIPT abc\r\n_\r\n$-1\r\n");
    REQUIRE(scanner.next() == ReplyEvent::frame);
    CHECK(scanner.frame().has_attribute());
    CHECK(scanner.frame().value == "+OK\r\n");
    REQUIRE(scanner.next() == ReplyEvent::frame);
    CHECK(scanner.frame().error_code() == "MOVED");
    REQUIRE(scanner.next() == ReplyEvent::frame);
    CHECK(scanner.frame().error_code() == "NOSCRIPT");
    REQUIRE(scanner.next() == ReplyEvent::frame);
    CHECK(scanner.frame().is_null());
    REQUIRE(scanner.next() == ReplyEvent::frame);
    CHECK(scanner.frame().is_null());
}

TEST_CASE("malformed replies end the connection") {
    for (const std::string bytes :
         {"x\r\n", "$abc\r\n", "$-2\r\n", "*-2\r\n", "$3\r\nabcXY", "*1099511627777\r\n", "=-1\r\n",
          "%-1\r\n", ".\r\n", ";1\r\na\r\n", "$?\r\n:1\r\n", "*?\r\n.x\r\n", "|?\r\n", "$1\n",
          "$00000000000000000000000000000000001\r\n", "\r\n", "$01\r\n"}) {
        const auto events = scan_replies({bytes});
        REQUIRE(!events.empty());
        CHECK_MESSAGE(events[0].kind.starts_with("error"), bytes);
        CHECK(scan_replies(single_bytes(bytes)) == events);
        CHECK_MESSAGE(!resp::parse_reply(bytes).has_value(), bytes);
    }
}

TEST_CASE("nesting is bounded") {
    std::string deep;
    for (int i = 0; i < limits::kRespTreeDepth_max; ++i) deep += "*1\r\n";
    CHECK(scan_replies({deep + ":1\r\n"})[0].kind == "frame");
    CHECK(resp::parse_reply(deep + ":1\r\n").has_value());
    CHECK(!resp::parse_reply(deep + "*1\r\n:1\r\n").has_value());
    // What a script returns may be far deeper than what can be read as a tree.
    std::string deepest;
    for (std::size_t i = 0; i < limits::kRespDepth_max; ++i) deepest += "*1\r\n";
    const auto events = scan_replies({deepest + "-ERR reached lua stack limit\r\n", "+OK\r\n"});
    REQUIRE(events.size() >= 2);
    CHECK(events.back().kind == "frame");
    CHECK(scan_replies({deepest + "*1\r\n:1\r\n"})[0].kind == "error nested too deep");
}

TEST_CASE("a large reply streams with bounded memory") {
    resp::ReplyScanner scanner;
    scanner.feed("*2\r\n:1\r\n$536870912\r\nab");
    REQUIRE(scanner.next() == ReplyEvent::head);
    CHECK(scanner.frame().type == '*');
    CHECK(scanner.remaining_bytes() == 536870912);
    CHECK(scanner.next() == ReplyEvent::need_more);
    const std::string chunk(1 << 20, 'x');
    for (uint64_t left = 536870912 - 2; left > 0;) {
        const std::string_view now =
            std::string_view(chunk).substr(0, std::min<uint64_t>(left, chunk.size()));
        scanner.feed(now);
        REQUIRE(scanner.next() == ReplyEvent::body);
        REQUIRE(!scanner.last_piece());
        REQUIRE(scanner.next() == ReplyEvent::need_more);
        left -= now.size();
    }
    CHECK(scanner.kept_bytes() == 0);
    scanner.feed("\r\n+OK\r\n");
    REQUIRE(scanner.next() == ReplyEvent::body);
    CHECK(scanner.last_piece());
    REQUIRE(scanner.next() == ReplyEvent::frame);
    CHECK(scanner.frame().value == "+OK\r\n");
}

TEST_CASE("values") {
    CHECK(dump("*3\r\n$1\r\na\r\n:-5\r\n*-1\r\n") == "array[bulk:a,integer:-5,null:,]");
    CHECK(dump("%1\r\n+k\r\n~2\r\n#t\r\n,1.5\r\n") == "map[simple:k,set[boolean:t,double:1.5,],]");
    CHECK(dump("|1\r\n+a\r\n:1\r\n*2\r\n|1\r\n+b\r\n:2\r\n:3\r\n:4\r\n") ==
          "array[integer:3,integer:4,]");
    CHECK(dump("*?\r\n$?\r\n;2\r\nab\r\n;1\r\nc\r\n;0\r\n=5\r\ntxt:x\r\n.\r\n") ==
          "array[bulk:abc,verbatim:x,]");
    CHECK(dump("$?\r\n;2\r\nab\r\n;0\r\n") == "bulk:ab");
    CHECK(dump("*2\r\n:1\r\n") == "malformed");
    CHECK(dump(":1.5\r\n") == "malformed");
    CHECK(dump(",x\r\n") == "malformed");
    std::size_t used = 0;
    REQUIRE(resp::parse_reply("+OK\r\n+next\r\n", &used).has_value());
    CHECK(used == 5);
    auto moved = std::move(*resp::parse_reply("$?\r\n;2\r\nab\r\n;0\r\n"));
    const resp::Value elsewhere = std::move(moved);
    CHECK(elsewhere.text.data() == elsewhere.owned.data());
}

TEST_CASE("numbers") {
    int64_t integer = 0;
    CHECK((resp::parse_int("-9223372036854775808", integer) && integer == INT64_MIN));
    for (const char* bad : {"", "-", "+1", "01", "-0", " 1", "1 ", "9223372036854775808", "1.0"})
        CHECK(!resp::parse_int(bad, integer));
    double number = 0;
    CHECK((resp::parse_double("1e3", number) && number == 1000));
    CHECK((resp::parse_double("-inf", number) && number < 0));
    CHECK(!resp::parse_double("1x", number));
}

TEST_CASE("writers") {
    std::string out;
    resp::append_command(out, "SET", std::string("k"), std::string_view("v\r\n"));
    CHECK(out == "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nv\r\n\r\n");
    out.clear();
    resp::append_error(out, "ERR a\r\nb");
    CHECK(out == "-ERR a  b\r\n");
    out.clear();
    resp::append_map_header(out, 2, 2);
    resp::append_map_header(out, 2, 3);
    resp::append_null(out, 2);
    resp::append_null_array(out, 2);
    resp::append_null_array(out, 3);
    resp::append_integer(out, -7);
    CHECK(out == "*4\r\n%2\r\n$-1\r\n*-1\r\n_\r\n:-7\r\n");
}

TEST_CASE("slots") {
    CHECK(resp::crc16("123456789") == 0x31c3);
    CHECK(resp::key_slot("foo") == 12182);
    CHECK(resp::key_slot("{user1000}.following") == resp::key_slot("{user1000}.followers"));
    CHECK(resp::key_slot("foo{}{bar}") == (resp::crc16("foo{}{bar}") & 16383));
    CHECK(resp::key_slot("foo{{bar}}zap") == (resp::crc16("{bar") & 16383));
    CHECK(resp::key_slot("foo{bar}{zap}") == resp::key_slot("bar"));
}
