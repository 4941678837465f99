// Effects of redis.md 4.1 that need more than one command to come about: RESTORE by a client,
// eviction, FLUSHALL and FLUSHDB amid traffic, messages.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

struct Pair {
    RedisServer source{{.engine = Engine::redis, .config = {}, .acl = {}}};
    RedisServer target{{.engine = Engine::valkey, .config = {}, .acl = {}}};
    TempDir directory;
    Mover mover{settings_between(source.port(), target.port()), directory.path()};

    void follow() {
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
    }
};

TEST_CASE("RESTORE by a client is applied as it came, also over what the target has") {
    Pair p;
    p.source.text({"RPUSH", "model", "a", "b"});
    p.follow();
    const ReplyPtr dump = p.source.command({"DUMP", "model"});
    const std::string payload(dump->str, dump->len);
    // Of an earlier history: the operation itself makes it give way, no copy is needed.
    p.target.text({"SET", "there:already", "x"});
    const uint64_t dumps = calls_of(p.source, "dump");
    const uint64_t retries = p.mover.forward->status().retries;
    const std::string until = std::to_string(wall_ms() + 900'000);
    CHECK(p.source.text({"RESTORE", "there:already", "0", payload}) == "OK");
    CHECK(p.source.text({"RESTORE", "with:ttl", "700000", payload}) == "OK");
    CHECK(p.source.text({"RESTORE", "until", until, payload, "ABSTTL"}) == "OK");
    CHECK(p.source.text({"RESTORE", "until", "0", payload, "REPLACE", "FREQ", "7"}) == "OK");
    CHECK(p.source.text({"RPUSH", "until", "c"}) == "3");
    require_equal(p.mover, *p.mover.forward, p.source, p.target);
    CHECK(p.target.text({"PEXPIRETIME", "with:ttl"}) == p.source.text({"PEXPIRETIME", "with:ttl"}));
    CHECK(p.mover.forward->status().retries == retries);
    CHECK(calls_of(p.source, "dump") == dumps);
}

TEST_CASE("keys that the source evicts during the copy and behind it are gone on the target") {
    Pair p;
    p.source.text({"DEBUG", "POPULATE", "6000", "old", "200"});
    p.source.text({"CONFIG", "SET", "maxmemory-policy", "allkeys-random"});
    const auto evict = [&](const std::string& name) {
        const auto used = std::stoull(p.source.info("used_memory"));
        p.source.text({"CONFIG", "SET", "maxmemory", std::to_string(used + 100'000)});
        const auto before = std::stoull(p.source.info("evicted_keys"));
        const std::string value(1'000, 'v');
        for (int i = 0; i < 500; ++i) p.source.text({"SET", name + ":" + std::to_string(i), value});
        CHECK(std::stoull(p.source.info("evicted_keys")) > before + 100);
        p.source.text({"CONFIG", "SET", "maxmemory", "0"});
    };
    REQUIRE(p.mover.forward->set_throttle("bytes_per_s", "256KiB").has_value());
    REQUIRE(p.mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(10'000), [&] { return calls_of(p.source, "dump") > 0; }));
    evict("amid");
    CHECK(p.mover.forward->status().stage == MovementStage::filling);
    REQUIRE(p.mover.forward->set_throttle("bytes_per_s", "1GiB").has_value());
    REQUIRE(p.mover.caught_up(*p.mover.forward, milliseconds(20'000)));
    evict("behind");
    require_equal(p.mover, *p.mover.forward, p.source, p.target);
}

TEST_CASE("FLUSHALL and FLUSHDB amid traffic, during the copy and behind it") {
    Pair p;
    p.source.text({"DEBUG", "POPULATE", "20000"});
    write_some(p.source, 3, 2'000);
    REQUIRE(p.mover.forward->set_throttle("bytes_per_s", "64KiB").has_value());
    Writer writer(p.source.port(), {.seed = 6, .pause_us = 200});
    const auto wait_written = [&] {
        REQUIRE(eventually(milliseconds(20'000),
                           [&, until = writer.count() + 300] { return writer.count() > until; }));
    };
    const auto flush = [&] {
        for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
                 {"FLUSHALL"}, {"FLUSHDB"}, {"FLUSHALL", "ASYNC"}, {"FLUSHDB", "SYNC"}}) {
            wait_written();
            CHECK(p.source.text(words) == "OK");
        }
    };
    REQUIRE(p.mover.forward->set_mode(MovementMode::apply).has_value());
    // The first flush comes when the copy is under way.
    REQUIRE(eventually(milliseconds(20'000), [&] { return calls_of(p.source, "dump") > 0; }));
    wait_written();
    // Keys of a database that nobody writes again: only the flush removes them.
    p.source.text({"SELECT", "9"});
    p.source.text({"MSET", "lost:1", "1", "lost:2", "2"});
    p.source.text({"SELECT", "1"});
    CHECK(p.mover.forward->status().stage == MovementStage::filling);
    flush();
    REQUIRE(p.mover.forward->set_throttle("bytes_per_s", "1GiB").has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] {
        return p.mover.forward->status().stage == MovementStage::following;
    }));
    p.source.text({"SELECT", "9"});
    p.source.text({"SET", "lost:again", "1"});
    REQUIRE(p.mover.caught_up(*p.mover.forward, milliseconds(20'000)));
    CHECK(p.target.info("db9") != "");
    p.source.text({"SELECT", "1"});
    flush();
    writer.stop();
    require_equal(p.mover, *p.mover.forward, p.source, p.target);
    CHECK(p.target.info("db9") == "");
    const auto events = p.mover.journal.events();
    CHECK(std::count_if(events.begin(), events.end(), [](const std::string& event) {
              return event.starts_with("info flush: ");
          }) == 8);
}

TEST_CASE("messages are in the stream of the source, and nobody hears them on the target") {
    Pair p;
    p.follow();
    const auto before = p.mover.forward->status().changes_applied;
    p.source.text({"PUBLISH", "channel", "1"});
    p.source.text({"SPUBLISH", "shard", "1"});
    p.source.text({"SET", "behind", "1"});
    require_equal(p.mover, *p.mover.forward, p.source, p.target);
    CHECK(p.mover.forward->status().changes_applied == before + 1);
    CHECK(calls_of(p.source, "spublish") == 1);
    CHECK(calls_of(p.target, "publish") == 0);
    CHECK(calls_of(p.target, "spublish") == 0);
}

}  // namespace
}  // namespace exodus::test
