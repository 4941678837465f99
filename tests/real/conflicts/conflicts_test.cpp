// Hazard: the target is not empty. Each policy must do what it says to names on both sides and to
// names that only the target has: under load, over a kill -9 amid the copy, over a rollback before
// the switch and over one behind it; and verify and status must say what was not copied.
#include <doctest/doctest.h>

#include "planted.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr uint64_t kDatabases = 2;
constexpr auto kEach = static_cast<uint64_t>(Planted::kEach);

bool nothing_of_exodus(RedisServer& server) {
    return server.command({"KEYS", "exodus:*"})->elements == 0;
}

}  // namespace

TEST_CASE("fail: the attempt stops, lists at most 1,000 names, and the target is as it was") {
    Planted planted(Planted::Lines{});
    planted.plant();
    const auto before = planted.values(planted.rig.target(), "");
    CHECK(planted.migrate() == 5);
    CHECK(planted.values(planted.rig.target(), "") == before);
    const auto listed = planted.changes("conflict");
    CHECK(listed.size() == kDatabases * kEach * 7);
    CHECK(listed.at("db1 equal:set:3") == "on both sides, equal");
    CHECK(listed.at("db0 differ:l:1") == "on both sides, different (order)");
    CHECK(listed.at("db0 differ:s:1").find("different (") != std::string::npos);
    CHECK(listed.at("db1 target:h:2") == "only on the target");
    for (int i = 0; i < 1'500; ++i) planted.on_target({"SET", "many:" + std::to_string(i), "1"});
    // The interlay looks again by itself.
    CHECK(eventually(milliseconds(20'000),
                     [&] { return planted.changes("conflict").size() == 1'000; }));
    CHECK(planted.migrate() == 5);
    // A rollback leaves what is the target's; with the target empty the migration goes on.
    planted.rig.expect(0, {"rollback"});
    CHECK(planted.on_target({"GET", "many:7"}) == "1");
    CHECK(nothing_of_exodus(planted.rig.target()));
    planted.on_target({"FLUSHALL"});
    CHECK(planted.migrate() == 0);
    CHECK(planted.changes("conflict").empty());
    check_equal(planted.rig, planted.ledger);
    check_ledger(planted.ledger, planted.rig.source());
}

TEST_CASE("skip: the target's values stay, changes to them are dropped, counted and said") {
    Planted planted(Planted::Lines{{"migrate", "conflict = \"skip\""}});
    planted.plant();
    const auto before = planted.values(planted.rig.target(), "");
    planted.migrate_through_a_kill();
    const auto kept_as_before = [&] {
        const auto now = planted.values(planted.rig.target(), "");
        for (const auto& entry : before) {
            INFO(entry.first);
            const auto found = now.find(entry.first);
            REQUIRE(found != now.end());
            CHECK(found->second == entry.second);
        }
    };
    kept_as_before();
    CHECK(planted.changes("kept").size() == before.size());

    planted.write({"APPEND", "differ:s:0", " more"});
    planted.write({"DEL", "equal:h:1"});
    planted.write({"SET", "target:s:2", "the source has it now"});
    planted.write({"MSET", "differ:s:3", "x", "fresh:1", "y"});
    planted.wait_applied();
    kept_as_before();
    CHECK(planted.on_target({"GET", "fresh:1"}) == "y");
    const std::string status = planted.rig.expect(0, {"status"});
    CHECK_MESSAGE(status.find("168 of the target kept, 4 changes of the source to them dropped") !=
                      std::string::npos,
                  status);
    const auto [wrong, kept] = planted.verify();
    CHECK(wrong == 0);
    CHECK(kept >= kDatabases * kEach * 4);

    // An operation over a kept key and one of the source: what it moved is lost on the target.
    planted.write({"RPUSH", "queue:own", "job 1", "job 2"});
    planted.write({"LMOVE", "queue:own", "differ:l:4", "LEFT", "RIGHT"});
    planted.wait_applied();
    kept_as_before();
    CHECK(planted.on_target({"LRANGE", "queue:own", "0", "-1"}) ==
          planted.on_source({"LRANGE", "queue:own", "0", "-1"}));
    const std::string listed = planted.rig.expect(2, {"errors", "list"});
    CHECK_MESSAGE(listed.find("differ:l:4  LMOVE went over this key") != std::string::npos, listed);
    planted.rig.expect(0, {"approve", "switch", "--reason", "test"});
    planted.rig.expect(2, {"migrate", "--switch", "--confirm", Rig::kName, "--reason", "test"});
    CHECK(planted.rig.authority() == "source");
    planted.rig.expect(0, {"errors", "re-drive"});
    CHECK(eventually(milliseconds(10'000), [&] {
        return planted.rig.exodus({"errors", "list"}).code == 0;
    }));
    CHECK(planted.changes("accepted").contains("db0 differ:l:4"));
    kept_as_before();

    // Rollback before the switch, and again.
    planted.rig.expect(0, {"rollback"});
    CHECK(nothing_of_exodus(planted.rig.target()));
    kept_as_before();
    CHECK(planted.migrate() == 0);
    kept_as_before();

    // Behind a switch the target's values are the truth; what is written to them reaches the
    // source.
    planted.rig.do_switch();
    planted.write({"APPEND", "differ:s:5", " and on"});
    planted.write({"INCR", "target:counter"});
    planted.write({"HSET", "target:h:6", "more", "1"});
    CHECK(eventually(milliseconds(20'000), [&] {
        return planted.on_source({"GET", "differ:s:5"}) == "target 5 and on" &&
               planted.on_source({"GET", "target:counter"}) == "1" &&
               planted.on_source({"HGET", "target:h:6", "own"}) == "6";
    }));
    planted.rig.do_rollback();
    CHECK(planted.on_source({"GET", "differ:s:5"}) == "target 5 and on");
    check_ledger(planted.ledger, planted.rig.source());
}

TEST_CASE("overwrite: the source wins, what only the target has is kept until the source has it") {
    Planted planted(Planted::Lines{{"migrate", "conflict = \"overwrite\""}});
    planted.plant();
    for (int i = 0; i < 5; ++i)
        planted.on_target({"ZADD", "target:z:" + std::to_string(i), "1", "own"});
    const auto own_before = planted.values(planted.rig.target(), "target:");
    planted.migrate_through_a_kill();
    CHECK(planted.values(planted.rig.target(), "target:") == own_before);
    for (const char* prefix : {"equal:", "differ:"}) {
        CHECK(planted.values(planted.rig.target(), prefix) ==
              planted.values(planted.rig.source(), prefix));
    }
    CHECK(planted.changes("overwritten").size() == kDatabases * kEach * 5);
    CHECK(planted.changes("kept").size() == own_before.size());

    // The source reads a name that it lacks: nothing of the target's own changes.
    planted.write({"ZADD", "own:z", "2", "source"});
    planted.write({"ZUNIONSTORE", "own:union", "2", "own:z", "target:z:1"});
    planted.wait_applied();
    CHECK(planted.values(planted.rig.target(), "target:") == own_before);
    CHECK(planted.on_target({"ZCARD", "own:union"}) == "1");
    // It creates some: by a reset, by an operation on nothing, and one that it removes again.
    planted.write({"SET", "target:s:0", "the source's"});
    planted.write({"HSET", "target:h:0", "source", "1"});
    planted.write({"INCR", "target:s:1"});
    planted.write({"ZADD", "target:z:0", "5", "source"});
    planted.write({"DEL", "target:z:0"});
    planted.wait_applied();
    CHECK(planted.on_target({"GET", "target:s:0"}) == "the source's");
    CHECK(planted.on_target({"HGETALL", "target:h:0"}) ==
          planted.on_source({"HGETALL", "target:h:0"}));
    CHECK(planted.on_target({"GET", "target:s:1"}) == "1");
    CHECK(planted.on_target({"EXISTS", "target:z:0"}) == "0");
    auto [wrong, kept] = planted.verify();
    CHECK(wrong == 0);
    CHECK(kept == own_before.size() - 4);

    // A database emptied on the source does not empty the target's own keys there.
    planted.write({"SET", "short:lived", "1"});
    const auto left = planted.values(planted.rig.target(), "target:");
    planted.rig.source().command({"SELECT", "5"});
    planted.rig.source().command({"FLUSHDB"});
    planted.rig.source().command({"SELECT", "0"});
    planted.wait_applied();
    CHECK(planted.values(planted.rig.target(), "target:") == left);

    // The next attempt repairs, and its sweep must tell the target's own from what was copied.
    planted.rig.expect(0, {"rollback"});
    planted.write({"DEL", "target:s:0", "short:lived"});
    CHECK(planted.on_target({"EXISTS", "target:s:0", "short:lived"}) == "2");
    CHECK(planted.migrate() == 0);
    CHECK(planted.on_target({"EXISTS", "target:s:0", "short:lived"}) == "0");
    CHECK(planted.changes("removed").contains("db0 short:lived"));
    CHECK(planted.on_target({"GET", "target:s:2"}) == "own 2");

    planted.rig.do_switch();
    planted.write({"APPEND", "target:s:3", "!"});
    wait_for_load(planted.ledger, 300);
    planted.ledger.pause(true);
    planted.rig.expect(0, {"commit", "--confirm", Rig::kName, "--reason", "test"});
    CHECK(planted.on_source({"GET", "target:s:3"}) == "own 3!");
    check_ledger(planted.ledger, planted.rig.target());
}

TEST_CASE("overwrite with extra = delete: the target ends as the source, removals are listed") {
    Planted planted(
        Planted::Lines{{"migrate", "conflict = \"overwrite\""}, {"redis", "extra = \"delete\""}});
    planted.plant();
    planted.migrate_through_a_kill();
    CHECK(planted.values(planted.rig.target(), "target:").empty());
    const auto removed = planted.changes("removed");
    CHECK(removed.size() == kDatabases * kEach * 2);
    CHECK(removed.contains("db1 target:s:11"));
    check_equal(planted.rig, planted.ledger);
    check_ledger(planted.ledger, planted.rig.source());
}
