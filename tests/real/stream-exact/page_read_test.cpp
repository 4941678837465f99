// The copy asks less of the source where pages hold short strings, or keys without expiry. Hazard:
// what changes behind that guess: a key gets an expiry, another type, or gigabytes, between one
// page and the next.
#include <atomic>
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

constexpr int kKeys = 8'000;  // several pages of SCAN

/// Strings of 0 to 96 bytes, numbers among them.
void fill_strings(RedisServer& server, int database) {
    const auto context = server.connect();
    send_command(context.get(), {"SELECT", std::to_string(database)});
    for (int i = 0; i < kKeys; ++i) {
        const std::string value =
            i % 5 == 0 ? std::to_string(i) : random_text(static_cast<std::size_t>(i % 97));
        send_command(context.get(), {"SET", fmt::format("s:{}", i), value});
    }
}

void fill(Mover& mover) {
    REQUIRE(mover.forward->set_throttle("origin_p99_ratio", "0").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(60'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
}

/// Replies of errors that the server has counted: "count=3".
std::string wrong_types(RedisServer& server) { return server.info("errorstat_WRONGTYPE"); }

/// A page of strings is asked for without their types; what is left over of a page is less.
bool asks_for_strings(Side side, const std::string& bytes) {
    return side == Side::source && bytes.size() > 50'000 &&
           bytes.find("GETRANGE") != std::string::npos && bytes.find("MULTI") != std::string::npos;
}

TEST_CASE("strings alone: no DUMP but of the first page, and no expiry asked for") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    fill_strings(source, 0);
    const std::string big = random_text(limits::kBigKey_bytes + 1'000);
    for (int i = 0; i < 4; ++i) {
        source.text({"SET", fmt::format("long:{}", i), big.substr(0, 4'094 + std::size_t(i))});
        source.text({"SET", fmt::format("big:{}", i), big});
    }
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    fill(mover);
    // Before comparing asks, too. Empty strings take the long way where expiries are not asked for.
    CHECK(calls_of(source, "dump") < kKeys / 2);
    CHECK(calls_of(source, "memory|usage") < kKeys / 2);
    CHECK(calls_of(source, "pexpiretime") < kKeys / 2);
    CHECK(calls_of(source, "getrange") > kKeys / 2);
    CHECK(calls_of(source, "type") < 100);  // of the big ones
    CHECK(wrong_types(source).empty());
    require_equal(mover, *mover.forward, source, target);
    CHECK(mover.forward->status().failed_items == 0);
    CHECK(calls_of(target, "rename") == 4);  // these were copied in pieces
}

TEST_CASE("strings with some of other types: types are asked for, and cause no errors") {
    for (const auto& [from, to] :
         {std::pair(Engine::redis, Engine::valkey), std::pair(Engine::valkey, Engine::redis)}) {
        RedisServer source({.engine = from, .config = {}, .acl = {}});
        RedisServer target({.engine = to, .config = {}, .acl = {}});
        for (const int database : {0, 2}) {
            fill_strings(source, database);
            const auto context = source.connect();
            send_command(context.get(), {"SELECT", std::to_string(database)});
            for (int i = 0; i < kKeys / 4; ++i) {
                const std::string n = std::to_string(i);
                send_command(context.get(), {"HSET", "h:" + n, "f", n});
                send_command(context.get(), {"SADD", "e:" + n, "a" + n, "b"});
                if (i % 3 == 0) send_command(context.get(), {"PEXPIRE", "s:" + n, "1000000"});
                if (i % 9 == 0) send_command(context.get(), {"SET", "l:" + n, random_text(9'000)});
            }
        }
        const TempDir directory;
        Mover mover(settings_between(source.port(), target.port()), directory.path());
        fill(mover);
        require_equal(mover, *mover.forward, source, target);
        CHECK(mover.forward->status().failed_items == 0);
        CHECK(calls_of(source, "getrange") > kKeys / 2);
        CHECK(calls_of(source, "type") > kKeys / 2);
        CHECK(wrong_types(source).empty());
    }
}

TEST_CASE("expiries that keys get while none is asked for") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    fill_strings(source, 0);
    std::atomic<int> pages{0};
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.lane_stall_ms = 50},  // the page arrives before the operations
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (!asks_for_strings(side, bytes) || ++pages != 2) return;
                        CHECK(bytes.find("PEXPIRETIME") == std::string::npos);
                        sleep_ms(1'000);  // the page before it has arrived
                        const auto context = source.connect();
                        send_command(context.get(),
                                     {"EVAL",
                                      "for i = 0, ARGV[1] - 1 do "
                                      "redis.call('PEXPIRE', 's:' .. i, 1000000 + i) end",
                                      "0", std::to_string(kKeys)});
                    }}));
    fill(mover);
    CHECK(pages >= 2);
    require_equal(mover, *mover.forward, source, target);
    CHECK(mover.forward->status().failed_items == 0);
}

TEST_CASE("keys that become another type, or long, while strings are read") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    fill_strings(source, 0);
    std::atomic<int> pages{0};
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.lane_stall_ms = 50},
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (!asks_for_strings(side, bytes) || ++pages != 2) return;
                        const auto context = source.connect();
                        int changed = 0;
                        for (int i = 0; i < kKeys; i += 7) {
                            const std::string key = fmt::format("s:{}", i);
                            if (bytes.find("\r\n" + key + "\r\n") == std::string::npos) continue;
                            ++changed;
                            if (i % 2 == 0) {
                                send_command(context.get(), {"DEL", key});
                                if (i % 4 == 0)
                                    send_command(context.get(), {"RPUSH", key, "x", "y"});
                            } else {
                                send_command(context.get(), {"APPEND", key, random_text(6'000)});
                            }
                        }
                        CHECK(changed > 100);
                    }}));
    fill(mover);
    CHECK(pages >= 2);
    require_equal(mover, *mover.forward, source, target);
    CHECK(mover.forward->status().failed_items == 0);
    CHECK_FALSE(wrong_types(source).empty());
}

