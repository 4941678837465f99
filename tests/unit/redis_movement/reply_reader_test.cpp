// Replies from bytes: every RESP2 type, whole and byte by byte, and what is not believed.
#include "families/redis/reply_reader.h"

#include <doctest/doctest.h>
#include <string>

#include "base/limits.h"

using namespace exodus;
using namespace exodus::redis;

namespace {

void check_all_types(const Reply& reply) {
    REQUIRE(reply.size() == 7);
    CHECK(reply[0].is_ok());
    CHECK(reply[1].is_error());
    CHECK(error_word(reply[1]) == "WRONGTYPE");
    CHECK(reply[2].type() == ReplyType::integer);
    CHECK(reply[2].integer() == -7);
    CHECK(reply[3].type() == ReplyType::string);
    CHECK(reply[3].text() == std::string_view("a\0b", 3));
    CHECK(reply[4].is_nil());
    CHECK(reply[5].is_nil());
    REQUIRE(reply[6].is_array());
    CHECK(reply[6].size() == 1);
    CHECK(reply[6][0].is_array());
    CHECK(reply[6][0].size() == 0);
    CHECK_FALSE(reply[7].valid());
}

}  // namespace

TEST_CASE("every type of RESP2, at once and byte by byte") {
    const std::string bytes(
        "*7\r\n+OK\r\n-WRONGTYPE no\r\n:-7\r\n$3\r\na\0b\r\n$-1\r\n*-1\r\n*1\r\n*0\r\n", 56);
    ReplyReader reader;
    REQUIRE(reader.feed(bytes));
    auto whole = reader.next();
    REQUIRE(whole);
    check_all_types(*whole);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto none = reader.next();
        REQUIRE(none);
        CHECK_FALSE(none->valid());
        REQUIRE(reader.feed({bytes.data() + i, 1}));
    }
    auto pieces = reader.next();
    REQUIRE(pieces);
    check_all_types(*pieces);
    // Each owns its memory, also when the reader and the other are gone.
    Reply moved = std::move(*whole);
    *pieces = Reply();
    check_all_types(moved);
    CHECK_FALSE(whole->valid());
}

TEST_CASE("between replies: what is known is skipped, the rest can be taken as it is") {
    ReplyReader reader;
    REQUIRE(reader.feed(std::string_view("+QUEUED\r\n+QUEUED\r\n$2\r\nab")));
    CHECK(reader.skip("+QUEUED\r\n"));
    CHECK(reader.skip("+QUEUED\r\n"));
    CHECK_FALSE(reader.skip("+QUEUED\r\n"));
    auto none = reader.next();
    REQUIRE(none);
    CHECK_FALSE(none->valid());
    CHECK_FALSE(reader.skip(""));  // amid a reply
    REQUIRE(reader.feed(std::string_view("\r\nrest")));
    auto text = reader.next();
    REQUIRE(text);
    CHECK(text->text() == "ab");
    CHECK(reader.unread() == "rest");
    reader.consume(2);
    CHECK(reader.unread() == "st");
}

TEST_CASE("an array that no server sends, and what is no reply, are errors") {
    ReplyReader reader;
    SUBCASE("too many elements") {
        REQUIRE(reader.feed("*" + std::to_string(limits::kReplyElements_max + 1) + "\r\n"));
    }
    SUBCASE("not RESP") { REQUIRE(reader.feed(std::string_view("HTTP/1.1 400\r\n"))); }
    auto reply = reader.next();
    REQUIRE_FALSE(reply);
    CHECK(reply.error().code == ErrorCode::protocol);
}
