// Attaching to a source that never had a replica (redis.md 4.2 step 2): what it forks, and what it
// does only when it was accepted.
#include <doctest/doctest.h>

#include "core/consent.h"
#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

/// A server that does not know rdb-filter-only, as those below 7.0: the word is changed on its way.
std::unique_ptr<Dialer> without_filter() {
    return std::make_unique<ChangedDialer>(
        ConnectionChanges{.written = [](Side, std::string& bytes) {
            replace_all(bytes, "rdb-filter-only", "rdb-filter-none");
        }});
}

void check_exact_under_load(Mover& mover, RedisServer& source, RedisServer& target) {
    Writer writer(source.port(), {.seed = 5, .pause_us = 200});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] { return writer.count() > 2'000; }));
    writer.stop();
    const bool caught = mover.caught_up(*mover.forward, milliseconds(25'000));
    INFO(mover.forward->status().blocked, mover.forward->status().degraded);
    REQUIRE(caught);
    CHECK(differences(source, target) == "");
}

constexpr const char* kForksAtOnce[] = {"repl-diskless-sync no", "repl-diskless-sync-delay 0",
                                        "repl-diskless-sync-max-replicas 1"};

TEST_CASE("a source that would fork at once forks once at the most, for nothing") {
    for (const Engine engine : {Engine::redis, Engine::valkey}) {
        for (const char* config : kForksAtOnce) {
            CAPTURE(config);
            RedisServer source({.engine = engine, .config = {config}, .acl = {}});
            RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
            write_some(source, 3, 3'000);
            const TempDir directory;
            Mover mover(settings_between(source.port(), target.port()), directory.path());
            check_exact_under_load(mover, source, target);
            CHECK(std::stoi(source.info("total_forks")) <= 1);
        }
    }
}

TEST_CASE("a source that would fork for all its data does so only when that was accepted") {
    RedisServer source({.engine = Engine::redis, .config = {"repl-diskless-sync no"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 3, 3'000);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                without_filter());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(10'000), [&] {
        return mover.forward->status().blocked.find("--accept-full-sync") != std::string::npos;
    }));
    CHECK(source.info("total_forks") == "0");
    CHECK(source.info("repl_backlog_active") == "0");
    REQUIRE(mover.forward->set_mode(MovementMode::off).has_value());
    REQUIRE(mover.journal.save_position("forward", kFullSyncConsent, "test").has_value());
    check_exact_under_load(mover, source, target);
    CHECK(source.info("total_forks") == "1");
}

TEST_CASE(
    "the source hears how far its changes are durable when that was asked for, else nothing") {
    for (const bool durable : {false, true}) {
        CAPTURE(durable);
        RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
        RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
        const TempDir directory;
        Settings settings = settings_between(source.port(), target.port());
        if (durable) settings.family_options["stream.ack"] = "durable";
        Mover mover(settings, directory.path());
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
        const auto writer = source.connect();
        send_command(writer.get(), {"SET", "a", "1"});
        const auto confirmed = [&](const char* timeout_ms) {
            return send_command(writer.get(), {"WAIT", "1", timeout_ms})->integer == 1;
        };
        const auto check_confirmed = [&] {
            if (durable)
                CHECK(eventually(milliseconds(20'000), [&] { return confirmed("500"); }));
            else
                CHECK_FALSE(confirmed("1500"));
        };
        check_confirmed();
        const std::string replica = source.info("slave0");
        CHECK_MESSAGE((replica.find("offset=0,") == std::string::npos) == durable, replica);
        // Anew behind a lost link.
        source.text({"CLIENT", "KILL", "TYPE", "replica"});
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
        send_command(writer.get(), {"SET", "a", "2"});
        check_confirmed();
    }
}

}  // namespace
}  // namespace exodus::test
