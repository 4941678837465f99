// Hazard: the target comes back without the data that was copied to it, or somebody empties it.
// Nobody may take it for a copy: the movement stands, no switch is possible, nothing is filled
// again before the operator says so; and applications notice nothing.
#include <cstdio>
#include <doctest/doctest.h>

#include "tests/support/following.h"

using namespace exodus;
using namespace exodus::test;

namespace {

bool eventually_blocked(Rig& rig, const std::string& direction, const std::string& words) {
    return eventually(
        milliseconds(20'000),
        [&] { return movement_field(rig, direction, "blocked").find(words) != std::string::npos; },
        milliseconds(200));
}

/// What every loss of the target must lead to, and the way out.
void check_lost_and_copied_again(Following& f) {
    INFO(f.rig.expect(0, {"status"}));
    REQUIRE(eventually_blocked(f.rig, "forward", "target lost its data"));
    CHECK(movement_field(f.rig, "forward", "stage") == "blocked");
    const std::string status = f.rig.expect(0, {"status"});
    CHECK(status.find("blocked: forward, target lost its data") != std::string::npos);
    f.check_unaffected();
    // No switch, whatever was approved before; and the refusal names the way out.
    f.rig.expect(0, {"approve", "switch", "--reason", "test"});
    const RunResult refused =
        f.rig.exodus({"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
    INFO(refused.out, refused.err);
    CHECK(refused.code == 5);
    CHECK((refused.out + refused.err).find("exodus rollback") != std::string::npos);
    CHECK(key_count(f.rig.target()) == 0);  // never a silent refill
    f.rig.expect(0, {"rollback", "--confirm", Rig::kName, "--reason", "the target lost its data"});
    f.rig.expect(0, {"migrate", "--until", "ready", "--skip-gate", "compare", "--skip-gate", "test",
                     "--reason", "a new attempt"});
    check_equal(f.rig, f.ledger);
    f.rig.do_switch();
    check_ledger(f.ledger, f.rig.target());
}

}  // namespace

TEST_CASE("a target that restarts empty blocks the migration until it is copied again") {
    Following f({});  // the rig's servers keep nothing over a restart
    f.rig.target().kill();
    f.check_unaffected();
    f.rig.target().start();
    check_lost_and_copied_again(f);
}

TEST_CASE("a mover that was not there when the target lost its data does not fill it either") {
    Following f({}, true);
    f.rig.kill_interlay();
    f.rig.target().kill();
    f.rig.target().start();
    f.rig.start_interlay();
    // The stream is cut as well, for which the answer would be to read every key again.
    REQUIRE(eventually_blocked(f.rig, "forward", "target lost its data"));
    f.rig.source().command({"CONFIG", "SET", "repl-backlog-size", "16kb"});
    f.rig.source().command({"CLIENT", "KILL", "TYPE", "replica"});
    wait_for_load(f.ledger, 2'000);
    CHECK(eventually_blocked(f.rig, "forward", "target lost its data"));
    CHECK(key_count(f.rig.target()) == 0);
    check_lost_and_copied_again(f);
}

TEST_CASE("a target that somebody empties blocks the migration, also when nothing is written") {
    Following f({});
    f.ledger.pause(true);
    f.rig.target().command({"FLUSHALL"});
    INFO(f.rig.expect(0, {"status"}));
    CHECK(eventually_blocked(f.rig, "forward", "target lost its data"));
    f.ledger.pause(false);
    check_lost_and_copied_again(f);
}

TEST_CASE("a target that comes back with its data after it was missing goes on by itself") {
    Following f({});
    f.rig.target().command({"SAVE"});
    const std::string dump = f.rig.target().data_file("dump.rdb");
    f.rig.target().kill();
    REQUIRE(std::rename(dump.c_str(), (dump + ".kept").c_str()) == 0);  // the wrong volume
    f.rig.target().start();
    REQUIRE(eventually_blocked(f.rig, "forward", "target lost its data"));
    f.check_unaffected();
    f.rig.target().kill();
    REQUIRE(std::rename((dump + ".kept").c_str(), dump.c_str()) == 0);
    f.rig.target().start();
    // What it holds is older than what was written to it, but whole.
    check_equal(f.rig, f.ledger);
    CHECK(movement_field(f.rig, "forward", "blocked") == "");
    f.rig.do_switch();
    check_ledger(f.ledger, f.rig.target());
}

TEST_CASE("a source that restarts empty after the switch: the target stays, the way back is off") {
    Following f({});
    f.rig.do_switch();
    wait_for_load(f.ledger, 1'000);
    f.rig.source().kill();
    f.check_unaffected();
    f.rig.source().start();
    REQUIRE(eventually_blocked(f.rig, "reverse", "rollback impossible: source lost its data"));
    f.check_unaffected();
    const std::string status = f.rig.expect(0, {"status"});
    INFO(status);
    CHECK(status.find("rollback impossible: source lost its data") != std::string::npos);
    const RunResult refused =
        f.rig.exodus({"rollback", "--confirm", Rig::kName, "--reason", "test"});
    INFO(refused.out, refused.err);
    CHECK(refused.code == 5);
    CHECK(f.rig.authority() == "target");
    CHECK(key_count(f.rig.source()) == 0);
    f.check_unaffected();
    check_ledger(f.ledger, f.rig.target());
}
