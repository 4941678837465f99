// Hazard: the target was seeded before (from a backup, by a failed attempt), or the stream had a
// gap. A repair must write only what differs, remove and list what only the target has, and leave
// what is equal as it is: no RESTORE, no DEL, no change of its idle time.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

using Words = std::vector<std::string>;

RigOptions repairing() {
    RigOptions options;
    options.config = {{"migrate", "data_movement = \"repair\""}};
    options.source_config = {"repl-backlog-size 16kb"};
    return options;
}

uint64_t calls(RedisServer& server, const std::string& command) {
    const std::string stats = server.info("cmdstat_" + command);
    const auto at = stats.find("calls=");
    return at == std::string::npos ? 0 : std::stoull(stats.substr(at + 6));
}

nlohmann::json result(Rig& rig, Words words) {
    words.emplace_back("--json");
    return last_result(rig.exodus(words).out);
}

/// "action db key" -> reason, of `divergences changes`.
std::map<std::string, std::string> changes(Rig& rig) {
    std::map<std::string, std::string> out;
    const auto last = result(rig, {"divergences", "changes", "--limit", "100000"});
    for (const auto& row : last.at("changes")) {
        out[fmt::format("{} {} {}", row.at("action").get<std::string>(),
                        row.at("location").get<std::string>(), row.at("key").get<std::string>())] =
            row.at("reason").get<std::string>();
    }
    return out;
}

/// The same keys of every type on both sides, in two databases; encodings differ between versions.
void seed(Rig& rig, int each) {
    for (RedisServer* server : {&rig.source(), &rig.target()}) {
        const auto context = own(*server);
        for (int db = 0; db < 2; ++db) {
            send_command(context.get(), {"SELECT", std::to_string(db)});
            for (int i = 0; i < each; ++i) {
                const std::string n = std::to_string(i);
                send_command(context.get(), {"SET", "s:" + n, "value " + n, "PXAT",
                                             std::to_string(4'000'000'000'000 + i)});
                send_command(context.get(), {"SADD", "set:" + n, "a", "b", "c" + n});
                send_command(context.get(), {"HSET", "h:" + n, "f", n, "g", std::string(100, 'x')});
                send_command(context.get(), {"ZADD", "z:" + n, "0.1", "a", n, "b"});
                send_command(context.get(), {"RPUSH", "l:" + n, "a", n});
                send_command(context.get(),
                             {"XADD", "x:" + n, "5-" + std::to_string(i + 1), "f", n});
                send_command(context.get(), {"XGROUP", "CREATE", "x:" + n, "g", "0"});
            }
        }
    }
}

/// One difference of each kind on the target.
void damage(Rig& rig) {
    RedisServer& target = rig.target();
    target.command({"DEL", "s:1"});
    target.command({"SET", "s:2", "other", "KEEPTTL"});
    target.command({"PEXPIREAT", "s:3", "4100000000000"});
    target.command({"DEL", "h:4"});
    target.command({"SET", "h:4", "of another type"});
    target.command({"SADD", "set:5", "more"});
    target.command({"ZINCRBY", "z:6", "0.5", "a"});
    target.command({"LPUSH", "l:7", target.text({"RPOP", "l:7"})});
    target.command({"XGROUP", "SETID", "x:8", "g", "5-9"});
    target.command({"SET", "only:target", "1"});
    target.command({"SELECT", "1"});
    target.command({"HSET", "only:target:too", "f", "1"});
    target.command({"SELECT", "0"});
}

void check_repaired(Rig& rig) {
    const auto found = changes(rig);
    CHECK(found.at("restored db0 s:1") == "missing");
    CHECK(found.at("restored db0 s:2") == "value");
    CHECK(found.at("restored db0 s:3") == "expiry");
    CHECK(found.at("restored db0 h:4") == "type");
    CHECK(found.at("restored db0 set:5") == "value");
    CHECK(found.at("restored db0 z:6") == "value");
    CHECK(found.at("restored db0 l:7") == "order");
    CHECK(found.at("restored db0 x:8") == "groups");
    CHECK(found.at("removed db0 only:target") == "extra");
    CHECK(found.at("removed db1 only:target:too") == "extra");
}

void begin(Rig& rig) {
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
}

void observe(Rig& rig) {
    rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    rig.expect(0, {"analyze"});
}

const Words kMigrate{"migrate",     "--until", "ready",    "--skip-gate",         "compare",
                     "--skip-gate", "test",    "--reason", "a test of the repair"};

