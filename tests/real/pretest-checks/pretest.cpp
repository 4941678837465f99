// Every pretest check on real servers, in its good and its bad case; no check writes to the source;
// what analyze asks.
#include <atomic>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "families/redis/flow.h"
#include "families/redis/options.h"
#include "tests/real/pretest-checks/pair.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("pretest: a well prepared pair passes every check, and the source is not written") {
    Pair pair;
    pair.source.text({"SET", "a", "1"});
    pair.source.text({"SADD", "set", "x"});
    pair.source.text({"XADD", "stream", "*", "a", "b"});
    pair.source.text({"CONFIG", "RESETSTAT"});
    const auto dirty = pair.source.info("rdb_changes_since_last_save");
    std::set<std::string> ids;
    for (const auto& check : pair.inspector->checks()) {
        const auto worst = pair.worst(check.id);
        CHECK_MESSAGE(worst <= Severity::info, pair.last);
        CHECK(!pair.last.empty());
        CHECK(ids.insert(check.id).second);
    }
    CHECK(ids.size() == 22);
    CHECK(pair.source.info("rdb_changes_since_last_save") == dirty);
    CHECK(pair.source.text({"INFO", "commandstats"}).find("cmdstat_set:") == std::string::npos);
    CHECK(pair.source.text({"INFO", "commandstats"}).find("cmdstat_restore") == std::string::npos);
    CHECK(pair.source.info("total_forks") == "0");
    // Samples are gone from the target.
    CHECK(pair.inspector->residue(Side::target)->empty());
    CHECK(pair.target.text({"DBSIZE"}).find('0') != std::string::npos);
    CHECK(pair.worst("redis.nonsense") == Severity::fail);
}

TEST_CASE("pretest: reach, role, rights") {
    Pair pair;
    pair.migration.settings.source.password = Secret("wrong");
    auto wrong = redis::make_redis_inspector(pair.migration.context);
    auto findings = wrong->run("redis.reach.source");
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].severity == Severity::fail);
    CHECK(findings[0].text.find("login refused") != std::string::npos);
    CHECK(findings[0].text.find("wrong") == std::string::npos);
    for (const auto& check : wrong->checks()) {
        // Not one check passes or crashes when the source does not let us in.
        for (const auto& finding : wrong->run(check.id)) {
            if (finding.subject == "source") {
                CHECK_MESSAGE(finding.severity != Severity::pass, check.id);
            }
        }
    }
    pair.migration.settings.source.password = Secret("own");

    pair.source.text({"ACL", "SETUSER", "exodus", "-psync", "-config", "-client|list"});
    CHECK(pair.worst("redis.rights") == Severity::fail);
    CHECK(pair.says("PSYNC"));
    CHECK(pair.says("CLIENT LIST"));
    CHECK(pair.says("ACL SETUSER exodus"));
    CHECK(pair.worst("redis.psync") == Severity::fail);
    CHECK(pair.says("+psync"));
    pair.source.text({"ACL", "SETUSER", "exodus", "+@all"});
    CHECK(pair.worst("redis.rights") == Severity::pass);

    pair.target.text({"REPLICAOF", "127.0.0.1", std::to_string(pair.source.port())});
    CHECK(pair.worst("redis.role") == Severity::fail);
    CHECK(pair.says("role is replica"));
    pair.target.text({"REPLICAOF", "NO", "ONE"});
    CHECK(pair.worst("redis.role") == Severity::pass);
    pair.target.kill();
    CHECK(pair.worst("redis.reach.target") == Severity::fail);
    CHECK(pair.inspector->health(Side::target).error.find("127.0.0.1") != std::string::npos);
}

TEST_CASE("pretest: fence") {
    Pair pair;
    CHECK(pair.worst("redis.fence") == Severity::pass);
    {
        const auto stray = pair.source.connect();
        send_command(stray.get(), {"AUTH", "exodus", "own"});
        send_command(stray.get(), {"SET", "k", "v"});
        CHECK(pair.worst("redis.fence") == Severity::fail);
        CHECK(pair.says("is also used by"));
    }
    RedisServer open;
    Migration as_default(open.port(), open.port());
    const auto findings = redis::make_redis_inspector(as_default.context)->run("redis.fence");
    REQUIRE(!findings.empty());
    CHECK(findings[0].severity == Severity::fail);
    CHECK(findings[0].hint.find("ACL SETUSER exodus on >PASSWORD") != std::string::npos);
}

