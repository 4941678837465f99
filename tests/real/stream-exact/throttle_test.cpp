// The copy slows down when the source answers late, and status says so only as long as it is true.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

bool says(Mover& mover, const std::string& text) {
    return mover.forward->status().throttled.find(text) != std::string::npos;
}

void check_over_with_the_copy(Mover& mover) {
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    CHECK(
        eventually(milliseconds(5'000), [&] { return mover.forward->status().throttled.empty(); }));
}

TEST_CASE("a source that answers late has the copy wait, until the limit is taken away") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"DEBUG", "POPULATE", "60000"});
    // Only the first PING shows how fast the source is when it has nothing to do.
    std::atomic<uint64_t> pings{0};
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (side == Side::source && bytes == "*1\r\n$4\r\nPING\r\n" && ++pings > 1)
                            sleep_ms(60);
                    }}));
    REQUIRE(mover.forward->set_throttle("origin_p99_ratio", "1.5").has_value());
    // About a page for each look at the latency, until it waits long enough for that by itself.
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "2MiB").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] { return pings >= 7; }));
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "1GiB").has_value());
    CHECK(eventually(milliseconds(20'000), [&] { return says(mover, "origin latency"); }));
    // 32 ms and more behind each of the eight chunks of a page; unhindered there are several pages
    // to one look.
    const uint64_t pages = calls_of(source, "scan");
    REQUIRE(eventually(milliseconds(20'000), [&] { return pings >= 9; }));
    CHECK(calls_of(source, "scan") <= pages + 3);
    CHECK(mover.forward->status().stage == MovementStage::filling);
    REQUIRE(mover.forward->set_throttle("origin_p99_ratio", "0").has_value());
    check_over_with_the_copy(mover);
    CHECK(target.text({"DBSIZE"}) == "60001");  // and the checkpoint
}

TEST_CASE("a limit of the copy is not told any more when there is nothing to copy") {
    RedisServer source({.engine = Engine::redis, .config = {"databases 1"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"DEBUG", "POPULATE", "1500"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "64KiB").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] { return says(mover, "bytes/s"); }));
    check_over_with_the_copy(mover);
}

}  // namespace
}  // namespace exodus::test
