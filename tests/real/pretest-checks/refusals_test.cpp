// What pretest's checks say when a server refuses, watches or lacks something: every branch that is
// no pass, several of one start.
#include <algorithm>
#include <doctest/doctest.h>

#include "core/consent.h"
#include "families/redis/stream_command.h"
#include "tests/real/pretest-checks/pair.h"
#include "tests/real/stream-exact/changed_dialer.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// The same migration over connections that change what is written to the servers.
struct Changed {
    Changed(Pair& pair, std::function<void(Side, std::string&)> written)
        : dialer({.dialed = {}, .written = std::move(written)}),
          context{pair.migration.settings, dialer, pair.migration.journal, "/tmp"},
          inspector(redis::make_redis_inspector(context)) {}
    ChangedDialer dialer;
    FamilyContext context;
    std::unique_ptr<Inspector> inspector;
};

std::function<void(Side, std::string&)> replacing(std::string from, std::string to) {
    return [from = std::move(from), to = std::move(to)](Side, std::string& bytes) {
        for (auto at = bytes.find(from); at != std::string::npos;
             at = bytes.find(from, at + to.size()))
            bytes.replace(at, from.size(), to);
    };
}

/// A target whose clock is ahead, as TIME tells it.
std::function<void(Side, std::string&)> ahead(int64_t shift_us) {
    std::string ask;
    redis::append_command(ask, {"EVAL",
                                "local t = redis.call('TIME') local u = t[1] * 1000000 + t[2] + " +
                                    std::to_string(shift_us) +
                                    " return {string.format('%.0f', math.floor(u / 1000000)),"
                                    " string.format('%.0f', u % 1000000)}",
                                "0"});
    const auto replace = replacing("*1\r\n$4\r\nTIME\r\n", ask);
    return [replace](Side side, std::string& bytes) {
        if (side == Side::target) replace(side, bytes);
    };
}

}  // namespace

TEST_CASE("pretest: RESP3 is asked of both sides") {
    Pair pair({}, {"rename-command HELLO \"\""});
    CHECK(pair.worst("redis.resp3") == Severity::fail);
    CHECK(pair.says("fail target: HELLO 3 is refused"));
    CHECK(pair.says("could not go on after the switch"));
    Migration back(pair.target.port(), pair.source.port(), "exodus", "own");
    CHECK(pair.worst(*redis::make_redis_inspector(back.context), "redis.resp3") == Severity::warn);
    CHECK(pair.says("warn source: HELLO 3 is refused"));
    Migration neither(pair.target.port(), pair.target.port(), "exodus", "own");
    CHECK(pair.worst(*redis::make_redis_inspector(neither.context), "redis.resp3") ==
          Severity::info);
    Migration both(pair.source.port(), pair.source.port(), "exodus", "own");
    CHECK(pair.worst(*redis::make_redis_inspector(both.context), "redis.resp3") == Severity::pass);
}

TEST_CASE("pretest: rights that are missing, one by one") {
    Pair pair({}, {"appendonly yes"});
    const auto own_user = [](RedisServer& server, const std::string& rule) {
        REQUIRE(server.text({"ACL", "SETUSER", "exodus", rule}) == "OK");
    };
    // What a check says without one right; it is given back.
    const auto without = [&](RedisServer& server, const std::string& right,
                             const std::string& check) {
        own_user(server, "-" + right);
        const Severity worst = pair.worst(check);
        own_user(server, "+@all");
        return worst;
    };
    CHECK(without(pair.source, "acl|dryrun", "redis.rights") == Severity::fail);
    CHECK(pair.says("may not use ACL DRYRUN"));
    CHECK(without(pair.source, "acl|whoami", "redis.rights") == Severity::fail);
    CHECK(pair.says("cannot be asked"));
    CHECK(without(pair.target, "config|rewrite", "redis.rights") == Severity::fail);
    CHECK(pair.says("lacks the right to: CONFIG REWRITE"));
    CHECK(without(pair.source, "acl|list", "redis.fence") == Severity::fail);
    CHECK(without(pair.source, "config|get", "redis.min-replicas") == Severity::info);
    CHECK(pair.says("cannot be read"));
    CHECK(without(pair.source, "client|list", "redis.min-replicas") == Severity::fail);
    CHECK(without(pair.target, "config|get", "redis.databases") == Severity::info);
    CHECK(pair.says("cannot be read"));
    CHECK(without(pair.target, "config|get", "redis.settings") == Severity::info);
    CHECK(pair.says("settings cannot be read"));
    CHECK(without(pair.source, "acl|list", "redis.acl") == Severity::info);
    CHECK(pair.says("users cannot be listed"));
    CHECK(without(pair.target, "acl|getuser", "redis.aof-user") == Severity::info);
    CHECK(pair.says("cannot be asked"));
    CHECK(without(pair.target, "module|list", "redis.modules") == Severity::fail);
    CHECK(without(pair.target, "function|list", "redis.functions") == Severity::fail);
    CHECK(without(pair.target, "hset", "redis.rollback-fidelity") == Severity::fail);
    CHECK(pair.says("a sample value"));

    pair.source.text({"SET", "k", "v"});
    CHECK(without(pair.target, "restore", "redis.payload-ladder") == Severity::fail);
    CHECK(pair.says("RESTORE: NOPERM"));
    pair.target.text({"CONFIG", "SET", "maxmemory", "1"});
    CHECK(pair.worst("redis.payload-ladder") == Severity::fail);
    CHECK(pair.says("RESTORE: OOM"));
    CHECK(pair.target.text({"DBSIZE"}) == "0");
}

