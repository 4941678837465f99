// What a target refuses: a key that it does not take, a verb that it does not know, a verb of a
// module that it does not have.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

void follow(Mover& mover) {
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
}

TEST_CASE("a key that is refused again and again is listed, and moves when it is taken") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"SET", "refused", "damaged on its way"});
    source.text({"SET", "taken", "1"});
    // Its checksum does not fit any more.
    std::atomic<bool> damage{true};
    std::atomic<int> tried{0};
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (side == Side::source || !damage) return;
                        if (bytes.find("damaged on its way") != std::string::npos) ++tried;
                        replace_all(bytes, "damaged on its way", "damaged on the way");
                    }}));
    follow(mover);
    REQUIRE(eventually(milliseconds(10'000),
                       [&] { return mover.forward->status().failed_items == 1; }));
    CHECK(tried >= limits::kItemTries_max);
    const auto errors = mover.journal.item_errors("forward", 10).value();
    REQUIRE(errors.size() == 1);
    CHECK(errors[0].key == "refused");
    CHECK(errors[0].location == "db0");
    CHECK_MESSAGE(errors[0].reason.find("checksum") != std::string::npos, errors[0].reason);
    // What comes behind is applied, and nothing of what came to it.
    source.text({"APPEND", "refused", "!"});
    source.text({"INCR", "taken"});
    REQUIRE(eventually(milliseconds(10'000), [&] { return target.text({"GET", "taken"}) == "2"; }));
    CHECK(target.text({"EXISTS", "refused"}) == "0");
    damage = false;
    CHECK(mover.forward->redrive().value() == 1);
    CHECK(eventually(milliseconds(10'000),
                     [&] { return mover.forward->status().failed_items == 0; }));
    require_equal(mover, *mover.forward, source, target);
    CHECK(target.text({"GET", "refused"}) == "damaged on its way!");
}

TEST_CASE("a verb that the target does not know: its keys are copied by state") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey,
                        .config = {"rename-command HINCRBY \"\"", "rename-command RPUSH \"\""},
                        .acl = {}});
    source.text({"HSET", "h", "n", "1"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    follow(mover);
    for (const auto& words : std::vector<std::vector<std::string>>{{"SET", "before", "1"},
                                                                   {"HINCRBY", "h", "n", "41"},
                                                                   {"EXPIRE", "h", "1000"},
                                                                   {"RPUSH", "l", "x", "y"},
                                                                   {"LPOP", "l"},
                                                                   {"SET", "behind", "1"}}) {
        source.text(words);
    }
    require_equal(mover, *mover.forward, source, target);
    CHECK(target.text({"HGET", "h", "n"}) == "42");
    CHECK(has_event(mover, "unknown-verb: HINCRBY"));
    CHECK(has_event(mover, "unknown-verb: RPUSH"));
    CHECK(mover.forward->status().failed_items == 0);
}

TEST_CASE("a target without the verb that copies need blocks") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target(
        {.engine = Engine::valkey, .config = {"rename-command RESTORE \"\""}, .acl = {}});
    source.text({"HSET", "h", "n", "1"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    CHECK(eventually(milliseconds(10'000), [&] {
        return mover.forward->status().blocked.find("does not know RESTORE") != std::string::npos;
    }));
    CHECK_FALSE(has_event(mover, "unknown-verb"));
    CHECK(target.text({"EXISTS", "h"}) == "0");
}

TEST_CASE("a verb of a module that the target does not have: its keys are copied by state") {
    RedisServer source({.engine = Engine::redis,
                        .config = {std::string("loadmodule ") + EXODUS_TEST_MODULE},
                        .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"ODD.KEEP", "before", "1"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    follow(mover);
    const auto context = source.connect();
    for (const auto& words : std::vector<std::vector<std::string>>{{"ODD.KEEP", "k", "1"},
                                                                   {"INCR", "k"},
                                                                   {"ODD.KEEP", "k", "7"},
                                                                   {"SELECT", "2"},
                                                                   {"ODD.KEEP", "k", "in db 2"},
                                                                   {"APPEND", "k", "!"},
                                                                   {"MULTI"},
                                                                   {"ODD.KEEP", "in", "a group"},
                                                                   {"SET", "with", "it"},
                                                                   {"EXEC"}}) {
        send_command(context.get(), words);
    }
    require_equal(mover, *mover.forward, source, target);
    CHECK(target.text({"GET", "k"}) == "7");
    CHECK(mover.forward->status().blocked == "");
}

}  // namespace
}  // namespace exodus::test
