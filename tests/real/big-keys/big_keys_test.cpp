// Keys that are too big to be copied whole are copied in pieces while every verb changes them
// (redis.md 4.8): the end is exact, over both version steps, through kill -9, restarts of a copy
// and flushes; nothing of exodus' own is left but the checkpoint.
#include <cstdlib>
#include <doctest/doctest.h>
#include <sstream>

#include "tests/real/big-keys/big_data.h"
#include "tests/real/stream-exact/mover.h"
#include "tests/support/compare_servers.h"

namespace exodus::test {
namespace {

constexpr BigSizes kSmaller{160'000, 120'000, 90'000, 150'000, 16};

const ServerOptions kRedis{
    .engine = Engine::redis, .config = {"repl-backlog-size 256mb"}, .acl = {}};
const ServerOptions kValkey{
    .engine = Engine::valkey, .config = {"repl-backlog-size 256mb"}, .acl = {}};

/// As differences(), with time for values of a million elements.
std::string all_differences(RedisServer& left, RedisServer& right) {
    const auto a = connect_to(left.port(), milliseconds(120'000));
    const auto b = connect_to(right.port(), milliseconds(120'000));
    const ServersCompared compared = compare_servers(a.get(), b.get(), 3);
    std::string text;
    for (const auto& difference : compared.differences) text += difference.substr(0, 400) + "\n";
    return text;
}

std::string state_of(Mover& mover) {
    const MovementStatus status = mover.forward->status();
    std::string text =
        "stage " + std::string(to_string(status.stage)) + " waits: " + status.waiting_for +
        " blocked: " + status.blocked + " degraded: " + status.degraded + " repairs " +
        std::to_string(status.repairs_open) + " lag " + std::to_string(status.lag_bytes) + "\n";
    for (const auto& event : mover.journal.events()) text += event + "\n";
    return text;
}

void require_filled(Mover& mover) {
    const bool filled = eventually(milliseconds(120'000), [&] {
        return mover.forward->status().stage == MovementStage::following;
    });
    INFO(state_of(mover));
    REQUIRE(filled);
}

void require_equal(Mover& mover, RedisServer& source, RedisServer& target) {
    const bool caught = mover.caught_up(*mover.forward, milliseconds(120'000));
    INFO(state_of(mover));
    REQUIRE(caught);
    CHECK(all_differences(source, target) == "");
    CHECK(mover.forward->status().failed_items == 0);
    for (const char* db : {"0", "1", "2"}) {
        target.text({"SELECT", db});
        const std::string own = target.text({"KEYS", "exodus:*"});
        INFO("database " << db << ": " << own);
        CHECK(own.find("exodus:big") == std::string::npos);
    }
    target.text({"SELECT", "0"});
}

int calls(RedisServer& server, const std::string& verb) {
    const std::string stats = server.text({"INFO", "commandstats"});
    const auto at = stats.find("cmdstat_" + verb + ":calls=");
    return at == std::string::npos ? 0 : std::atoi(stats.c_str() + at + verb.size() + 15);
}

/// -0 is another score than 0 to a verification, and to nobody else.
std::string zero_score(RedisServer& server) { return server.text({"ZSCORE", "zset", "m:-0"}); }

void exact_between(const ServerOptions& from, const ServerOptions& to) {
    RedisServer source(from);
    RedisServer target(to);
    const BigSizes sizes;
    fill_big(source, sizes);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_throttle("origin_p99_ratio", "0").has_value());
    BigWriter one(source.port(), {.seed = 1, .sizes = sizes});
    BigWriter two(source.port(), {.seed = 2, .sizes = sizes});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_filled(mover);
    const uint64_t until = one.count() + 500;
    REQUIRE(eventually(milliseconds(20'000), [&] { return one.count() > until; }));
    one.stop();
    two.stop();
    require_equal(mover, source, target);
    CHECK(zero_score(target) == zero_score(source));
    CHECK(calls(target, "rename") >= 8);  // none of them was copied whole
    CHECK(source.info("total_forks") == "0");
}

TEST_CASE("every type in pieces under writes, redis 7.0 to valkey 8.0") {
    exact_between(kRedis, kValkey);
}

TEST_CASE("every type in pieces under writes, valkey 8.0 to redis 7.0") {
    exact_between(kValkey, kRedis);
}

TEST_CASE("mover child" * doctest::skip()) {
    const char* where = std::getenv("EXODUS_MOVER_CHILD");
    REQUIRE(where != nullptr);
    std::istringstream in(where);
    int source = 0;
    int target = 0;
    std::string directory;
    in >> source >> target >> directory;
    Mover mover(settings_between(source, target), directory);
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "30mb").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    (void)eventually(
        milliseconds(600'000), [] { return false; }, milliseconds(1000));  // until killed
}

TEST_CASE("kill -9 of the mover while a big key is copied") {
    RedisServer source(kRedis);
    RedisServer target(kValkey);
    fill_big(source, kSmaller);
    const TempDir directory;
    BigWriter writer(source.port(), {.seed = 5, .wholesale = true, .sizes = kSmaller});
    std::mt19937_64 random(17);
    ProcessOptions options;
    options.environment["EXODUS_MOVER_CHILD"] = std::to_string(source.port()) + " " +
                                                std::to_string(target.port()) + " " +
                                                directory.path();
    bool seen = false;
    for (int i = 0; i < 8; ++i) {
        Process child({"/proc/self/exe", "--test-case=mover child", "--no-skip"}, options);
        sleep_ms(static_cast<int64_t>(300 + random() % 1500));
        child.kill();
        seen = seen || target.text({"KEYS", "exodus:big*"}).find("exodus:big") != std::string::npos;
    }
    CHECK(seen);
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_filled(mover);
    writer.stop();
    require_equal(mover, source, target);
}

TEST_CASE("what changes too fast for pieces is copied whole, or is an error row") {
    for (const std::string policy : {"dump", "fail"}) {
        CAPTURE(policy);
        RedisServer source(kRedis);
        RedisServer target(kValkey);
        fill_big(source, kSmaller);
        const TempDir directory;
        Settings settings = settings_between(source.port(), target.port());
        settings.family_options["copy.big_key"] = policy;
        Mover mover(settings, directory.path());
        BigWriter writer(source.port(), {.seed = 3, .hot_list = true, .sizes = kSmaller});
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        require_filled(mover);
        writer.stop();
        if (policy == "dump") {
            require_equal(mover, source, target);
            CHECK(state_of(mover).find("it is copied whole") != std::string::npos);
            continue;
        }
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(60'000)));
        const auto errors = mover.journal.item_errors("forward", 10);
        REQUIRE(errors.has_value());
        INFO(state_of(mover));
        REQUIRE(errors->size() >= 1);
        CHECK(errors->front().reason.find("in pieces") != std::string::npos);
        // Driven again when nobody writes, it is copied.
        CHECK(mover.forward->redrive().value_or(0) >= 1);
        REQUIRE(eventually(milliseconds(60'000),
                           [&] { return mover.forward->status().failed_items == 0; }));
        require_equal(mover, source, target);
    }
}

TEST_CASE("deleted and made anew, renamed, expired and popped while it is copied") {
    RedisServer source(kRedis);
    RedisServer target(kValkey);
    fill_big(source, kSmaller);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "60mb").has_value());
    BigWriter one(source.port(), {.seed = 8, .wholesale = true, .sizes = kSmaller});
    BigWriter two(source.port(), {.seed = 9, .wholesale = true, .sizes = kSmaller});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_filled(mover);
    one.stop();
    two.stop();
    require_equal(mover, source, target);
}

TEST_CASE(
    "flushes and swaps while big keys wait or are copied, and what a given-up attempt leaves") {
    RedisServer source(kRedis);
    RedisServer target(kValkey);
    fill_big(source, kSmaller);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "20mb").has_value());
    const auto copying = [&] {
        return mover.forward->status().waiting_for.find("big key") != std::string::npos;
    };
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(60'000), copying));
    source.text({"SWAPDB", "0", "1"});
    source.text({"SELECT", "1"});
    source.text({"HSET", "hash", "f1", "swapped"});
    source.text({"SELECT", "0"});
    REQUIRE(eventually(milliseconds(60'000), copying));
    source.text({"FLUSHDB"});
    source.text({"HSET", "hash", "after", "the flush"});
    REQUIRE(eventually(milliseconds(60'000), copying));
    // Given up in the middle: nothing of exodus' own stays.
    REQUIRE(mover.forward->forget().has_value());
    for (const char* db : {"0", "1"}) {
        target.text({"SELECT", db});
        CHECK(target.text({"KEYS", "exodus:*"}).find("exodus:") == std::string::npos);
    }
    target.text({"SELECT", "0"});
    Mover again(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(again.forward->set_mode(MovementMode::apply).has_value());
    require_filled(again);
    require_equal(again, source, target);
}

TEST_CASE("a string of 512 MB" * doctest::skip()) {
    RedisServer source(kRedis);
    RedisServer target(kValkey);
    BigSizes sizes = kSmaller;
    sizes.string_mb = 512;
    fill_big(source, sizes);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_filled(mover);
    require_equal(mover, source, target);
}

}  // namespace
}  // namespace exodus::test