TEST_CASE("pretest: a cluster, a server without a configuration file, a fence of the operator") {
    ServerOptions options = options_of(Engine::redis, {"cluster-enabled yes"});
    RedisServer node(options);
    Migration cluster(node.port(), node.port(), "exodus", "own");
    auto inspector = redis::make_redis_inspector(cluster.context);
    auto findings = inspector->run("redis.role");
    REQUIRE(findings.size() == 2);
    for (const Finding& finding : findings) {
        CHECK(finding.severity == Severity::fail);
        CHECK(finding.text == "a node of a cluster");
    }
    cluster.settings.family_options["fence.command"] = "/bin/true";
    findings = inspector->run("redis.fence");
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].severity == Severity::info);
    CHECK(findings[0].text.find("/bin/true") != std::string::npos);

    const TempDir directory;
    const int port = free_port();
    const Process bare({"redis-server", "--port", std::to_string(port), "--bind", "127.0.0.1",
                        "--save", "", "--dir", directory.path()},
                       {.environment = {},
                        .directory = {},
                        .output = directory.file("log"),
                        .errors = {},
                        .input = {}});
    REQUIRE(eventually(milliseconds(15'000), [&] {
        try {
            const auto admin = connect_to(port);
            return to_text(send_command(admin.get(), {"ACL", "SETUSER", "exodus", "on", ">own",
                                                      "~*", "&*", "+@all"})
                               .get()) == "OK";
        } catch (const std::runtime_error&) {
            return false;
        }
    }));
    Migration forgetful(port, port, "exodus", "own");
    findings = redis::make_redis_inspector(forgetful.context)->run("redis.fence");
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].severity == Severity::warn);
    CHECK_MESSAGE(findings[0].text.find("a restart lifts the fence") != std::string::npos,
                  findings[0].text);
}

TEST_CASE("pretest: clocks that differ") {
    Pair pair;
    Changed little(pair, ahead(200'000));
    CHECK(pair.worst(*little.inspector, "redis.clock-skew") == Severity::warn);
    CHECK(pair.says("time server"));
    Changed much(pair, ahead(2'500'000));
    CHECK(pair.worst(*much.inspector, "redis.clock-skew") == Severity::fail);
    Changed behind(pair, ahead(-2'500'000));
    CHECK(pair.worst(*behind.inspector, "redis.clock-skew") == Severity::fail);
    CHECK(pair.says("clock is -2"));
}

TEST_CASE("pretest: a change stream that must be made first, or is refused") {
    Pair pair({"repl-diskless-sync no"});
    CHECK(pair.worst("redis.psync") == Severity::pass);
    CHECK(pair.says("with one fork and an empty RDB"));
    const Changed old(pair, replacing("rdb-filter-only", "rdb-filter-none"));
    CHECK(pair.worst(*old.inspector, "redis.psync") == Severity::fail);
    CHECK(pair.says("forks and writes out everything once"));
    CHECK(pair.says("--accept-full-sync"));
    REQUIRE(pair.migration.journal.save_position("forward", kFullSyncConsent, "somebody"));
    CHECK(pair.worst(*old.inspector, "redis.psync") == Severity::pass);
    CHECK(pair.says("; accepted"));

    // Who counts and watches replicas. The port that this one tells answers nobody.
    CHECK(pair.worst("redis.min-replicas") == Severity::pass);
    pair.source.text({"WAIT", "0", "1"});
    CHECK(pair.worst("redis.min-replicas") == Severity::info);
    CHECK(pair.says("applications use WAIT"));
    pair.migration.settings.family_options["stream.ack"] = "durable";
    CHECK(pair.worst("redis.min-replicas") == Severity::warn);
    CHECK(pair.says("exodus counts as one"));
    pair.migration.settings.family_options.clear();
    pair.source.text({"CONFIG", "SET", "repl-diskless-sync", "yes"});
    pair.source.text({"CONFIG", "SET", "repl-diskless-sync-delay", "0"});
    RedisServer replica(
        ServerOptions{Engine::redis,
                      {"replicaof 127.0.0.1 " + std::to_string(pair.source.port()),
                       "masteruser admin", "masterauth root", "replica-announce-port 1"},
                      {}});
    REQUIRE(eventually(milliseconds(20'000), [&] {
        return pair.source.info("repl_backlog_active") == "1" &&
               pair.source.info("connected_slaves") == "1";
    }));
    CHECK(pair.worst("redis.min-replicas") == Severity::warn);
    CHECK(pair.says("the source has 1 replicas that answer it, the target 0"));
    CHECK(pair.worst("redis.fence") == Severity::fail);
    CHECK_MESSAGE(pair.says("replica 127.0.0.1:1"), pair.last);
    const auto sentinel = pair.source.connect();
    send_command(sentinel.get(), {"AUTH", "admin", "root"});
    send_command(sentinel.get(), {"CLIENT", "SETNAME", "sentinel-0123abcd-cmd"});
    CHECK(pair.worst("redis.min-replicas") == Severity::warn);
    CHECK(pair.says("Sentinel watches it (1 connections)"));

    CHECK(pair.worst("redis.psync") == Severity::pass);
    CHECK(pair.says("goes on from offset"));
    const Changed unknown(pair, replacing("PSYNC", "PSYNX"));
    CHECK(pair.worst(*unknown.inspector, "redis.psync") == Severity::fail);
    CHECK(pair.says("PSYNC refused: -ERR unknown command"));
    const Changed elsewhere(pair,
                            replacing(pair.source.info("master_replid"), std::string(40, '0')));
    CHECK(pair.worst(*elsewhere.inspector, "redis.psync") == Severity::fail);
    CHECK(pair.says("FULLRESYNC offered"));
    pair.source.text({"ACL", "SETUSER", "exodus", "-replconf"});
    CHECK(pair.worst("redis.psync") == Severity::fail);
    CHECK(pair.says("REPLCONF: NOPERM"));
}
