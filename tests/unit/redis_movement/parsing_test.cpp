// What the journal, a destination and a server's ids must look like to be believed.
#include <doctest/doctest.h>

#include "families/redis/copy_estimate.h"
#include "families/redis/flow.h"
#include "families/redis/typed_copy.h"

using namespace exodus;
using namespace exodus::redis;

TEST_CASE("a checkpoint is only what exodus wrote") {
    const Checkpoint checkpoint{3, {std::string(40, 'a'), 17, 2}, 9};
    const std::string text = checkpoint.text();
    REQUIRE(Checkpoint::parse(text));
    CHECK(Checkpoint::parse(text)->text() == text);
    for (const std::string& other : {text + " ", text + "x", text + " 1", " " + text, "-" + text,
                                     "0" + text, std::string("none"), std::string("not ours")}) {
        CAPTURE(other);
        CHECK_FALSE(Checkpoint::parse(other));
    }
}

TEST_CASE("the id of a stream's entry is read to its end, or not at all") {
    CHECK(stream_id("17-3").value() == StreamId{17, 3});
    CHECK(stream_id("18446744073709551615-0").value() == StreamId{UINT64_MAX, 0});
    for (const char* bad : {"", "17", "17-", "-3", "17-3x", "x-3", "99999999999999999999-0"}) {
        CAPTURE(bad);
        CHECK_FALSE(stream_id(bad));
    }
}

TEST_CASE("INFO keyspace is read whole or not at all") {
    const Info info = Info::parse(
        "# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb15:keys=7\r\ndbx:keys=1\r\n"
        "db2:keys=many,expires=0\r\ndb3:expires=4\r\nused_memory:1\r\n");
    CHECK(info.keyspace() == std::map<int, uint64_t>{{0, 12}, {15, 7}});
}

TEST_CASE("what is left to copy follows from the cursor, whatever the size of the table") {
    CHECK(scanned_share("0") == 0);
    CHECK(scanned_share("1") == 0.5);  // the lowest bit is the last to change
    CHECK(scanned_share("3") == 0.75);
    CHECK(scanned_share("4") == 0.125);
    const std::map<int, uint64_t> keyspace{{0, 1'000}, {2, 100}};
    ScanPlace place;
    CHECK(keys_left(keyspace, place) == 1'100);
    place.cursor = "1";
    CHECK(keys_left(keyspace, place) == 600);
    place.db = 1;
    CHECK(keys_left(keyspace, place) == 100);
    place.phase = ScanPlace::Phase::done;
    CHECK(keys_left(keyspace, place) == 0);
}
