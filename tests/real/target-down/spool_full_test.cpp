// Hazard: the target is away for longer than the spool has room. The link is closed, the source's
// backlog is the last reserve; applications notice nothing, and when the target is back it becomes
// exact: from the backlog, or when that was overrun by reading every key again.
#include <doctest/doctest.h>

#include "tests/support/following.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr uint64_t kMax = 4 << 20;

uint64_t spooled(Rig& rig) { return movement(rig, "forward").value("queue_bytes", uint64_t{0}); }

/// Freezes the target until the spool is full, and lets it go on.
void overfill(Following& f) {
    f.rig.target().freeze(true);
    REQUIRE(eventually(
        milliseconds(60'000),
        [&] {
            return movement_field(f.rig, "forward", "degraded").find("the spool is full") !=
                   std::string::npos;
        },
        milliseconds(100)));
    const uint64_t full = spooled(f.rig);
    CHECK(full >= kMax);
    f.check_unaffected();
    CHECK(spooled(f.rig) == full);  // the link is closed
    CHECK(full < 2 * kMax);
    const std::string status = f.rig.expect(0, {"status"});
    INFO(status);
    CHECK(status.find("repl-backlog-size") != std::string::npos);  // what to do
    f.check_unaffected();
    f.rig.target().freeze(false);
    check_equal(f.rig, f.ledger);
    CHECK(movement_field(f.rig, "forward", "degraded") == "");
    CHECK(spooled(f.rig) < kMax);
}

RigOptions small_spool(const std::string& backlog) {
    RigOptions options;
    options.config = {{"redis", "spool.max = \"4MiB\""}};
    options.source_config = {"repl-backlog-size " + backlog};
    return options;
}

}  // namespace

TEST_CASE("a full spool is made up for from the source's backlog") {
    Following f(small_spool("512mb"));
    overfill(f);
    const std::string events = f.rig.expect(0, {"events"});
    INFO(events);
    CHECK(events.find("gap") == std::string::npos);
    f.rig.do_switch();
    check_ledger(f.ledger, f.rig.target());
}

TEST_CASE("a full spool and an overrun backlog are made up for by reading every key again") {
    Following f(small_spool("64kb"));
    overfill(f);
    const std::string events = f.rig.expect(0, {"events"});
    INFO(events);
    CHECK(events.find("every key is read again") != std::string::npos);
    CHECK(f.rig.source().info("total_forks") == "0");
    f.rig.do_switch();
    check_ledger(f.ledger, f.rig.target());
}
