// Seeded writers over every verb of redis.md 4.1 on three databases while the fill and the stream
// run; at the end values, expiries and groups are equal. The same with link cuts, and without a
// fork on the origin.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

void exact_between(Engine from, Engine to, bool cuts) {
    RedisServer source({.engine = from, .config = {}, .acl = {}});
    RedisServer target({.engine = to, .config = {}, .acl = {}});
    write_some(source, 7, 6000);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.watermarks = 60});
    Writer one(source.port(), {.seed = 1, .pause_us = 200});
    Writer two(source.port(), {.seed = 2, .pause_us = 200});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    const uint64_t began = one.count();
    for (int i = 0; i < (cuts ? 8 : 1); ++i) {
        REQUIRE(eventually(milliseconds(10'000),
                           [&, until = began + 1500 * static_cast<uint64_t>(i + 1)] {
                               return one.count() > until;
                           }));
        if (cuts) source.text({"CLIENT", "KILL", "TYPE", "replica"});
    }
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    REQUIRE(eventually(milliseconds(10'000),
                       [&, until = one.count() + 1500] { return one.count() > until; }));
    one.stop();
    two.stop();
    const bool caught = mover.caught_up(*mover.forward, milliseconds(15'000));
    const MovementStatus status = mover.forward->status();
    INFO("blocked: " << status.blocked << " degraded: " << status.degraded << " applied "
                     << status.applied.text);
    REQUIRE(caught);
    CHECK(differences(source, target) == "");
    CHECK(source.info("total_forks") == "0");
    CHECK(status.failed_items == 0);
}

TEST_CASE("redis 7.0 to valkey 8.0, no fork") {
    exact_between(Engine::redis, Engine::valkey, false);
}
TEST_CASE("valkey 8.0 to redis 7.0: the version ladder") {
    exact_between(Engine::valkey, Engine::redis, false);
}
TEST_CASE("redis 7.0 to redis 7.0 with link cuts") {
    exact_between(Engine::redis, Engine::redis, true);
}

}  // namespace
}  // namespace exodus::test
