// Hazard: a phase command that found no interlay and started one of its own ends in all ways:
// done, out of time, stopped, told twice, killed. Applications must be served as long as it runs,
// nothing may be left behind, except by a kill, after which the applications stay connected.
#include <csignal>
#include <doctest/doctest.h>
#include <filesystem>
#include <sys/stat.h>

#include "tests/support/scenario.h"

namespace fs = std::filesystem;
using namespace exodus;
using namespace exodus::test;

namespace {

/// A process that its dead parent left may never be reaped where the tests run.
bool runs(pid_t pid) {
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const auto bracket = stat.rfind(')');
    return bracket != std::string::npos && bracket + 2 < stat.size() && stat[bracket + 2] != 'Z';
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

struct Alone {
    Rig rig;
    pid_t child = -1;
    Process command;

    Alone() {
        rig.expect(0, {"init", "redis"});
        rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "x"});
    }
    ~Alone() {
        write_file(rig.file("go"), "");
        if (child > 0) ::kill(child, SIGKILL);  // after a kill of the command nobody else would
    }

    bool served() {
        try {
            const auto client = connect_to(rig.port(), milliseconds(500));
            send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            return to_text(send_command(client.get(), {"SET", "a", "1"}).get()) == "OK";
        } catch (const std::runtime_error&) {
            return false;
        }
    }
    /// An analyze that observes for longer than any test, with an application that is served.
    void begin() {
        std::error_code ignored;
        fs::remove(rig.file("command.log"), ignored);
        command = rig.begin({"analyze", "--duration", "10m"});
        const bool up = eventually(milliseconds(30'000), [&] { return served(); });
        INFO(log());
        REQUIRE(up);
        child = pid_of_interlay();
        CHECK(has(log(),
                  "no interlay runs; started one for this command (pid " + std::to_string(child)));
    }
    pid_t pid_of_interlay() {
        const auto told = last_result(rig.expect(0, {"ctl", "hello", "--json"}));
        return told["replies"][0]["reply"]["pid"].get<pid_t>();
    }
    /// Neither the process nor its port is there.
    bool gone() {
        const bool ended =
            eventually(milliseconds(20'000), [&] { return !runs(child) && !served(); });
        if (ended) child = -1;
        return ended;
    }
    void ends_with_the_command();
    void ends_at_the_second_signal();
    void outlives_a_kill();
    std::string log() { return read_file(rig.file("command.log")); }
};

void Alone::ends_with_the_command() {
    for (const auto& [number, code] : {std::pair{SIGINT, 130}, std::pair{SIGTERM, 143}}) {
        begin();
        command.signal(number);
        const auto ended = command.wait(milliseconds(30'000));
        INFO(log());
        CHECK(ended == code);
        CHECK(gone());
        CHECK(has(log(), "stopping at the next safe point"));
        CHECK(has(log(), "To keep one running: exodus interlay"));
        CHECK(has(log(), "Next: exodus --no-input analyze --duration 10m"));
        CHECK_FALSE(has(log(), "\x1b"));
    }
    const RunResult late =
        rig.exodus({"--log-format", "json", "analyze", "--duration", "10m", "--timeout", "1s"});
    INFO(late.out << late.err);
    CHECK(has(read_file(rig.file("exodus.db.interlay.log")), R"({"type":"log")"));
    CHECK(late.code == 1);
    CHECK(has(late.out, "--timeout of 1 s passed"));
    CHECK_FALSE(served());
    CHECK(last_result(rig.expect(0, {"status", "--offline", "--json"}))["state"] == "pretested");
}

void Alone::ends_at_the_second_signal() {
    fs::create_directory(rig.file("hooks.d"));
    ::chmod(rig.file("hooks.d").c_str(), 0700);
    write_file(rig.file("hooks.d/10-wait"),
               "#!/bin/sh\n[ \"$1\" = after ] || exit 0\ntouch started\n"
               "while [ ! -e go ]; do sleep 0.05; done\n",
               0700);
    begin();
    command.signal(SIGINT);
    REQUIRE(eventually(milliseconds(20'000), [&] { return fs::exists(rig.file("started")); }));
    CHECK(served());
    command.signal(SIGTERM);
    CHECK(command.wait(milliseconds(20'000)) == 143);
    CHECK(gone());
    write_file(rig.file("go"), "");
}

void Alone::outlives_a_kill() {
    begin();
    const auto client = connect_to(rig.port());
    send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
    command.kill();
    CHECK(to_text(send_command(client.get(), {"SET", "b", "2"}).get()) == "OK");
    // The same command goes on with it, and leaves it to whoever needs it.
    rig.expect(2, {"analyze", "--duration", "1s"});  // 2: no request came meanwhile
    CHECK(to_text(send_command(client.get(), {"GET", "b"}).get()) == "2");
    CHECK(pid_of_interlay() == child);
    rig.expect(0, {"ctl", "drain"});
    CHECK(gone());
}

}  // namespace

TEST_CASE_FIXTURE(Alone, "an interlay that a command started, and all ways in which that ends") {
    ends_with_the_command();
    ends_at_the_second_signal();
    outlives_a_kill();
}
