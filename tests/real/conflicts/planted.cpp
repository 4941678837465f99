#include "planted.h"

#include <csignal>
#include <doctest/doctest.h>
#include <fmt/format.h>

namespace exodus::test {

namespace {

using Words = std::vector<std::string>;

RigOptions options_with(std::vector<std::pair<std::string, std::string>> config) {
    RigOptions options;
    options.config = std::move(config);
    return options;
}

}  // namespace

Planted::Planted(Lines config) : rig(options_with(std::move(config))), ledger(load_through(rig)) {
    fill_server(own(rig.source()).get(), 3'000, 7);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    ledger.start();
    wait_for_load(ledger, 300);
    rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    rig.expect(0, {"analyze"});
}

void Planted::plant() {
    const auto source = own(rig.source());
    const auto target = own(rig.target());
    const auto both = [&](const Words& words) {
        send_command(source.get(), words);
        send_command(target.get(), words);
    };
    for (int db = 0; db < 2; ++db) {
        both({"SELECT", std::to_string(db)});
        for (int i = 0; i < kEach; ++i) {
            const std::string n = std::to_string(i);
            const std::string late = std::to_string(4'000'000'000'000 + i);
            both({"SET", "equal:s:" + n, "value " + n, "PXAT", late});
            both({"HSET", "equal:h:" + n, "f", n, "g", "x"});
            both({"SADD", "equal:set:" + n, "a", "b", "c", n});
            send_command(source.get(), {"SET", "differ:s:" + n, "source " + n, "PXAT", late});
            send_command(target.get(), {"SET", "differ:s:" + n, "target " + n});
            send_command(source.get(), {"RPUSH", "differ:l:" + n, "a", "b"});
            send_command(target.get(), {"RPUSH", "differ:l:" + n, "b", "a"});
            send_command(target.get(), {"SET", "target:s:" + n, "own " + n, "PXAT", late});
            send_command(target.get(), {"HSET", "target:h:" + n, "own", n});
        }
    }
}

std::vector<std::string> Planted::migrate_words() const {
    return {"migrate",     "--until", "ready",    "--skip-gate",        "compare",
            "--skip-gate", "test",    "--reason", "a test of conflicts"};
}

int Planted::migrate() {
    const auto ran = rig.exodus(migrate_words());
    MESSAGE("migrate ended with ", ran.code, "\n", ran.out, ran.err);
    return ran.code;
}

void Planted::migrate_through_a_kill() {
    // Slow enough that the kill meets the copy.
    rig.kill_interlay();
    rig.start_interlay();
    wait_for_load(ledger, 100);
    std::vector<std::string> argv{EXODUS_BINARY, "--no-input"};
    for (const auto& word : migrate_words()) argv.push_back(word);
    for (const char* word : {"--throttle", "bytes_per_s=100kb"}) argv.emplace_back(word);
    Process command(argv, {.environment = {},
                           .directory = rig.file("."),
                           .output = rig.file("killed.log"),
                           .errors = {},
                           .input = {}});
    const auto keys = [&] { return std::stoll(on_target({"DBSIZE"})); };
    const auto before = keys();
    const bool copying = eventually(milliseconds(30'000), [&] { return keys() > before + 150; });
    INFO(read_file(rig.file("killed.log")), rig.interlay_log());
    REQUIRE(copying);
    command.kill();
    rig.kill_interlay();
    CHECK(keys() < 2'000);  // amid the copy
    rig.start_interlay();
    wait_for_load(ledger, 100);
    REQUIRE(migrate() == 0);
}

Values Planted::values(RedisServer& server, const std::string& prefix) {
    Values out;
    const auto context = own(server);
    const auto text = [&](const Words& words) {
        return to_text(send_command(context.get(), words).get());
    };
    for (int db = 0; db < 2; ++db) {
        text({"SELECT", std::to_string(db)});
        const auto names = send_command(context.get(), {"KEYS", prefix + "*"});
        for (std::size_t i = 0; i < names->elements; ++i) {
            const std::string name(names->element[i]->str, names->element[i]->len);
            const std::string type = text({"TYPE", name});
            const std::string value = type == "string" ? text({"GET", name})
                                      : type == "hash" ? text({"HGETALL", name})
                                      : type == "list" ? text({"LRANGE", name, "0", "-1"})
                                      : type == "set"  ? text({"SORT", name, "ALPHA"})
                                      : type == "stream"
                                          ? text({"XRANGE", name, "-", "+"})
                                          : text({"ZRANGE", name, "0", "-1", "WITHSCORES"});
            out[fmt::format("db{} {}", db, name)] =
                type + " " + value + " " + text({"PEXPIRETIME", name});
        }
    }
    return out;
}

std::string Planted::write(const Words& words) {
    const auto context = connect_to(rig.port());
    send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
    return to_text(send_command(context.get(), words).get());
}

std::string Planted::on_source(const Words& words) { return rig.source().text(words); }
std::string Planted::on_target(const Words& words) { return rig.target().text(words); }

void Planted::wait_applied() {
    const std::string mark = "mark:" + std::to_string(++marks_);
    write({"SET", mark, "1"});
    REQUIRE(eventually(milliseconds(30'000), [&] { return on_target({"GET", mark}) == "1"; }));
}

nlohmann::json Planted::result(Words words) {
    words.emplace_back("--json");
    const auto ran = rig.exodus(words);
    INFO("exit code ", ran.code, ran.err);
    return last_result(ran.out);
}

Values Planted::changes(const std::string& action) {
    const auto last = result({"divergences", "changes", "--action", action, "--limit", "100000"});
    Values out;
    for (const auto& row : last.at("changes")) {
        out[row.at("location").get<std::string>() + " " + row.at("key").get<std::string>()] =
            row.at("reason").get<std::string>();
    }
    return out;
}

std::pair<uint64_t, uint64_t> Planted::verify() {
    ledger.pause(
        true);  // a key that never stands still would be unresolved, which is not the point
    const auto last = result({"compare", "--mode", "data"});
    ledger.pause(false);
    INFO(last.dump(1));
    const nlohmann::json* data = nullptr;
    for (const auto* at : {&last, last.contains("numbers") ? &last.at("numbers") : &last}) {
        if (at->contains("data") && at->at("data").is_object()) data = &at->at("data");
    }
    REQUIRE(data != nullptr);
    MESSAGE("verify: ", data->dump());
    uint64_t wrong = 0;
    for (const char* kind : {"missing", "extra", "different", "unresolved"})
        wrong += data->at(kind).get<uint64_t>();
    return {wrong, data->at("kept").get<uint64_t>()};
}

}  // namespace exodus::test
