// The same exactness through kill -9 of the moving process, gaps, lost connections, a destination
// out of memory, expiries that were extended during lag, flushes and swaps.
#include <cstdlib>
#include <doctest/doctest.h>
#include <sstream>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

void wait_written(const Writer& writer, uint64_t more) {
    const uint64_t until = writer.count() + more;
    REQUIRE(eventually(milliseconds(20'000), [&] { return writer.count() > until; }));
}

TEST_CASE("mover child" * doctest::skip()) {
    const char* where = std::getenv("EXODUS_MOVER_CHILD");
    REQUIRE(where != nullptr);
    std::istringstream in(where);
    int source = 0;
    int target = 0;
    std::string directory;
    in >> source >> target >> directory;
    Mover mover(settings_between(source, target), directory, {.watermarks = 60});
    if (std::string rate; in >> rate)
        REQUIRE(mover.forward->set_throttle("bytes_per_s", rate).has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    (void)eventually(
        milliseconds(600'000), [] { return false; }, milliseconds(1000));  // until killed
}

/// A moving process that can be killed; `rate` limits the copy.
Process mover_child(const RedisServer& source, const RedisServer& target, const TempDir& directory,
                    const std::string& rate = {}) {
    ProcessOptions options;
    options.environment["EXODUS_MOVER_CHILD"] = std::to_string(source.port()) + " " +
                                                std::to_string(target.port()) + " " +
                                                directory.path() + " " + rate;
    return {{"/proc/self/exe", "--test-case=mover child", "--no-skip"}, options};
}

TEST_CASE("kill -9 at random moments of fill and follow") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 3, 6000);
    const TempDir directory;
    Writer writer(source.port(), {.seed = 5, .pause_us = 200});
    std::mt19937_64 random(11);
    for (int i = 0; i < 14; ++i) {
        Process child = mover_child(source, target, directory);
        sleep_ms(static_cast<int64_t>(i < 7 ? 40 + random() % 200 : 200 + random() % 900));
        child.kill();
    }
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    writer.stop();
    require_equal(mover, *mover.forward, source, target);
}

/// Of the fill, as it stands in the file.
std::string durable_place(const TempDir& directory) {
    FileJournal journal(directory.path() + "/journal");
    return journal.load_position("forward", "fill").value().value_or("");
}

TEST_CASE("a mover that is killed in the middle of the copy does not start over") {
    constexpr uint64_t kKeys = 20'000;
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"DEBUG", "POPULATE", std::to_string(kKeys)});
    const TempDir directory;
    Process child = mover_child(source, target, directory, "200KiB");
    REQUIRE(eventually(milliseconds(30'000), [&] { return reads_of(source) > kKeys * 6 / 10; }));
    const std::string place = durable_place(directory);
    REQUIRE(eventually(milliseconds(10'000), [&] { return durable_place(directory) != place; }));
    child.kill();
    REQUIRE(reads_of(source) < kKeys);
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_equal(mover, *mover.forward, source, target);
    CHECK(reads_of(source) < kKeys * 13 / 10);
}

TEST_CASE("a target that comes back in the copy from an older snapshot is copied again") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"DEBUG", "POPULATE", "20000"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "200KiB").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    const auto durable_batch = [&] {
        return std::stoull(mover.journal.load_position("forward", "least").value().value_or("0"));
    };
    const auto batch_there = [&] {
        const std::string key =
            redis::checkpoint_key_of(mover.settings.migration, Direction::forward);
        const auto held = redis::Checkpoint::parse(target.text({"GET", key}));
        return held ? held->batch : 0;
    };
    REQUIRE(eventually(milliseconds(10'000), [&] { return durable_batch() > 0; }));
    REQUIRE(target.text({"SAVE"}) == "OK");
    // So far that the place of the copy relies on more than what was saved.
    REQUIRE(eventually(milliseconds(10'000),
                       [&, saved = batch_there()] { return durable_batch() > saved; }));
    REQUIRE(mover.forward->status().stage == MovementStage::filling);
    target.kill();
    target.start();
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "1GiB").has_value());
    require_equal(mover, *mover.forward, source, target);
    CHECK(has_event(mover, "copy-short"));
}

TEST_CASE("a gap in the stream leads to a repair fill, not to a full synchronisation") {
    RedisServer source({.engine = Engine::redis, .config = {"repl-backlog-size 16kb"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 3, 3000);
    const TempDir directory;
    {
        Mover mover(settings_between(source.port(), target.port()), directory.path());
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        require_equal(mover, *mover.forward, source, target);
    }
    write_some(source, 4, 4000);  // far more than the backlog holds
    source.text({"DEL", "s:1", "l:1", "h:1", "z:1"});
    target.text({"SET", "only:here", "1"});
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(10'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    require_equal(mover, *mover.forward, source, target);
    CHECK(source.info("total_forks") == "0");
    CHECK(mover.journal.events().front().find("gap") != std::string::npos);
}

int wrong_after_lag(bool checks) {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::redis, .config = {}, .acl = {}});
    const TempDir directory;
    const auto context = source.connect();
    for (int k = 0; k < 40; ++k)
        send_command(context.get(), {"SET", "k" + std::to_string(k), "1", "PX", "400"});
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.presence_checks = checks, .lane_stall_ms = 500});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    // Every key is extended before it dies, again and again, while the lane lags behind its expiry.
    const Deadline deadline = Deadline::in(milliseconds(3'000));
    while (!deadline.passed()) {
        for (int k = 0; k < 40; ++k) {
            const std::string name = "k" + std::to_string(k);
            send_command(context.get(), {"INCR", name});
            send_command(context.get(), {"PEXPIRE", name, "400"});
        }
        sleep_ms(60);
    }
    for (int k = 0; k < 40; ++k) send_command(context.get(), {"PERSIST", "k" + std::to_string(k)});
    REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
    int wrong = 0;
    for (int k = 0; k < 40; ++k) {
        const std::string name = "k" + std::to_string(k);
        if (source.text({"GET", name}) != target.text({"GET", name})) ++wrong;
    }
    return wrong;
}

TEST_CASE("ttl extended during lag") {
    CHECK(wrong_after_lag(true) == 0);
    CHECK(wrong_after_lag(false) > 0);  // the check is what makes it right
}

TEST_CASE("flushes, swaps and functions in the stream") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 3, 3000);
    source.text({"FUNCTION", "LOAD",
                 "#!lua name=a\nredis.register_function('fa', function(k,a) return 1 end)"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.watermarks = 60});
    Writer writer(source.port(), {.seed = 9, .flushes = true, .swaps = true, .pause_us = 150});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    wait_written(writer, 4000);
    source.text({"FUNCTION", "LOAD",
                 "#!lua name=b\nredis.register_function('fb', function(k,a) return 2 end)"});
    source.text({"FUNCTION", "DELETE", "a"});
    wait_written(writer, 4000);
    writer.stop();
    require_equal(mover, *mover.forward, source, target);
    CHECK(target.text({"FUNCTION", "LIST"}).find("fb") != std::string::npos);
    CHECK(target.text({"FUNCTION", "LIST"}).find("fa") == std::string::npos);
}

TEST_CASE("a function loaded behind the snapshot that a target came back with is loaded again") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"SET", "a", "1"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    require_equal(mover, *mover.forward, source, target);
    REQUIRE(eventually(milliseconds(10'000), [&] {
        return mover.journal.load_position("forward", "least").value() != "0";
    }));
    source.text({"SET", "a", "2"});
    require_equal(mover, *mover.forward, source, target);
    REQUIRE(target.text({"SAVE"}) == "OK");
    source.text({"FUNCTION", "LOAD",
                 "#!lua name=b\nredis.register_function('fb', function(k,a) return 2 end)"});
    const auto has_it = [&] {
        return target.text({"FUNCTION", "LIST"}).find("fb") != std::string::npos;
    };
    REQUIRE(eventually(milliseconds(10'000), has_it));
    target.kill();
    target.start();
    source.text({"SET", "a", "3"});
    require_equal(mover, *mover.forward, source, target);
    CHECK(eventually(milliseconds(10'000), has_it));
    CHECK(target.text({"FCALL", "fb", "0"}) == "2");
}

TEST_CASE("a spool that is nearly full has the copy wait, not the stream") {
    RedisServer source({.engine = Engine::redis, .config = {"repl-backlog-size 128mb"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    const auto context = source.connect();
    const std::string value(1'000, 'v');
    for (int k = 0; k < 20'000; ++k)
        send_command(context.get(), {"SET", "filled:" + std::to_string(k), value});
    Settings settings = settings_between(source.port(), target.port());
    settings.family_options["spool.max"] = "32MiB";
    const TempDir directory;
    Mover mover(settings, directory.path(), {.lane_stall_ms = 400});
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "1MiB").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    const auto copied_now = [&] { return reads_of(source); };
    REQUIRE(eventually(milliseconds(10'000), [&] { return copied_now() > 0; }));
    const auto status = [&] { return mover.forward->status(); };
    const auto waits = [&] {
        return status().waiting_for.find("spool is nearly full") != std::string::npos;
    };
    const std::string large(100'000, 'x');
    REQUIRE(eventually(milliseconds(20'000), [&] {
        for (int k = 0; k < 10; ++k)
            send_command(context.get(), {"SET", "large:" + std::to_string(k), large});
        return status().queue_bytes > (30U << 20);
    }));
    REQUIRE(waits());
    sleep_ms(200);  // a chunk that was begun ends
    const uint64_t copied = copied_now();
    const std::string applied = status().applied.text;
    CHECK(eventually(milliseconds(2'000), [&] { return status().applied.text != applied; }));
    CHECK(waits());
    CHECK(copied_now() == copied);
    CHECK(status().items_done < 20'000);
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "1GiB").has_value());
    require_equal(mover, *mover.forward, source, target);
}

TEST_CASE("a source that refuses FUNCTION LIST is no source without functions") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"SET", "a", "1"});
    source.text({"FUNCTION", "LOAD",
                 "#!lua name=a\nredis.register_function('fa', function(k,a) return 1 end)"});
    source.text({"ACL", "SETUSER", "default", "-function|list"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    CHECK(eventually(milliseconds(10'000), [&] {
        return mover.forward->status().blocked.find("FUNCTION LIST") != std::string::npos;
    }));
    source.text({"ACL", "SETUSER", "default", "+function|list"});
    require_equal(mover, *mover.forward, source, target);
    CHECK(target.text({"FUNCTION", "LIST"}).find("fa") != std::string::npos);
}

TEST_CASE("lost connections, a frozen destination, and one out of memory") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    write_some(source, 3, 3000);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    Writer writer(source.port(), {.seed = 9, .pause_us = 200});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    for (int i = 0; i < 5; ++i) {
        wait_written(writer, 300);
        target.text({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
        wait_written(writer, 300);
        source.text({"CLIENT", "KILL", "TYPE", "replica"});
    }
    target.freeze(true);
    wait_written(writer, 1000);  // applications notice nothing
    target.freeze(false);
    target.text({"CONFIG", "SET", "maxmemory", "1mb"});
    wait_written(writer, 1500);
    REQUIRE(eventually(milliseconds(10'000), [&] {
        return mover.forward->status().degraded.find("OOM") != std::string::npos;
    }));
    target.text({"CONFIG", "SET", "maxmemory", "0"});
    writer.stop();
    require_equal(mover, *mover.forward, source, target);
}

TEST_CASE("a destination that is not empty, and a second writer") {
    RedisServer source;
    RedisServer target;
    target.text({"SET", "mine", "1"});
    source.text({"SET", "a", "1"});
    const TempDir one_directory;
    const TempDir two_directory;
    Mover one(settings_between(source.port(), target.port()), one_directory.path());
    REQUIRE(one.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(5'000), [&] {
        return one.forward->status().blocked.find("not empty") != std::string::npos;
    }));
    CHECK(target.text({"GET", "a"}) == "(nil)");
    target.text({"DEL", "mine"});
    require_equal(one, *one.forward, source, target);
    // Another process with the same migration takes the lane over; the first one notices and stops.
    write_file(two_directory.file("journal"), read_file(one_directory.file("journal")));
    Mover two(settings_between(source.port(), target.port()), two_directory.path());
    REQUIRE(two.forward->set_mode(MovementMode::apply).has_value());
    // Until then a change that the first one applies would have the other one stop.
    REQUIRE(eventually(milliseconds(5'000),
                       [&] { return two.forward->status().stage == MovementStage::following; }));
    source.text({"SET", "b", "2"});
    REQUIRE(eventually(milliseconds(5'000), [&] {
        return one.forward->status().blocked.find("second writer") != std::string::npos;
    }));
    require_equal(two, *two.forward, source, target);
    // Somebody else who writes there is told as such; what was under way is not applied, so nothing
    // is doubled.
    const std::string key = redis::checkpoint_key_of(two.settings.migration, Direction::forward);
    target.text({"SET", key, "somebody"});
    source.text({"INCR", "counter"});
    REQUIRE(eventually(milliseconds(5'000), [&] {
        return two.forward->status().blocked.find("did not write") != std::string::npos;
    }));
    CHECK(target.text({"GET", "counter"}) == "(nil)");
    CHECK(target.text({"GET", key}) == "somebody");
}

}  // namespace
}  // namespace exodus::test