TEST_CASE("a connection that is lost between the strings of a page and its other keys") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    fill_strings(source, 0);
    const auto context = source.connect();
    for (int i = 0; i < kKeys / 4; ++i)
        send_command(context.get(), {"HSET", fmt::format("h:{}", i), "f", "v"});
    std::atomic<bool> strings{false};
    std::atomic<bool> lost{false};
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (side != Side::source) return;
                        if (bytes.find("GETRANGE") != std::string::npos) strings = true;
                        if (!strings || lost || bytes.find("MEMORY") == std::string::npos) return;
                        lost = true;
                        sleep_ms(200);  // the strings arrive meanwhile
                        bytes = "*1\r\n$4\r\nQUIT\r\n";
                    }}));
    fill(mover);
    CHECK(lost);
    require_equal(mover, *mover.forward, source, target);
    CHECK(mover.forward->status().failed_items == 0);
}

TEST_CASE("strings under writes of every kind, and of every type") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    for (const int database : {0, 1, 2}) fill_strings(source, database);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.watermarks = 600});
    Writer one(source.port(), {.seed = 3, .keys = kKeys, .pause_us = 50});
    Writer two(source.port(), {.seed = 4, .keys = kKeys, .pause_us = 50});
    REQUIRE(eventually(milliseconds(20'000), [&] { return one.count() > 500; }));
    fill(mover);
    one.stop();
    two.stop();
    require_equal(mover, *mover.forward, source, target);
    CHECK(mover.forward->status().failed_items == 0);
    CHECK(calls_of(source, "getrange") > kKeys);
}

TEST_CASE("a user without GETRANGE copies as before") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    fill_strings(source, 0);
    source.text({"ACL", "SETUSER", "mover", "on", ">secret", "~*", "&*", "+@all", "-getrange"});
    Settings settings = settings_between(source.port(), target.port());
    settings.source.user = "mover";
    settings.source.password = Secret("secret");
    const TempDir directory;
    Mover mover(settings, directory.path());
    fill(mover);
    require_equal(mover, *mover.forward, source, target);
    CHECK(calls_of(source, "dump") >= kKeys);
}

}  // namespace
}  // namespace exodus::test
