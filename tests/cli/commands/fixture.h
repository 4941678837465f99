// What the tests of the binary share: a directory with a configuration whose endpoints nobody
// answers at, and how a --json conversation ends.
#pragma once

#include <doctest/doctest.h>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace exodus::test {

inline constexpr const char* kPassword = "hunter2-never-shown";

struct Fixture {
    TempDir directory;
    /// Ports on which nothing listens.
    int source = free_port();
    int target = free_port();
    int listen = free_port();

    RunResult exodus_run(std::vector<std::string> words,
                         std::map<std::string, std::string> environment = {}) {
        words.insert(words.begin(), EXODUS_BINARY);
        ProcessOptions options;
        options.directory = directory.path();
        options.environment = std::move(environment);
        return run(words, milliseconds(30000), options);
    }
    void write_config(const std::string& more = "") {
        write_file(directory.file("secret"), std::string(kPassword) + "\n", 0600);
        write_file(directory.file("exodus.toml"),
                   "migration = \"m1\"\n"
                   "[source]\nuri = \"redis://app@127.0.0.1:" +
                       std::to_string(source) +
                       "\"\npassword_file = \"secret\"\n"
                       "[target]\nuri = \"redis://127.0.0.1:" +
                       std::to_string(target) + "\"\n[interlay]\nlisten = [\"127.0.0.1:" +
                       std::to_string(listen) + "\"]\n" + more);
    }
    void init() {
        write_config();
        const RunResult made = exodus_run({"init", "redis"});
        INFO(made.out << made.err);
        REQUIRE(made.code == 0);
    }
};

/// Every line an object with a type; gives the last one.
inline nlohmann::json check_objects(const std::string& text) {
    std::istringstream stream(text);
    nlohmann::json last;
    for (std::string line; std::getline(stream, line);) {
        last = nlohmann::json::parse(line, nullptr, false);
        CHECK_MESSAGE(last.is_object(), line);
        CHECK(last.contains("type"));
    }
    return last;
}

/// Of a --json conversation: the last object is of type result with the exit code.
inline nlohmann::json last_object(const RunResult& result) {
    nlohmann::json last = check_objects(result.out);
    REQUIRE_MESSAGE(last.is_object(), result.err);
    CHECK(last["type"] == "result");
    CHECK(last["exit_code"] == result.code);
    CHECK(last["ok"] == (result.code == 0));
    if (result.code != 0 && result.code != 2) CHECK(last.contains("error"));
    return last;
}

inline bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace exodus::test
