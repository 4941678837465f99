// Two commands of one migration: who holds the lock, waiting for it, and what ends the wait.
#include <csignal>
#include <regex>
#include <sys/stat.h>

#include "core/state.h"
#include "fixture.h"
#include "store/records.h"

namespace fs = std::filesystem;
using namespace exodus;
using namespace exodus::test;

namespace {

/// A pretest that holds the lock until go(): its hook waits.
struct Locked : Fixture {
    Process holder;

    Locked() {
        init();
        fs::create_directory(directory.file("hooks.d"));
        ::chmod(directory.file("hooks.d").c_str(), 0700);
        write_file(directory.file("hooks.d/10-wait"),
                   "#!/bin/sh\n[ \"$1\" = before ] || exit 0\ntouch started\n"
                   "while [ ! -e go ]; do sleep 0.05; done\n",
                   0700);
        holder = begin({"pretest"}, "holder");
        REQUIRE(eventually(milliseconds(20'000),
                           [&] { return fs::exists(directory.file("started")); }));
    }
    ~Locked() {
        go();  // or the script would look for it for ever
        holder.wait(milliseconds(20'000));
    }

    Process begin(std::vector<std::string> words, const std::string& log) {
        words.insert(words.begin(), EXODUS_BINARY);
        ProcessOptions options;
        options.directory = directory.path();
        options.output = directory.file(log);
        return Process(words, options);
    }
    void go() { write_file(directory.file("go"), ""); }
    std::string log(const std::string& name) { return read_file(directory.file(name)); }
};

}  // namespace

TEST_CASE_FIXTURE(Locked, "75 says who holds the lock, since when, and what stands") {
    const RunResult refused = exodus_run({"analyze"});
    INFO(refused.out << refused.err);
    CHECK(refused.code == 75);
    const Owner owner = current_owner();
    const std::string text = refused.out + refused.err;
    CHECK(has(text, "'pretest' of " + owner_name(owner)));
    CHECK(has(text, "(pid " + std::to_string(holder.pid()) + ", since 20"));
    CHECK(has(text, "--lock-timeout"));
    CHECK(has(text, "authoritative: source"));
    const auto json = last_object(exodus_run({"analyze", "--json"}));
    CHECK(json["error"]["code"] == "locked");
    CHECK(json.value("state", "") == "new");
}

TEST_CASE_FIXTURE(Locked, "--lock-timeout: waits, says for whom, and goes on when it is free") {
    Process waiting = begin({"pretest", "--lock-timeout", "10m"}, "waiting");
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return has(log("waiting"), "waiting for 'pretest' of "); }));
    CHECK(waiting.running());
    go();
    const auto first = holder.wait(milliseconds(60'000));
    const auto second = waiting.wait(milliseconds(60'000));
    INFO(log("holder") << log("waiting"));
    CHECK(first == 2);  // nobody answers at the endpoints
    CHECK(second == 2);
}

TEST_CASE_FIXTURE(Locked, "the wait ends with its time, with --timeout, and with a signal") {
    const int64_t began_us = steady_us();
    CHECK(exodus_run({"pretest", "--lock-timeout", "300ms"}).code == 75);
    CHECK(steady_us() - began_us >= 300'000);
    CHECK(exodus_run({"pretest", "--lock-timeout", "10m", "--timeout", "200ms"}).code == 75);
    Process waiting = begin({"pretest", "--lock-timeout", "10m"}, "waiting");
    REQUIRE(eventually(milliseconds(20'000), [&] { return has(log("waiting"), "waiting for"); }));
    waiting.signal(SIGINT);
    CHECK(waiting.wait(milliseconds(20'000)) == 130);
    CHECK(has(log("waiting"), "authoritative: source"));
}