constexpr int kEach = 150;

}  // namespace

TEST_CASE("a seeded target: equal keys are not written, differences are, and each is listed") {
    Rig rig(repairing());
    seed(rig, kEach);
    damage(rig);
    begin(rig);
    // A little traffic for analyze, on keys that are not the seed's; then silence, so that every
    // write on the target is the repair's.
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 300);
    observe(rig);
    ledger.stop();
    rig.target().command({"CONFIG", "RESETSTAT"});
    rig.expect(0, kMigrate);
    check_repaired(rig);
    uint64_t restored = 0;
    uint64_t removed = 0;
    for (const auto& [row, reason] : changes(rig)) {
        if (row.starts_with("restored")) ++restored;
        if (row.starts_with("removed")) ++removed;
    }
    CHECK(removed == 2);
    CHECK(restored >= 8);  // the seed's, and what the load had left on the source
    CHECK(calls(rig.target(), "restore") == restored);
    CHECK(calls(rig.target(), "del") == removed);
    const std::string status = rig.expect(0, {"status"});
    CHECK_MESSAGE(status.find(fmt::format("repaired: {} equal", "1,792")) != std::string::npos,
                  status);
    const auto source = own(rig.source());
    const auto target = own(rig.target());
    const auto compared = compare_servers(source.get(), target.get());
    for (const auto& text : compared.differences) MESSAGE(text);
    CHECK(compared.count == 0);
}

TEST_CASE("a seeded target under load, with a kill -9 amid the repair") {
    Rig rig(repairing());
    fill_server(own(rig.source()).get(), 4'000, 3);
    seed(rig, 20);
    damage(rig);
    begin(rig);
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 300);
    observe(rig);
    Words argv{EXODUS_BINARY, "--no-input"};
    argv.insert(argv.end(), kMigrate.begin(), kMigrate.end());
    argv.insert(argv.end(), {"--throttle", "bytes_per_s=200kb"});
    Process command(argv, {.environment = {},
                           .directory = rig.file("."),
                           .output = rig.file("killed.log"),
                           .errors = {},
                           .input = {}});
    const auto keys = [&] { return std::stoll(rig.target().text({"DBSIZE"})); };
    const auto before = keys();
    REQUIRE(eventually(milliseconds(30'000), [&] { return keys() > before + 100; }));
    command.kill();
    rig.kill_interlay();
    rig.start_interlay();
    wait_for_load(ledger, 100);
    rig.expect(0, kMigrate);
    check_repaired(rig);
    check_equal(rig, ledger);
    check_ledger(ledger, rig.source());
}

TEST_CASE("a gap in the stream: only what changed meanwhile is written") {
    Rig rig(repairing());
    seed(rig, kEach);
    begin(rig);
    Ledger ledger(load_through(rig));
    ledger.start();
    wait_for_load(ledger, 300);
    observe(rig);
    rig.expect(0, kMigrate);
    ledger.stop();
    // What it wrote last is not part of the gap.
    REQUIRE(eventually(milliseconds(10'000), [&] {
        const auto status = last_result(rig.expect(0, {"status", "--json"}));
        return status.at("forward").at("lag_bytes") == 0;
    }));
    rig.kill_interlay();
    // Far more than the backlog holds.
    const auto source = own(rig.source());
    for (int i = 0; i < 40; ++i) {
        send_command(source.get(), {"SET", "gap:" + std::to_string(i), std::string(2'000, 'g')});
        send_command(source.get(), {"APPEND", "s:" + std::to_string(i), " changed"});
    }
    send_command(source.get(), {"DEL", "h:1", "h:2"});
    rig.target().command({"CONFIG", "RESETSTAT"});
    rig.start_interlay();
    rig.expect(0, kMigrate);
    REQUIRE(eventually(milliseconds(30'000), [&] {
        return rig.exodus({"events", "--limit", "1000"}).out.find("the repair is done") !=
               std::string::npos;
    }));
    const auto found = changes(rig);
    CHECK(found.at("restored db0 gap:7") == "missing");
    CHECK(found.at("restored db0 s:7") == "value");
    CHECK(found.at("removed db0 h:2") == "extra");
    CHECK(calls(rig.target(), "restore") == 80);
    CHECK(calls(rig.target(), "del") == 2);
    const auto target = own(rig.target());
    const auto compared = compare_servers(source.get(), target.get());
    for (const auto& text : compared.differences) MESSAGE(text);
    CHECK(compared.count == 0);
    CHECK(rig.source().info("total_forks") == "0");
}
