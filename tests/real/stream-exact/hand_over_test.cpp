// The way there and back: hand_over, arm and take_back leave no exodus key on the side with
// authority and lose nothing.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

TEST_CASE("switch, rollback, switch: every write arrives, and no exodus key on the authority") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 1, 4000);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(mover.reverse->set_mode(MovementMode::standby).has_value());
    require_equal(mover, *mover.forward, source, target);
    REQUIRE(eventually(milliseconds(5'000),
                       [&] { return mover.reverse->status().stage == MovementStage::standby; }));
    // An abort after the hand-over: taken back, nothing is lost.
    REQUIRE(mover.forward->hand_over().has_value());
    CHECK(target.text({"KEYS", "exodus:*"}) == "[]");
    write_some(source, 2, 500);
    REQUIRE(mover.forward->take_back().has_value());
    write_some(source, 3, 500);
    require_equal(mover, *mover.forward, source, target);
    for (uint64_t round = 0; round < 3; ++round) {
        INFO("round " << round);
        switch_over(*mover.forward, *mover.reverse, target);
        write_some(target, 10 + round, 1500);
        require_equal(mover, *mover.reverse, target, source);
        switch_over(*mover.reverse, *mover.forward, source);
        write_some(source, 20 + round, 1500);
        require_equal(mover, *mover.forward, source, target);
    }
    CHECK(source.info("total_forks") == "0");
    CHECK(target.info("total_forks") == "0");
    REQUIRE(mover.forward->forget().has_value());
    REQUIRE(mover.reverse->forget().has_value());
    CHECK(target.text({"KEYS", "exodus:*"}) == "[]");
    CHECK(source.text({"KEYS", "exodus:*"}) == "[]");
    // A new attempt is not stopped by what this migration itself has copied.
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(10'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    require_equal(mover, *mover.forward, source, target);
}

TEST_CASE("who writes to the side without authority is told, in a transaction too; expiry is not") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 1, 500);
    for (int k = 0; k < 20; ++k)
        source.text({"SET", "dying:" + std::to_string(k), "1", "PX", "6000"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(mover.reverse->set_mode(MovementMode::standby).has_value());
    require_equal(mover, *mover.forward, source, target);
    REQUIRE(eventually(milliseconds(5'000),
                       [&] { return mover.reverse->status().stage == MovementStage::standby; }));
    switch_over(*mover.forward, *mover.reverse, target);
    REQUIRE(eventually(milliseconds(5'000),
                       [&] { return mover.forward->status().stage == MovementStage::standby; }));
    REQUIRE(source.text({"EXISTS", "dying:0"}) == "1");  // they die where nobody else may write
    const std::string expired = source.info("expired_keys");
    const auto strays = [&] {
        std::string text;
        for (const auto& event : mover.journal.events())
            if (event.find("stray-write") != std::string::npos) text += event + "\n";
        return text;
    };
    // What we write back, and keys that expire on the source: by its own cycle and under a reader.
    write_some(target, 2, 1'500);
    REQUIRE(
        eventually(milliseconds(20'000), [&] { return source.info("expired_keys") != expired; }));
    std::vector<std::string> all{"MGET"};
    for (int k = 0; k < 20; ++k) all.push_back("dying:" + std::to_string(k));
    source.text(all);
    REQUIRE(eventually(milliseconds(10'000), [&] {
        source.text(all);
        return source.text({"EXISTS", "dying:0"}) == "0";
    }));
    write_some(target, 3, 500);
    REQUIRE(mover.caught_up(*mover.reverse, milliseconds(20'000)));
    REQUIRE(mover.forward->prove(milliseconds(5'000)).has_value());  // all of it was read
    CHECK(strays() == "");
    const auto other = source.connect();
    send_command(other.get(), {"MULTI"});
    send_command(other.get(), {"SADD", "stray", "1"});
    send_command(other.get(), {"EXEC"});
    CHECK(eventually(milliseconds(10'000),
                     [&] { return strays().find("source (SADD)") != std::string::npos; }));
}

/// Nothing is saved, so that a restart is the loss of everything.
void come_back_empty(RedisServer& server) {
    server.kill();
    server.start();
    REQUIRE(eventually(milliseconds(10'000), [&] { return server.text({"PING"}) == "PONG"; }));
    REQUIRE(server.text({"DBSIZE"}) == "0");
}

bool found_lost(Movement& movement) {
    return eventually(milliseconds(10'000), [&] {
        return movement.status().blocked.find("lost its data") != std::string::npos;
    });
}

/// Both directions stand as before a switch, and what was copied forwards is handed over.
struct HandedOver {
    RedisServer source{{.engine = Engine::redis, .config = {}, .acl = {}}};
    RedisServer target{{.engine = Engine::valkey, .config = {}, .acl = {}}};
    TempDir directory;
    Mover mover{settings_between(source.port(), target.port()), directory.path()};

    HandedOver() {
        write_some(source, 1, 500);
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        REQUIRE(mover.reverse->set_mode(MovementMode::standby).has_value());
        require_equal(mover, *mover.forward, source, target);
        REQUIRE(eventually(milliseconds(5'000), [&] {
            return mover.reverse->status().stage == MovementStage::standby;
        }));
        REQUIRE(mover.forward->hand_over().has_value());
    }
};

TEST_CASE("a source that comes back empty before the first change came back to it is found lost") {
    HandedOver h;
    REQUIRE(h.mover.reverse->arm().has_value());
    come_back_empty(h.source);
    REQUIRE(h.mover.reverse->set_mode(MovementMode::apply).has_value());
    write_some(h.target, 2, 50);
    CHECK(found_lost(*h.mover.reverse));
    CHECK(h.source.text({"DBSIZE"}) == "0");
}

TEST_CASE("a target that restarts behind the hand-over is found when it is asked again") {
    HandedOver h;
    CHECK(h.mover.forward->hand_over().has_value());  // the same one still
    CHECK(eventually(milliseconds(5'000),
                     [&] { return h.mover.forward->status().stage == MovementStage::standby; }));
    come_back_empty(h.target);
    REQUIRE(eventually(milliseconds(10'000), [&] { return h.mover.reverse->arm().has_value(); }));
    const auto again = h.mover.forward->hand_over();
    REQUIRE_FALSE(again);
    CHECK(again.error().code == ErrorCode::safety);
    CHECK(again.error().message.find("target lost its data") != std::string::npos);
    REQUIRE(h.mover.forward->take_back().has_value());
    write_some(h.source, 2, 50);
    CHECK(found_lost(*h.mover.forward));
    CHECK(h.target.text({"DBSIZE"}) == "0");
}

TEST_CASE("a target that restarts amid the hand-over is not handed over, and found lost") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    const TempDir directory;
    std::atomic<bool> restarts{false};
    // Behind the last look at it, when its checkpoint is about to go.
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (side == Side::target && bytes.starts_with("*2\r\n$3\r\nDEL\r\n") &&
                            bytes.find("exodus:cp:") != std::string::npos &&
                            restarts.exchange(false))
                            come_back_empty(target);
                    }}));
    write_some(source, 1, 500);
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_equal(mover, *mover.forward, source, target);
    restarts = true;
    CHECK_FALSE(mover.forward->hand_over().has_value());
    REQUIRE_FALSE(restarts);
    REQUIRE(mover.forward->take_back().has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    write_some(source, 2, 50);
    CHECK(found_lost(*mover.forward));
    CHECK(target.text({"DBSIZE"}) == "0");
}

TEST_CASE("a target that comes back empty in a hold that is aborted is found lost") {
    HandedOver h;
    come_back_empty(h.target);
    REQUIRE(h.mover.forward->take_back().has_value());
    REQUIRE(h.mover.forward->set_mode(MovementMode::apply).has_value());
    write_some(h.source, 2, 50);
    CHECK(found_lost(*h.mover.forward));
    CHECK(h.target.text({"DBSIZE"}) == "0");
}

}  // namespace
}  // namespace exodus::test
