// analyze under a real load: what it reports, who writes beside the interlay, and the capture of
// the workload: written, replayed, profiled again, damaged.
#include <atomic>
#include <doctest/doctest.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

nlohmann::json result_of(const RunResult& result) {
    const auto end = result.out.find_last_not_of('\n');
    const auto from = result.out.rfind('\n', end);
    auto value = nlohmann::json::parse(result.out.substr(from == std::string::npos ? 0 : from + 1),
                                       nullptr, false);
    REQUIRE_MESSAGE(value.is_object(), result.out << result.err);
    return value;
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

struct Loaded {
    Rig rig;
    Ledger ledger;
    Loaded() : rig(two_loops()), ledger(options_of(rig)) {
        fill_server(own(rig.source()).get(), 2'000, 9);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        ledger.start();
        wait_for_load(ledger, 500);
        rig.expect(0,
                   {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    }
    static RigOptions two_loops() {
        RigOptions options;
        options.threads = 2;
        return options;
    }
    static LedgerOptions options_of(const Rig& rig) {
        LedgerOptions options = load_through(rig);
        options.pause_us = 2'000;
        return options;
    }
};

}  // namespace

TEST_CASE("analyze reports what runs, and names who writes beside the interlay") {
    Loaded load;
    // What is observed is observed on both loops.
    const auto counted = result_of({0, load.rig.expect(0, {"--json", "ctl", "traffic"}), ""})
                             .at("replies")
                             .at(0)
                             .at("reply");
    uint64_t answered = 0;
    for (const auto& command : counted.at("commands"))
        answered += command.at("requests").get<uint64_t>();
    const auto observed =
        nlohmann::json::parse(counted.at("observations").at("redis.profile").get<std::string>());
    CHECK(observed.at("requests").get<double>() > 0.9 * static_cast<double>(answered));

    const RunResult quiet = load.rig.exodus({"analyze", "--json", "--duration", "2s"});
    INFO(quiet.out, quiet.err);
    REQUIRE(quiet.code == 0);
    const auto result = result_of(quiet);
    const auto& numbers = result["numbers"];
    CHECK_FALSE(has(quiet.out, "traffic.stray_writer"));
    for (const char* name : {"p50_us", "p95_us", "p99_us", "p999_us", "errors", "bytes_in"})
        CHECK_MESSAGE(numbers["commands"]["INCR"].contains(name), name);
    const auto& profile = numbers["observations"]["redis.profile"];
    CHECK(profile["features"]["transactions"].get<uint64_t>() > 0);
    CHECK(profile["features"]["scripts"].get<uint64_t>() > 0);
    CHECK(profile["features"]["blocking"].get<uint64_t>() > 0);
    CHECK(profile["hot_keys"].size() > 0);
    // All that runs has this prefix; one request in eight is in the sample.
    const auto& prefix = profile["prefixes"]["led:"];
    INFO(prefix.dump());
    CHECK(prefix["latency_us"]["count"].get<uint64_t>() > 50);
    CHECK(prefix["latency_us"]["p999"] >= prefix["latency_us"]["p50"]);
    CHECK(prefix["latency_us"]["p50"].get<uint64_t>() > 0);
    CHECK(prefix["bytes_out"].get<uint64_t>() > 1'000);
    CHECK(numbers["profile"]["ttl_s"]["count"].get<uint64_t>() > 0);
    CHECK(numbers["profile"]["big_keys"].size() > 0);
    // Rates are those of what was observed.
    CHECK(numbers["plan"]["write_bytes_per_s"].get<uint64_t>() > 1'000);
    CHECK(numbers["plan"]["requests_per_s"].get<uint64_t>() > 100);
    CHECK(numbers["clients"]["now"].get<uint64_t>() >= 8);

    const auto stray = load.rig.source().connect();
    send_command(stray.get(), {"AUTH", Rig::kUser, Rig::kPassword});
    send_command(stray.get(), {"SET", "beside", "1"});
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    REQUIRE(::getsockname(stray->fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    const RunResult text = load.rig.exodus({"analyze", "--duration", "1s"});
    INFO(text.out, text.err);
    CHECK(text.code == 0);
    CHECK(has(text.out, "traffic.stray_writer"));
    CHECK(has(text.out, "user app, cmd set"));
    for (const char* part :
         {"commands ", "p99.9", "prefixes  (1 in 8)", " led: ", "clients ", "uses ", "hot keys ",
          "data ", "sizes ", "TTLs ", "big keys ", "plan ", "sizing "})
        CHECK_MESSAGE(has(text.out, part), part);
    load.ledger.stop();
}

TEST_CASE("analyze counts the writes of connections that come and go beside the interlay") {
    Rig rig;
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    // No scripts: what they write is counted as if clients had written it.
    const std::jthread through([&](const std::stop_token& stop) {
        const auto client = connect_to(rig.port(), milliseconds(20'000));
        send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
        while (!stop.stop_requested()) {
            send_command(client.get(), {"SET", "k", "v"});
            send_command(client.get(), {"MULTI"});
            send_command(client.get(), {"INCR", "n"});
            send_command(client.get(), {"RPUSH", "l", "1"});
            send_command(client.get(), {"EXEC"});
            send_command(client.get(), {"BLPOP", "l", "1"});
            send_command(client.get(), {"INCR", "k"});  // an error
            sleep_ms(1);
        }
    });
    rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    const RunResult alone = rig.exodus({"analyze", "--json", "--duration", "2s"});
    INFO(alone.out, alone.err);
    CHECK(alone.code == 0);
    CHECK_FALSE(has(alone.out, "redis.traffic.beside"));
    const auto numbers = result_of(alone)["numbers"];
    CHECK(numbers["peak"]["requests_per_s"].get<double>() > 100);
    CHECK(numbers["observations"]["redis.profile"]["prefixes"]["(none)"]["errors"] > 0);
    CHECK(numbers["plan"]["source_busy"]["by_command"].contains("set"));
    CHECK(numbers["plan"]["source_busy"]["cores"].get<double>() > 0);
    CHECK(numbers["plan"]["network_bytes_per_s"]["in"].get<double>() > 1'000);

    const std::jthread beside([&](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            const auto client = rig.source().connect();
            send_command(client.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            send_command(client.get(), {"HSET", "beside", "f", "v"});
            sleep_ms(1);
        }
    });
    const RunResult both = rig.exodus({"analyze", "--duration", "2s"});
    INFO(both.out, both.err);
    CHECK(both.code == 0);
    CHECK(has(both.out, "redis.traffic.beside"));
    CHECK(has(both.out, " hset"));
    for (const char* part : {"peak ", "cores, of its time in commands:", "network "})
        CHECK_MESSAGE(has(both.out, part), part);
}

TEST_CASE("a capture holds no login, replays, is profiled again, and a damaged one is refused") {
    Loaded load;
    Rig& rig = load.rig;
    const std::string file = rig.file("work.capture");
    {
        // Logins while the capture runs, in every form.
        std::atomic<bool> stop{false};
        std::thread clients([&] {
            while (!stop) {
                const auto context = connect_to(rig.port(), milliseconds(20'000));
                send_command(context.get(), {"HELLO", "2", "AUTH", Rig::kUser, Rig::kPassword});
                send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
                send_command(context.get(), {"GET", "user:1 with a blank\r\n\xff"});
                sleep_ms(5);
            }
        });
        const RunResult captured =
            rig.exodus({"analyze", "--duration", "2s", "--capture", "work.capture"});
        stop = true;
        clients.join();
        INFO(captured.out, captured.err);
        REQUIRE(captured.code == 0);
        CHECK(has(captured.out, "capture   "));
    }
    struct stat facts {};
    REQUIRE(::stat(file.c_str(), &facts) == 0);
    CHECK((facts.st_mode & 0777) == 0600);
    const std::string text = read_file(file);
    CHECK_FALSE(has(text, Rig::kPassword));
    CHECK_FALSE(has(text, "HELLO"));
    CHECK(has(text, "\"INCR\""));
    CHECK(has(text, R"("GET" "user:1 with a blank\r\n\xff")"));
    CHECK(has(text, "] \"SELECT\" \"1\""));
    CHECK(has(text, "# end: "));
    CHECK_FALSE(has(text, "# end: 0 requests"));

    // A file is never overwritten.
    const RunResult again =
        rig.exodus({"analyze", "--duration", "1s", "--capture", "work.capture"});
    CHECK(again.code == 73);
    CHECK(has(again.err + again.out, "exists already"));
    CHECK(read_file(file) == text);

    const RunResult profiled = rig.exodus({"analyze", "--json", "--from-capture", file});
    INFO(profiled.out, profiled.err);
    CHECK(profiled.code == 0);
    const auto numbers = result_of(profiled)["numbers"];
    CHECK(numbers["commands"]["INCR"]["requests"].get<uint64_t>() > 0);
    CHECK(numbers["duration_ms"].get<int64_t>() > 500);
    CHECK(numbers["duration_ms"].get<int64_t>() < 60'000);
    CHECK_FALSE(numbers["plan"].contains("source_busy"));  // nobody watched it meanwhile

    // Reads are sent to the target again; writes need a place of their own.
    const std::vector<std::string> replay{"test",        "--json",  "--drill",  "switch",
                                          "--skip-gate", "compare", "--reason", "test",
                                          "--speed",     "0",       "--replay", file};
    const RunResult replayed = rig.exodus(replay);
    INFO(replayed.out, replayed.err);
    CHECK((replayed.code == 0 || replayed.code == 2));
    const auto sent = result_of(replayed)["numbers"]["replay"];
    INFO(sent.dump());
    CHECK(sent["sent"].get<uint64_t>() > 100);
    CHECK(sent["errors"] == 0);

    write_file(file, text.substr(0, text.rfind("\"GET\"") + 9));
    const RunResult cut = rig.exodus(replay);
    INFO(cut.out, cut.err);
    CHECK(cut.code == 65);
    CHECK(has(cut.out + cut.err, "the file is damaged"));
    const RunResult cut_profile = rig.exodus({"analyze", "--from-capture", file});
    CHECK(cut_profile.code == 65);
    CHECK(has(cut_profile.out + cut_profile.err, "line "));
    write_file(file, "\xd4\xc3\xb2\xa1 and then no packets");
    const RunResult no_packets = rig.exodus({"analyze", "--from-capture", file});
    CHECK(no_packets.code == 65);
    CHECK(rig.exodus({"analyze", "--from-capture", file + ".none"}).code == 66);
    load.ledger.stop();
}