TEST_CASE("pretest: change stream and backlog") {
    Pair pair;
    CHECK(pair.worst("redis.psync") == Severity::pass);
    CHECK(pair.says("not active yet"));
    // A replica activates the backlog: now PSYNC is really tried.
    RedisServer replica(ServerOptions{Engine::redis,
                                      {"replicaof 127.0.0.1 " + std::to_string(pair.source.port()),
                                       "masteruser admin", "masterauth root"},
                                      {}});
    REQUIRE(eventually(milliseconds(20000),
                       [&] { return pair.source.info("repl_backlog_active") == "1"; }));
    CHECK(pair.worst("redis.psync") == Severity::pass);
    CHECK(pair.says("goes on from offset"));
    const auto forks = pair.source.info("total_forks");
    CHECK(pair.worst("redis.psync") == Severity::pass);
    CHECK(pair.source.info("total_forks") == forks);

    CHECK(pair.worst("redis.backlog") <= Severity::pass);
    pair.source.text({"CONFIG", "SET", "repl-backlog-size", "16384"});
    std::atomic<bool> stop = false;
    std::thread writer([&] {
        auto context = pair.source.connect();
        send_command(context.get(), {"AUTH", "app", "pw"});
        while (!stop) send_command(context.get(), {"SET", "k", std::string(1000, 'x')});
    });
    REQUIRE(eventually(milliseconds(5000), [&] {
        return pair.source.text({"EXISTS", "k"}).find('1') != std::string::npos;
    }));
    CHECK(pair.worst("redis.backlog") == Severity::warn);
    CHECK(pair.says("CONFIG SET repl-backlog-size"));
    stop = true;
    writer.join();

    pair.source.text({"CONFIG", "SET", "min-replicas-to-write", "1"});
    CHECK(pair.worst("redis.min-replicas") == Severity::warn);
}

