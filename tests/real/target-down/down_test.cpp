// Hazard: the target hangs, dies or runs out of memory while it is followed, with every read
// mirrored to it as well. Applications must notice nothing, and when it is back the stream goes on
// to an exact copy and reads are compared again.
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/support/following.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("a target that hangs, and one that is killed and comes back with its data") {
    RigOptions options;
    options.target_config = {"appendonly yes", "appendfsync always"};
    Following f(options);
    f.mirror_everything();
    const uint64_t dropped = traffic(f.rig, "/shadow_dropped");
    f.rig.target().freeze(true);
    f.check_unaffected();
    // Dropped and counted, never waited for.
    CHECK(eventually(milliseconds(30'000),
                     [&] { return traffic(f.rig, "/shadow_dropped") > dropped; }));
    f.check_unaffected();
    f.rig.target().freeze(false);
    check_equal(f.rig, f.ledger);
    f.ledger.pause(false);
    f.check_compares();

    f.rig.target().kill();
    f.check_unaffected();
    f.rig.target().start();
    f.rig.target().login(Rig::kOwnUser, Rig::kOwnPassword);
    REQUIRE(eventually(milliseconds(30'000), [&] {
        return f.rig.target().text({"PING"}) == "PONG";
    }));  // it loads its data first
    check_equal(f.rig, f.ledger);
    check_ledger(f.ledger, f.rig.source());
}

TEST_CASE("a target out of memory holds the stream back until there is room") {
    Following f({});
    f.rig.target().command({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
    f.rig.target().command({"CONFIG", "SET", "maxmemory", "1mb"});
    f.check_unaffected();
    f.rig.target().command({"CONFIG", "SET", "maxmemory", "0"});
    check_equal(f.rig, f.ledger);
    check_ledger(f.ledger, f.rig.source());
}
