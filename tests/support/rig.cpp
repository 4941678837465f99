#include "tests/support/rig.h"

#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

namespace exodus::test {

namespace {

ServerOptions server_options(Engine engine, std::vector<std::string> config) {
    ServerOptions options;
    options.engine = engine;
    options.config = std::move(config);
    // The default user is off but keeps its rights: valkey loads an append-only file as that user,
    // and drops every MULTI it may not run.
    options.acl = {"user default off ~* &* +@all",
                   fmt::format("user {} on >{} ~* &* +@all", Rig::kOwnUser, Rig::kOwnPassword),
                   fmt::format("user {} on >{} ~* &* +@all -@admin -@dangerous +keys +info +client",
                               Rig::kUser, Rig::kPassword)};
    return options;
}

}  // namespace

std::string exodus_binary() {
    if (const char* path = std::getenv("EXODUS_BINARY")) return path;
    return EXODUS_BINARY_PATH;
}

Rig::Rig(RigOptions options)
    : options_(std::move(options)),
      source_(
          std::make_unique<RedisServer>(server_options(options_.source, options_.source_config))),
      target_(
          std::make_unique<RedisServer>(server_options(options_.target, options_.target_config))),
      port_(free_port()) {
    source_->login(kOwnUser, kOwnPassword);
    target_->login(kOwnUser, kOwnPassword);
    write_file(file("own.secret"), std::string(kOwnPassword) + "\n");
    std::vector<std::pair<std::string, std::string>> lines{
        {"source", "family = \"redis\""},
        {"source", fmt::format("uri = \"redis://{}@127.0.0.1:{}/0\"", kOwnUser, source_->port())},
        {"source", fmt::format("password_file = \"{}\"", file("own.secret"))},
        {"target", "family = \"redis\""},
        {"target", fmt::format("uri = \"valkey://{}@127.0.0.1:{}/0\"", kOwnUser, target_->port())},
        {"target", fmt::format("password_file = \"{}\"", file("own.secret"))},
        {"interlay", fmt::format("listen = [\"127.0.0.1:{}\"]", port_)},
        {"interlay", fmt::format("threads = {}", options_.threads)},
        {"cutover", "hold_timeout = \"5s\""},
        {"cutover", "max_lag = \"1s\""},
        {"cutover", "watch = \"0s\""},
        {"gates", "analyze_duration = \"1s\""},
        {"gates", "analyze_requests_min = 10"},
        {"gates", "ready_lag_for = \"500ms\""},
        {"gates", "compare_samples_min = 1000"},
        // Beside a load on two cores the default copies some thousand keys a second: that is tried
        // by real.stream-exact and by whoever puts it back.
        {"migrate.throttle", "origin_p99_ratio = 0"},
    };
    lines.insert(lines.end(), options_.config.begin(), options_.config.end());
    std::map<std::string, std::map<std::string, std::string>> tables;
    for (const auto& [table, line] : lines) tables[table][line.substr(0, line.find(' '))] = line;
    std::string text = fmt::format("migration = \"{}\"\n", kName);
    for (const auto& [table, keys] : tables) {
        text += fmt::format("\n[{}]\n", table);
        for (const auto& [key, line] : keys) text += line + "\n";
    }
    write_file(file("exodus.toml"), text + options_.tables);
}

Rig::~Rig() { interlay_.kill(); }

Process Rig::spawn_interlay(const std::vector<std::string>& more) {
    std::vector<std::string> words{exodus_binary(), "--no-input", "interlay"};
    words.insert(words.end(), more.begin(), more.end());
    return Process(words, {.environment = {},
                           .directory = directory_.path(),
                           .output = file("interlay.log"),
                           .errors = {},
                           .input = {}});
}

int Rig::take_over() {
    Process before = std::exchange(interlay_, spawn_interlay({"--takeover"}));
    const int code = before.wait(milliseconds(60'000)).value_or(-1);
    INFO("interlay log: ", interlay_log());
    REQUIRE(interlay_.running());
    return code;
}

void Rig::start_interlay() {
    interlay_ = spawn_interlay({});
    const bool up = eventually(milliseconds(20'000), [this] {
        if (!interlay_.running()) return true;
        try {
            return connect_to(port_, milliseconds(500)) != nullptr;
        } catch (const std::runtime_error&) {
            return false;
        }
    });
    INFO("interlay log: ", interlay_log());
    REQUIRE(up);
    REQUIRE(interlay_.running());
}

void Rig::kill_interlay() { interlay_.kill(); }

int Rig::stop_interlay() {
    interlay_.signal(SIGTERM);
    return interlay_.wait(milliseconds(40'000)).value_or(-1);
}

RunResult Rig::exodus(std::vector<std::string> words,
                      std::map<std::string, std::string> environment, milliseconds timeout) {
    std::vector<std::string> argv{exodus_binary(), "--no-input"};
    argv.insert(argv.end(), words.begin(), words.end());
    ProcessOptions options;
    options.environment = std::move(environment);
    options.directory = directory_.path();
    return run(argv, timeout, options);
}

Process Rig::begin(std::vector<std::string> words, std::map<std::string, std::string> environment) {
    std::vector<std::string> argv{exodus_binary(), "--no-input"};
    argv.insert(argv.end(), words.begin(), words.end());
    ProcessOptions options;
    options.environment = std::move(environment);
    options.directory = directory_.path();
    options.output = file("command.log");
    return {argv, options};
}

void Rig::repeat_until_done(const std::vector<std::string>& words) {
    RunResult last;
    const bool done = eventually(
        milliseconds(60'000),
        [&] {
            last = exodus(words);
            return last.code == 0;
        },
        milliseconds(100));
    INFO("exit ", last.code, "\n", last.out, last.err, "\n--- interlay\n", interlay_log());
    REQUIRE(done);
}

std::string Rig::expect(int code, const std::vector<std::string>& words,
                        const std::map<std::string, std::string>& environment) {
    const RunResult result = exodus(words, environment);
    std::string line;
    for (const auto& word : words) line += " " + word;
    INFO("exodus", line, "\n--- stdout\n", result.out, "\n--- stderr\n", result.err,
         "\n--- interlay\n", interlay_log());
    REQUIRE(result.code == code);
    return result.out;
}

void Rig::bring_to_ready() {
    expect(0, {"init", "redis"});
    if (!interlay_running()) start_interlay();
    const std::string reason = "a test of the switch alone";
    expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room" + options_.acks, "--reason",
               reason});
    expect(0, {"analyze"});
    expect(0, {"migrate", "--until", "ready", "--skip-gate", "compare", "--skip-gate", "test",
               "--reason", reason});
}

void Rig::do_switch(const std::map<std::string, std::string>& environment) {
    expect(0, {"migrate", "--until", "ready"});
    expect(0, {"approve", "switch", "--reason", "test"});
    expect(0, {"migrate", "--switch", "--confirm", kName, "--reason", "test"}, environment);
}

void Rig::do_rollback() { expect(0, {"rollback", "--confirm", kName, "--reason", "test"}); }

std::string Rig::authority() {
    const std::string out = expect(0, {"status", "--json"});
    std::string answer;
    std::size_t from = 0;
    while (from < out.size()) {
        const auto end = std::min(out.find('\n', from), out.size());
        const auto line = nlohmann::json::parse(out.substr(from, end - from), nullptr, false);
        if (line.is_object() && line.contains("authority"))
            answer = line["authority"].get<std::string>();
        from = end + 1;
    }
    return answer;
}

}  // namespace exodus::test
