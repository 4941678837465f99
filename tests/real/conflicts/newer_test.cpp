// Conflict policy `newer`: names on both sides are decided by expiry, by the last id of a stream or
// by a field; what cannot be decided stops the attempt and is listed.
#include <doctest/doctest.h>

#include "planted.h"

using namespace exodus;
using namespace exodus::test;

namespace {

Planted::Lines newer_by(const std::string& what) {
    return {{"migrate", "conflict = \"newer\""}, {"redis", "newer_by = \"" + what + "\""}};
}

}  // namespace

TEST_CASE("newer by expiry: the later one wins, over a kill amid the copy") {
    Planted planted(newer_by("expiry"));
    for (int i = 0; i < 20; ++i) {
        const std::string name = "session:" + std::to_string(i);
        const std::string early = std::to_string(4'000'000'000'000 + i);
        const std::string late = std::to_string(4'100'000'000'000 + i);
        planted.on_source({"SET", name, "source", "PXAT", i % 2 == 0 ? late : early});
        planted.on_target({"SET", name, "target", "PXAT", i % 2 == 0 ? early : late});
    }
    planted.on_target({"SET", "target:only", "own"});
    planted.on_source({"SET", "same", "1"});  // equal: nothing has to be decided
    planted.on_target({"SET", "same", "1"});
    planted.on_source({"SET", "undecidable", "source"});
    planted.on_target({"SET", "undecidable", "target"});
    CHECK(planted.migrate() == 5);
    const auto listed = planted.changes("conflict");
    CHECK(listed.size() == 1);
    CHECK(listed.at("db0 undecidable") == "cannot tell which is newer: no expiry on both sides");
    planted.on_target({"DEL", "undecidable"});
    planted.rig.expect(0, {"rollback"});
    planted.migrate_through_a_kill();
    for (int i = 0; i < 20; ++i) {
        const std::string name = "session:" + std::to_string(i);
        CAPTURE(name);
        CHECK(planted.on_target({"GET", name}) == (i % 2 == 0 ? "source" : "target"));
        CHECK(planted.on_target({"PEXPIRETIME", name}) == std::to_string(4'100'000'000'000 + i));
    }
    CHECK(planted.on_target({"GET", "target:only"}) == "own");
    planted.write({"APPEND", "session:2", "!"});  // the source won: it is followed
    planted.write({"APPEND", "session:3", "!"});  // the target won: dropped
    planted.write({"INCR", "same"});
    planted.wait_applied();
    CHECK(planted.on_target({"GET", "session:2"}) == "source!");
    CHECK(planted.on_target({"GET", "session:3"}) == "target");
    CHECK(planted.on_target({"GET", "same"}) == "2");
    CHECK(planted.changes("kept").size() == 11);
    const auto [wrong, kept] = planted.verify();
    CHECK(wrong == 0);
    CHECK(kept == 11);
    check_ledger(planted.ledger, planted.rig.source());
}

TEST_CASE("newer by the last id of a stream, and by a field of a hash") {
    SUBCASE("stream_id") {
        Planted planted(newer_by("stream_id"));
        planted.on_source({"XADD", "log:1", "5-9", "a", "source"});
        planted.on_target({"XADD", "log:1", "5-10", "a", "target"});
        planted.on_source({"XADD", "log:2", "20-0", "a", "source"});
        planted.on_target({"XADD", "log:2", "3-0", "a", "target"});
        planted.on_source({"SET", "text", "source"});
        planted.on_target({"SET", "text", "target"});
        CHECK(planted.migrate() == 5);
        CHECK(planted.changes("conflict").at("db0 text") ==
              "cannot tell which is newer: not a stream on both sides");
        planted.on_target({"DEL", "text"});
        // The interlay looks again by itself, within seconds.
        CHECK(eventually(milliseconds(60'000), [&] { return planted.migrate() == 0; }));
        CHECK(planted.on_target({"XRANGE", "log:1", "-", "+"}).find("target") != std::string::npos);
        CHECK(planted.on_target({"XRANGE", "log:2", "-", "+"}).find("source") != std::string::npos);
        CHECK(planted.verify() == std::pair<uint64_t, uint64_t>(0, 1));
        check_ledger(planted.ledger, planted.rig.source());
    }
    SUBCASE("field") {
        Planted planted(newer_by("field:updated"));
        planted.on_source({"HSET", "user:1", "updated", "1700000000", "name", "source"});
        planted.on_target({"HSET", "user:1", "updated", "999999999", "name", "target"});
        planted.on_source({"HSET", "user:2", "updated", "1.5", "name", "source"});
        planted.on_target({"HSET", "user:2", "updated", "10", "name", "target"});
        planted.on_source({"HSET", "user:3", "name", "source"});
        planted.on_target({"HSET", "user:3", "updated", "10", "name", "target"});
        planted.on_source({"HSET", "user:4", "updated", "yesterday", "name", "source"});
        planted.on_target({"HSET", "user:4", "updated", "10", "name", "target"});
        planted.on_source({"HSET", "user:5", "updated", "10", "name", "source"});
        planted.on_target({"HSET", "user:5", "updated", "10", "name", "target"});
        CHECK(planted.migrate() == 5);
        const auto listed = planted.changes("conflict");
        CHECK(listed.size() == 3);
        CHECK(listed.at("db0 user:3").find("no field updated on both sides") != std::string::npos);
        CHECK(listed.at("db0 user:4").find("not a number") != std::string::npos);
        CHECK(listed.at("db0 user:5").find("is 10 on both sides") != std::string::npos);
        planted.on_target({"DEL", "user:3", "user:4", "user:5"});
        CHECK(eventually(milliseconds(60'000), [&] { return planted.migrate() == 0; }));
        CHECK(planted.on_target({"HGET", "user:1", "name"}) == "source");
        CHECK(planted.on_target({"HGET", "user:2", "name"}) == "target");
        CHECK(planted.verify() == std::pair<uint64_t, uint64_t>(0, 1));
        check_ledger(planted.ledger, planted.rig.source());
    }
}
