// pretest's taps that show requests only: MONITOR on the source, whose cost is told and must be
// accepted first, and a log of it. What they read is counted; logins and values are kept nowhere.
#include <algorithm>
#include <atomic>
#include <doctest/doctest.h>
#include <filesystem>
#include <thread>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

const std::vector<std::string> kOneCheck{"pretest", "--json", "--only",   "redis.reach.source",
                                         "--ack",   "tap",    "--reason", "test"};

std::vector<std::string> with(const std::vector<std::string>& more) {
    std::vector<std::string> words = kOneCheck;
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// In what the command printed, and in every file that it left.
void check_kept_nowhere(Rig& rig, const std::string& out, const std::string& secret,
                        const std::string& except = {}) {
    CHECK_FALSE(has(out, secret));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(rig.file(""))) {
        if (!entry.is_regular_file() || entry.path().filename() == except) continue;
        CHECK_MESSAGE(!has(read_file(entry.path().string()), secret), entry.path().string());
    }
}

}  // namespace

TEST_CASE("MONITOR is asked for only when its cost was accepted, and counts what clients send") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    const RunResult refused = rig.exodus(with({"--tap", "monitor"}));
    INFO(refused.out, refused.err);
    CHECK(refused.code == 64);
    CHECK(has(refused.out + refused.err, "quarter to three quarters of its throughput"));
    CHECK(has(refused.out + refused.err, "--accept-monitor-cost"));
    CHECK_FALSE(has(rig.source().text({"INFO", "commandstats"}), "cmdstat_monitor"));

    std::atomic<bool> stop{false};
    std::thread client([&] {
        while (!stop) {
            const auto context = rig.source().connect();
            send_command(context.get(), {"HELLO", "2", "AUTH", Rig::kUser, Rig::kPassword});
            send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            for (int i = 0; i < 10; ++i) send_command(context.get(), {"INCR", "tapped"});
            send_command(context.get(), {"SET", "tapped:value", "hidden-value"});
            sleep_ms(5);
        }
    });
    const RunResult tapped =
        rig.exodus(with({"--tap", "monitor", "--accept-monitor-cost", "--duration", "2s"}));
    stop = true;
    client.join();
    INFO(tapped.out, tapped.err);
    CHECK(has(rig.source().text({"INFO", "commandstats"}), "cmdstat_monitor"));
    const auto tap = last_result(tapped.out).at("numbers").at("tap");
    INFO(tap.dump());
    CHECK(tap.at("requests").get<uint64_t>() >= 10);
    CHECK(tap.at("requests") == tap.at("packets"));
    CHECK(tap.at("connections").get<uint64_t>() >= 1);
    CHECK(tap.at("unparsed") == 0);
    CHECK_FALSE(tap.at("unreadable").get<bool>());
    for (const char* secret : {Rig::kPassword, "hidden-value"})
        check_kept_nowhere(rig, tapped.out + tapped.err, secret);
    // Nobody watches the source any more.
    CHECK(eventually(milliseconds(10'000), [&] {
        return !has(rig.source().text({"CLIENT", "LIST"}), "cmd=monitor");
    }));
}

TEST_CASE("a log of MONITOR is counted, and no login of it is kept") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    const std::string at = "1700000000.00000";
    write_file(rig.file("monitor.log"),
               "OK\n" + at + "1 [0 10.0.0.1:1] \"AUTH\" \"app\" \"hidden-login-1\"\n" + at +
                   "2 [0 10.0.0.1:1] \"HELLO\" \"3\" \"AUTH\" \"app\" \"hidden-login-2\"\n" + at +
                   "3 [0 10.0.0.1:1] \"SET\" \"k\" \"hidden-value\"\n" + at +
                   "4 [0 lua] \"INCR\" \"k\"\n" + at +
                   "5 [3 10.0.0.2:9] \"GET\" \"k \\\"\\x00\"\n" + "this is no line of a log\n");
    const RunResult result = rig.exodus(with({"--tap", "log:" + rig.file("monitor.log")}));
    INFO(result.out, result.err);
    const auto tap = last_result(result.out).at("numbers").at("tap");
    INFO(tap.dump());
    CHECK(tap.at("requests") == 4);
    CHECK(tap.at("connections") == 2);
    CHECK(tap.at("lost") == 1);
    for (const char* secret : {"hidden-login-1", "hidden-login-2", "hidden-value"})
        check_kept_nowhere(rig, result.out + result.err, secret, "monitor.log");
    const RunResult none = rig.exodus(with({"--tap", "log:" + rig.file("none.log")}));
    INFO(none.out, none.err);
    CHECK(none.code == 66);
}
