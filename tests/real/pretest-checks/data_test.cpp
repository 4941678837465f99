// Pretest's checks of what is there: samples of every database, values that a side cannot load,
// keys under exodus:, room for the stream, what the way back can carry.
#include <atomic>
#include <doctest/doctest.h>
#include <thread>

#include "tests/real/pretest-checks/pair.h"

using namespace exodus;
using namespace exodus::test;

namespace {

void in_database(RedisServer& server, int db, const std::vector<std::string>& command) {
    REQUIRE(server.text({"SELECT", std::to_string(db)}) == "OK");
    server.text(command);
    REQUIRE(server.text({"SELECT", "0"}) == "OK");
}

}  // namespace

TEST_CASE(
    "pretest: values of a module that the target lacks, in a database that is not the first") {
    Pair pair({std::string("loadmodule ") + EXODUS_TEST_MODULE, "databases 300"});
    pair.source.text({"SET", "s", "1"});
    in_database(pair.source, 7, {"ODD.NEW", "m"});
    CHECK(pair.worst("redis.payload-ladder") == Severity::fail);
    CHECK(pair.says("odd-value/raw (in 2 databases)"));
    CHECK(pair.says("pass both: loaded as they are: string/int (in 2 databases)"));
    CHECK(pair.worst("redis.modules") == Severity::fail);
    CHECK(pair.says("the target lacks: odd 1"));
    CHECK(pair.worst("redis.rollback-fidelity") == Severity::warn);
    CHECK(pair.says("values of modules (odd-value/raw)"));
    // The other way round the module's commands are what a rollback would take away.
    Migration back(pair.target.port(), pair.source.port(), "exodus", "own");
    CHECK(pair.worst(*redis::make_redis_inspector(back.context), "redis.rollback-fidelity") ==
          Severity::info);
    CHECK(pair.says("modules that the source lacks cannot be carried back: odd ["));
    CHECK(pair.says("odd.keep"));
    CHECK(pair.says("databases from 16 on exist on the target only"));

    for (int db = 10; db < 270; ++db) in_database(pair.source, db, {"SET", "k", "text"});
    CHECK(pair.worst("redis.payload-ladder") == Severity::fail);
    CHECK_MESSAGE(pair.says("(in 256 databases; 6 more were not looked at)"), pair.last);
    CHECK(pair.target.text({"DBSIZE"}) == "0");
}

TEST_CASE("pretest: what the way back carries otherwise, or not at all") {
    Pair pair;
    CHECK(pair.worst("redis.rollback-fidelity") == Severity::info);
    CHECK_MESSAGE(pair.says("carried back by commands: set/listpack, stream/stream"), pair.last);
    CHECK_MESSAGE(pair.says("commands that the source lacks: client|capa, "), pair.last);
    CHECK(pair.says(", waitaof: the keys that they write are carried back by state"));
    CHECK(!pair.says("proto-max-bulk-len"));
    CHECK(!pair.says("maxmemory"));
    pair.target.text({"CONFIG", "SET", "proto-max-bulk-len", "1gb"});
    pair.source.text({"CONFIG", "SET", "maxmemory", "100mb"});
    CHECK(pair.worst("redis.rollback-fidelity") == Severity::info);
    CHECK(pair.says("values above 512.0 MiB"));
    CHECK(pair.says("what grows beyond 100.0 MiB"));
    CHECK(pair.target.text({"DBSIZE"}) == "0");
    // From a newer server to an older one nothing is lost.
    Migration back(pair.target.port(), pair.source.port(), "exodus", "own");
    pair.source.text({"CONFIG", "SET", "maxmemory", "0"});
    pair.target.text({"CONFIG", "SET", "proto-max-bulk-len", "512mb"});
    CHECK(pair.worst(*redis::make_redis_inspector(back.context), "redis.rollback-fidelity") ==
          Severity::pass);
}

TEST_CASE("pretest: keys under exodus:, functions, evictions, a repair") {
    Pair pair;
    in_database(pair.target, 3, {"SET", "exodus:of an application", "1"});
    CHECK(pair.worst("redis.target-empty") == Severity::fail);
    CHECK(pair.says("1 keys under exodus:"));
    CHECK(pair.says("exodus:of an application in database 3"));
    pair.target.text({"FLUSHALL"});
    pair.target.text({"SET", "exodus:pretest:0", "of a pretest that was killed"});
    CHECK(pair.worst("redis.target-empty") == Severity::pass);
    pair.target.text({"SET", "somebody", "else"});
    pair.migration.settings.migrate.data_movement = DataMovement::repair;
    CHECK(pair.worst("redis.target-empty") == Severity::info);
    CHECK(pair.says("the repair makes them equal"));

    pair.target.text({"FUNCTION", "LOAD",
                      "#!lua name=own\nredis.register_function('f', function() return 1 end)"});
    CHECK(pair.worst("redis.functions") == Severity::info);
    CHECK(pair.says("libraries that only the target has: own"));

    pair.source.text({"CONFIG", "SET", "maxmemory", "100mb"});
    pair.source.text({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
    CHECK(pair.worst("redis.eviction") == Severity::info);
    CHECK(pair.says("evictions are in the change stream"));
    CHECK(pair.worst("redis.settings") == Severity::info);
    CHECK(pair.says("maxmemory-policy is \"allkeys-lru\""));
}

TEST_CASE("pretest: no room for four hours of the change stream") {
    Pair pair;
    std::atomic<bool> stop = false;
    std::atomic<uint64_t> written = 0;
    std::thread writer([&] {
        auto context = pair.source.connect();
        send_command(context.get(), {"AUTH", "app", "pw"});
        while (!stop) {
            send_command(context.get(), {"SET", "k", std::string(1000, 'x')});
            ++written;
        }
    });
    CHECK(eventually(milliseconds(10'000), [&] { return written > 0; }));
    // The directory is made by the first migrate.
    pair.migration.settings.family_options["spool.max"] = "1";
    const FamilyContext later{pair.migration.settings, *pair.migration.dialer,
                              pair.migration.journal, "/no/such/directory"};
    CHECK(pair.worst(*redis::make_redis_inspector(later), "redis.spool-room") == Severity::warn);
    CHECK(pair.says("free in /no/such/directory"));
    CHECK(pair.says("raise redis.spool.max"));
    stop = true;
    writer.join();
}