TEST_CASE("pretest: the write rate is that of now, not that of a bulk load before") {
    Pair pair;
    pair.source.text({"CONFIG", "SET", "repl-backlog-size", "1mb"});
    for (int i = 0; i < 300; ++i)
        pair.source.text({"SET", "bulk:" + std::to_string(i), std::string(100'000, 'x')});
    REQUIRE(pair.source.info("repl_backlog_active") == "0");
    CHECK(pair.worst("redis.backlog") == Severity::pass);
    CHECK_MESSAGE(pair.says("write rate 0"), pair.last);
    CHECK(pair.worst("redis.spool-room") == Severity::pass);
    CHECK_MESSAGE(pair.says("four hours at 0"), pair.last);
    // And somebody who really writes is seen without a backlog too.
    std::atomic<bool> stop = false;
    std::atomic<uint64_t> written = 0;
    std::thread writer([&] {
        auto context = pair.source.connect();
        send_command(context.get(), {"AUTH", "app", "pw"});
        while (!stop) {
            send_command(context.get(), {"SET", "k", std::string(10'000, 'x')});
            ++written;
        }
    });
    CHECK(eventually(milliseconds(5000), [&] { return written > 0; }));
    CHECK(pair.worst("redis.backlog") == Severity::warn);
    stop = true;
    writer.join();
}

TEST_CASE("pretest: the target's data, memory, databases") {
    Pair pair({}, {"databases 4"});
    pair.target.text({"SET", "somebody", "else"});
    CHECK(pair.worst("redis.target-empty") == Severity::fail);
    CHECK(pair.says("1 keys: db0: 1"));
    pair.migration.settings.migrate.conflict = ConflictPolicy::overwrite;
    CHECK(pair.worst("redis.target-empty") == Severity::info);
    pair.migration.settings.migrate.conflict = ConflictPolicy::fail;
    pair.target.text({"FLUSHALL"});
    CHECK(pair.worst("redis.target-empty") == Severity::pass);

    // Only this migration's own checkpoint says that it filled the target itself.
    pair.target.text({"SET", "somebody", "else"});
    pair.target.text({"SET", "exodus:something", "1"});
    CHECK(pair.worst("redis.target-empty") == Severity::fail);
    CHECK(pair.says("1 keys: db0: 2"));
    pair.target.text({"SET", "exodus:cp:000000000000:forward:0", "1 x 1 0"});
    CHECK(pair.worst("redis.target-empty") == Severity::fail);
    CHECK(pair.says("another migration has written here"));
    pair.target.text({"DEL", "exodus:cp:000000000000:forward:0"});
    const auto own =
        redis::checkpoint_key_of(pair.migration.settings.migration, Direction::forward);
    pair.target.text({"SET", own, "1 x 1 0"});
    CHECK(pair.worst("redis.target-empty") == Severity::info);
    pair.target.text({"DEL", own});
    CHECK(pair.worst("redis.target-empty") == Severity::fail);
    REQUIRE(pair.migration.journal.save_position("forward-past", "owned", "1"));
    CHECK(pair.worst("redis.target-empty") == Severity::info);
    CHECK(pair.migration.journal.erase_positions("forward-past"));
    pair.target.text({"FLUSHALL"});

    CHECK(pair.worst("redis.databases") == Severity::warn);
    pair.source.text({"SELECT", "9"});
    pair.source.text({"SET", "k", "v"});
    CHECK(pair.worst("redis.databases") == Severity::fail);
    CHECK(pair.says("databases 10"));

    CHECK(pair.worst("redis.maxmemory") == Severity::pass);
    for (int i = 0; i < 50; ++i) {
        pair.source.text({"SET", "big:" + std::to_string(i), std::string(100'000, 'x')});
    }
    pair.target.text({"CONFIG", "SET", "maxmemory", "2mb"});
    CHECK(pair.worst("redis.maxmemory") == Severity::fail);
    CHECK(pair.says("CONFIG SET maxmemory"));
    pair.target.text({"CONFIG", "SET", "maxmemory", "1gb"});
    CHECK(pair.worst("redis.maxmemory") == Severity::pass);
    CHECK(pair.worst("redis.eviction") == Severity::pass);
    pair.target.text({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
    CHECK(pair.worst("redis.eviction") == Severity::warn);
    CHECK(pair.says("maxmemory-policy noeviction"));

    pair.migration.settings.family_options["spool.max"] = "0";
    CHECK(pair.worst("redis.spool-room") <= Severity::warn);
    pair.migration.settings.family_options.clear();
    CHECK(pair.worst("redis.spool-room") == Severity::pass);
}

TEST_CASE("pretest: payloads, functions, settings, users") {
    Pair pair;
    CHECK(pair.worst("redis.payload-ladder") == Severity::info);
    pair.source.text({"SET", "s", "1"});
    pair.source.text({"HSET", "h", "a", "b"});
    CHECK(pair.worst("redis.payload-ladder") == Severity::pass);
    CHECK(pair.says("hash/listpack, string/int"));
    // The way back: what Valkey 8 writes as set-listpack, 7.0 does not load.
    Migration back(pair.target.port(), pair.source.port(), "exodus", "own");
    pair.target.text({"SADD", "set", "a", "b"});
    const auto findings = redis::make_redis_inspector(back.context)->run("redis.payload-ladder");
    REQUIRE(!findings.empty());
    CHECK(findings.back().severity == Severity::info);
    CHECK(findings.back().text.find("set/listpack") != std::string::npos);

    const std::string library =
        "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    pair.source.text({"FUNCTION", "LOAD", library});
    CHECK(pair.worst("redis.functions") == Severity::pass);
    CHECK(pair.says("1 to copy"));
    pair.target.text({"FUNCTION", "LOAD",
                      "#!lua name=lib\nredis.register_function('f', function() return 2 end)"});
    CHECK(pair.worst("redis.functions") == Severity::warn);
    CHECK(pair.says("other code under the same name: lib"));

    CHECK(pair.worst("redis.settings") <= Severity::info);
    pair.source.text({"CONFIG", "SET", "notify-keyspace-events", "KEA"});
    CHECK(pair.worst("redis.settings") == Severity::warn);
    CHECK(pair.says("notify-keyspace-events"));

    CHECK(pair.worst("redis.acl") == Severity::pass);
    pair.source.text(
        {"ACL", "SETUSER", "second", "on", ">pw", "~a:*", "-@all", "+get", "(~b:* +set)"});
    CHECK(pair.worst("redis.acl") == Severity::warn);
    CHECK(pair.says("ACL SETUSER second on >PASSWORD"));
    CHECK(!pair.says("#"));
    CHECK(pair.worst("redis.modules") == Severity::pass);
    CHECK(pair.worst("redis.clock-skew") == Severity::pass);
}

TEST_CASE("inspector: health, fingerprint, residue, execute") {
    Pair pair;
    for (int i = 0; i < 7; ++i) pair.source.text({"SET", "k" + std::to_string(i), "v"});
    const auto health = pair.inspector->health(Side::source);
    CHECK(health.reachable);
    CHECK(health.version == "redis 7.0.15");
    CHECK(health.role == "master");
    CHECK(health.items == 7);
    CHECK(health.memory_used_bytes > 100'000);
    CHECK(pair.inspector->health(Side::target).version.rfind("valkey 8.", 0) == 0);

    const auto before = pair.inspector->fingerprint(Side::source);
    REQUIRE(before);
    pair.source.text({"SET", "more", "data"});
    CHECK(pair.inspector->fingerprint(Side::source).value() == before.value());
    pair.source.text({"FUNCTION", "LOAD",
                      "#!lua name=lib\nredis.register_function('f', function() return 1 end)"});
    CHECK(pair.inspector->fingerprint(Side::source).value() != before.value());

    CHECK(pair.inspector->residue(Side::target)->empty());
    pair.target.text({"SET", "exodus:cp:1", "x"});
    CHECK(pair.inspector->residue(Side::target)->size() == 1);

    const auto run = [&](const std::string& line) {
        auto text = pair.inspector->execute(Side::source, line);
        return text ? *text : "failed: " + text.error().message;
    };
    CHECK(run("SET key \"a\\x00\\n\"") == "OK");
    CHECK(run("GET key") == "\"a\\x00\\n\"");
    CHECK(run("GET nothing") == "(nil)");
    CHECK(run("STRLEN 'key'") == "(integer) 3");
    CHECK(run("RPUSH list a b") == "(integer) 2");
    CHECK(run("LRANGE list 0 -1") == "1) \"a\"\n2) \"b\"");
    CHECK(run("LRANGE none 0 -1") == "(empty array)");
    CHECK(run("INCR list").rfind("(error) WRONGTYPE", 0) == 0);
    CHECK(run("EVAL \"return {1,{2,'x'},3}\" 0") ==
          "1) (integer) 1\n2) 1) (integer) 2\n   2) \"x\"\n3) (integer) 3");
    CHECK(run("GET \"open").rfind("failed: unbalanced", 0) == 0);
    CHECK(run("  ").rfind("failed: ", 0) == 0);
}

TEST_CASE("inspector: data profile, plan, stray writers, judging traffic") {
    Pair pair;
    pair.source.text({"SET", "big", std::string(200'000, 'x')});
    for (int i = 0; i < 99; ++i)
        pair.source.text({"SET", "k" + std::to_string(i), "v", "EX", "1000"});
    pair.source.text({"SELECT", "2"});
    pair.source.text({"SADD", std::string("s\x00\xff", 3), "a"});
    const auto profile = pair.inspector->profile_data(10'000);
    REQUIRE(profile);
    CHECK(profile->at("sampled") == 101);
    CHECK(profile->at("complete") == true);
    CHECK(profile->at("types").at("string").at("keys") == 100);
    CHECK(profile->at("big_keys").at(0).at("key") == "big");
    CHECK(profile->at("big_keys").size() == 100);
    CHECK(profile->at("without_ttl_share").get<double>() == doctest::Approx(2.0 / 101));
    CHECK(profile->at("ttl_s").at("count") == 99);
    CHECK(profile->dump().find("\\\\x00\\\\xff") != std::string::npos);

    TrafficStats stats;
    for (const auto& [name, writes] : std::vector<std::pair<std::string, bool>>{
             {"GET", false}, {"SET", true}, {"CLIENT ID", false}}) {
        stats.commands[name].requests = 10;
        stats.commands[name].is_write = writes;
    }
    auto findings = pair.inspector->judge_traffic(stats);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].severity == Severity::pass);
    stats.commands["SPOP"].requests = 1;
    stats.commands["MADEUP.CMD"].requests = 1;
    stats.observations["redis.profile"] =
        R"({"features":{"waits":3},"hot_keys":[{"key":"h","share":0.5}],"cross_slot":{"MGET":2}})";
    std::set<std::string> ids;
    for (const auto& finding : pair.inspector->judge_traffic(stats)) {
        ids.insert(finding.id);
        CHECK(finding.severity != Severity::fail);
    }
    CHECK(ids == std::set<std::string>{"redis.traffic.random", "redis.traffic.unknown-command",
                                       "redis.traffic.wait", "redis.traffic.hot-key",
                                       "redis.traffic.cross-slot"});
    // What only the source knows is critical: Valkey 8 as source has commands that 7.0 lacks.
    Migration back(pair.target.port(), pair.source.port(), "exodus", "own");
    TrafficStats newer;
    newer.commands["CLIENT SETINFO"].requests = 2;
    findings = redis::make_redis_inspector(back.context)->judge_traffic(newer);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].id == "redis.traffic.missing-command");
    CHECK(findings[0].severity == Severity::fail);

    const auto plan = pair.inspector->plan(stats, *profile);
    REQUIRE(plan);
    CHECK(plan->at("feed") == "stream");
    CHECK(plan->at("payload_level") == 0);
    CHECK(plan->at("rollback_payload_level") == 2);
    CHECK(plan->at("keys") == 101);

    const auto stray = pair.source.connect();
    send_command(stray.get(), {"AUTH", "app", "pw"});
    send_command(stray.get(), {"GET", "k"});
    auto strays = pair.inspector->stray_writers({});
    REQUIRE(strays);
    // The test's own last command was a write too.
    const auto base = strays->size();
    send_command(stray.get(), {"SET", "k", "v"});
    strays = pair.inspector->stray_writers({});
    CHECK(strays->size() == base + 1);
    CHECK(strays->back().find("(user app, cmd set)") != std::string::npos);
    const std::string address = strays->back().substr(0, strays->back().find(' '));
    CHECK(pair.inspector->stray_writers({address})->size() == base);
    CHECK(pair.inspector->stray_writers({"127.0.0.1"})->empty());
}

TEST_CASE("pretest: an append-only file that valkey would load without its transactions") {
    Pair pair({}, {"appendonly yes", "appendfsync always"});
    CHECK(pair.worst("redis.aof-user") == Severity::warn);
    CHECK(pair.says("drop every transaction"));
    const auto written = [&] {
        const auto own = pair.target.connect();
        send_command(own.get(), {"AUTH", "admin", "root"});
        for (const auto& command : std::vector<std::vector<std::string>>{
                 {"MULTI"}, {"SET", "a", "1"}, {"SET", "b", "2"}, {"EXEC"}})
            send_command(own.get(), command);
        pair.target.kill();
        pair.target.start();
        pair.target.login("admin", "root");
        REQUIRE(
            eventually(milliseconds(15'000), [&] { return pair.target.text({"PING"}) == "PONG"; }));
        return pair.target.text({"GET", "b"});
    };
    CHECK(written() == "(nil)");  // what the check is about
    // The line of the hint, word for word, mends it.
    const auto from = pair.last.find("ACL SETUSER");
    REQUIRE(from != std::string::npos);
    std::istringstream words(pair.last.substr(from, pair.last.find(';', from) - from));
    std::vector<std::string> command;
    for (std::string word; words >> word;) command.push_back(word);
    CHECK(pair.target.text(command) == "OK");
    CHECK(pair.target.text({"ACL", "SAVE"}) == "OK");
    CHECK(pair.worst("redis.aof-user") == Severity::pass);
    CHECK(written() == "2");
    // Redis loads it as nobody; without an append-only file there is nothing to load.
    Pair plain;
    CHECK(plain.worst("redis.aof-user") == Severity::pass);
}
