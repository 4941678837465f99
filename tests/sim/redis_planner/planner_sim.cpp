// The planner against a reference: a model origin with expiries produces a stream of operations,
// groups and global commands while a copy runs; a model destination executes the plans with expiry
// in real (model) time, lags, crashes between send and reply, and a watermark table far too small.
// Keys are set aside as big ones are (their copies are whole here, the operations that follow them
// real). Whenever the lane says that it holds the origin, and at the end, both must be equal, key
// by key, value and expiry.
#include <cstdlib>
#include <doctest/doctest.h>

#include "world.h"

namespace exodus::redis::sim {
namespace {

TEST_CASE("random streams, copies, expiries, crashes and evictions end equal") {
    uint64_t from = 1;
    uint64_t count = 5000;
    if (const char* seed = std::getenv("EXODUS_SEED")) {
        from = std::strtoull(seed, nullptr, 10);
        count = 1;
    }
    Counts all;
    for (uint64_t seed = from; seed < from + count; ++seed) {
        INFO("EXODUS_SEED=" << seed);
        World world(seed, true);
        REQUIRE(world.run() == 0);
        all.add(world.counts());
    }
    if (count == 1) return;
    CHECK(all.installed > 1000);  // keys that were set aside came back
    CHECK(all.flushed > 1000);
    CHECK(all.swapped > 200);
    CHECK(all.filled_again > 1000);
    CHECK(all.repaired > 1000);
    CHECK(all.exact > 10'000);
}

TEST_CASE("without the presence check keys that were extended during lag are lost") {
    int wrong = 0;
    for (uint64_t seed = 1; seed < 300; ++seed) wrong += World(seed, false).run();
    CHECK(wrong > 0);
}

}  // namespace
}  // namespace exodus::redis::sim
