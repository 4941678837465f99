// The traffic profile, its sums, the hot-key counter and the tap session.
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "families/redis/server_load.h"
#include "families/redis/space_saving.h"
#include "families/redis/tap_session.h"
#include "families/redis/traffic_profile.h"
#include "wire/resp/codec.h"

using namespace exodus;
using namespace exodus::redis;
using nlohmann::json;

namespace {

std::string command(std::initializer_list<std::string_view> words) {
    std::string bytes;
    resp::append_command(bytes, words);
    return bytes;
}

uint16_t observe(TrafficProfile& profile, std::initializer_list<std::string_view> words,
                 int database = 0) {
    const std::string bytes = command(words);
    resp::RequestScanner scanner;
    scanner.feed(bytes);
    REQUIRE(scanner.next() == resp::RequestEvent::frame);
    return profile.on_request(resp::classify(scanner.frame().indexed_args()), scanner.frame(),
                              database);
}

/// Asked and answered.
void exchange(TrafficProfile& profile, std::initializer_list<std::string_view> words,
              uint64_t latency_us, bool error = false) {
    const uint16_t prefix = observe(profile, words);
    if (prefix == 0) return;
    profile.on_answer(prefix, *resp::find_command(words.begin()[0]), latency_us, error ? '-' : '$',
                      7);
}

}  // namespace

TEST_CASE("space saving finds the frequent items of a skewed stream") {
    SpaceSaving counter(50);
    for (int i = 0; i < 100'000; ++i) {
        counter.add("rare" + std::to_string(i));
        if (i % 10 == 0) counter.add("hot");
        if (i % 20 == 0) counter.add("warm");
    }
    CHECK(counter.size() == 50);
    const auto top = counter.top(2);
    CHECK(top[0].text == "hot");
    CHECK(top[0].count >= 10'000);
    CHECK(top[0].count - top[0].error <= 10'000);
    CHECK(top[1].text == "warm");
}

TEST_CASE("a profile counts features exactly and keys by sample") {
    TrafficProfile profile;
    for (int i = 0; i < 8'000; ++i) {
        observe(profile, {"GET", "user:" + std::to_string(i)});
        observe(profile, {"SET", "session:hot", "0123456789", "EX", "60"});
    }
    observe(profile, {"MULTI"});
    observe(profile, {"WATCH", "k"});
    observe(profile, {"EVAL", "return 1", "0"});
    observe(profile, {"BLPOP", "q", "0"});
    observe(profile, {"XREAD", "STREAMS", "s", "0"});
    observe(profile, {"SUBSCRIBE", "c"});
    observe(profile, {"SELECT", "3"});
    observe(profile, {"SCAN", "0"});
    observe(profile, {"WAIT", "1", "0"});
    observe(profile, {"MYMODULE.DO\n", "secret"});
    observe(profile, {"AUTH", "hunter2"});
    observe(profile, {"HELLO", "3", "AUTH", "app", "hunter2"});
    observe(profile, {"PERSIST", "k"}, 3);
    for (int i = 0; i < 100; ++i) observe(profile, {"MSET", "a", "1", "b", "2"});
    CHECK(profile.count(TrafficProfile::kBlocking) == 1);
    CHECK(profile.count(TrafficProfile::kTtlSet) == 8'000);
    CHECK(profile.count(TrafficProfile::kHello3) == 1);
    const std::string text = profile.to_json();
    CHECK(text.find("hunter2") == std::string::npos);
    CHECK(text.find("secret") == std::string::npos);
    const json out = json::parse(text);
    for (const char* name : {"transactions", "watches", "scripts", "scripts_without_keys",
                             "blocking", "subscriptions", "selects", "scans", "waits",
                             "unknown_commands", "auth", "ttl_removed", "requests_outside_db0"}) {
        CHECK_MESSAGE(out["features"][name] == 1, name);
    }
    CHECK(out["unknown"] == json{{"MYMODULE.DO\\x0a", 1}});
    CHECK(out["requests"] == 16'113);
    const double sampled = out["sampled"].get<double>();
    CHECK(sampled > 16'000.0 / 8 * 0.9);
    CHECK(sampled < 16'000.0 / 8 * 1.1 + 20);
    CHECK(out["hot_keys"][0]["key"] == "session:hot");
    CHECK(out["hot_keys"][0]["share"].get<double>() > 0.4);
    CHECK(out["prefixes"].contains("user:"));
    CHECK(out["prefixes"]["session:"]["writes"].get<uint64_t>() > 800);
    CHECK(out["cross_slot"].contains("MSET"));
    CHECK(out["ttl_s"]["max"] == 60);
    CHECK(out["value_bytes"]["p50"] == 10);
}

TEST_CASE("profiles add up") {
    TrafficProfile left(1), right(2);
    for (int i = 0; i < 4'000; ++i) {
        observe(left, {"GET", "hot"});
        observe(right, {"GET", "hot"}, 2);
        observe(right, {"GET", "hot"});
    }
    observe(right, {"MULTI"});
    const json sum = json::parse(TrafficProfile::merge(left.to_json(), right.to_json()));
    const json a = json::parse(left.to_json());
    const json b = json::parse(right.to_json());
    CHECK(sum["requests"] == 12'001);
    CHECK(sum["features"]["transactions"] == 1);
    CHECK(sum["sampled"] == a["sampled"].get<uint64_t>() + b["sampled"].get<uint64_t>());
    CHECK(sum["key_bytes"]["count"] == sum["sampled"]);
    CHECK(sum["hot_keys"].size() == 2);
    CHECK(sum["hot_keys"][0]["db"] == 0);
    // Nothing that comes in can break it.
    CHECK(json::parse(TrafficProfile::merge(left.to_json(), "")) ==
          json::parse(TrafficProfile::merge("", left.to_json())));
    for (const char* bad : {"[]", "{\"features\":3}", "{\"hot_keys\":[1]}",
                            "{\"key_bytes\":{\"buckets\":[[1]]}}", "nonsense"}) {
        CHECK(json::parse(TrafficProfile::merge(left.to_json(), bad))["requests"] == 4'000);
    }
    TrafficStats stats;
    left.add_to(stats);
    right.add_to(stats);
    CHECK(json::parse(stats.observations[kProfileObservation])["requests"] == 12'001);
}

TEST_CASE("each prefix tells the errors and the times of its answers; these add up") {
    TrafficProfile left(1), right(2);
    for (uint64_t i = 0; i < 8'000; ++i) {
        exchange(left, {"GET", "user:1"}, i % 50 == 0 ? 90'000 : 200);
        exchange(left, {"SET", "lock:1", "x"}, 300, true);
        exchange(left, {"BLPOP", "queue:1", "0"}, 5'000'000);
        exchange(right, {"GET", "user:2"}, 1'000);
        observe(right, {"GET", "silent:1"});
    }
    const json a = json::parse(left.to_json())["prefixes"];
    const json b = json::parse(right.to_json())["prefixes"];
    const json& user = a["user:"]["latency_us"];
    CHECK(a["user:"]["errors"] == 0);
    CHECK(a["user:"]["bytes_out"] == 7 * a["user:"]["requests"].get<uint64_t>());
    CHECK(user["count"] == a["user:"]["requests"]);
    CHECK(user["count"] > 800);
    CHECK(user["p50"].get<double>() == doctest::Approx(200).epsilon(0.07));
    CHECK(user["p95"] == user["p50"]);
    CHECK(user["p99"].get<double>() == doctest::Approx(90'000).epsilon(0.07));
    CHECK(user["max"] == 90'000);
    CHECK(a["lock:"]["errors"] == a["lock:"]["requests"]);
    // What a blocking command waits says nothing of the server.
    CHECK(a["queue:"]["requests"] > 0);
    CHECK(a["queue:"]["latency_us"]["count"] == 0);
    CHECK(b["silent:"]["latency_us"]["count"] == 0);

    const json sum = json::parse(TrafficProfile::merge(left.to_json(), right.to_json()));
    const json& both = sum["prefixes"]["user:"];
    for (const char* name : {"requests", "bytes", "bytes_out"}) {
        CHECK(both[name] == a["user:"][name].get<uint64_t>() + b["user:"][name].get<uint64_t>());
    }
    CHECK(both["latency_us"]["count"] == both["requests"]);
    CHECK(both["latency_us"]["p95"].get<double>() == doctest::Approx(1'000).epsilon(0.07));
    CHECK(both["latency_us"]["max"] == 90'000);
    CHECK(sum["prefixes"]["lock:"] == a["lock:"]);
    // An interlay of an older version tells less.
    const json old = json::parse(TrafficProfile::merge(
        left.to_json(), R"({"prefixes":{"user:":{"requests":5,"writes":0,"bytes":50}}})"));
    CHECK(old["prefixes"]["user:"]["requests"] == a["user:"]["requests"].get<uint64_t>() + 5);
    CHECK(old["prefixes"]["user:"]["latency_us"] == a["user:"]["latency_us"]);
}

TEST_CASE("a profile begins anew, with requests on their way") {
    TrafficProfile profile;
    uint16_t on_its_way = 0;
    while (on_its_way == 0) on_its_way = observe(profile, {"GET", "a:1"});
    for (int i = 0; i < 500; ++i) exchange(profile, {"GET", "b:1"}, 10);
    profile.on_aborted();
    CHECK(profile.count(TrafficProfile::kAborted) == 1);
    CHECK(json::parse(profile.to_json()).at("value_bytes").at("count") > 20);  // of replies
    profile.begin_anew();
    profile.on_answer(on_its_way, *resp::find_command("GET"), 10, '$', 9);
    const json empty = json::parse(profile.to_json());
    CHECK(empty.at("requests") == 0);
    CHECK(empty.at("prefixes").empty());
    CHECK(empty.at("hot_keys").empty());
    CHECK(empty.at("features").at("transactions_aborted") == 0);
    for (int i = 0; i < 500; ++i) exchange(profile, {"GET", "b:1"}, 10);
    const json again = json::parse(profile.to_json());
    CHECK(again.at("requests") == 500);
    CHECK(again.at("prefixes").size() == 1);
    CHECK(again.at("prefixes").at("b:").at("latency_us").at("count") ==
          again.at("prefixes").at("b:").at("requests"));
    // Nothing was read of a key that is not there.
    const json before = again.at("value_bytes").at("count");
    profile.on_answer(on_its_way, *resp::find_command("GET"), 10, '$', 5);
    CHECK(json::parse(profile.to_json()).at("value_bytes").at("count") == before);
}

TEST_CASE("of many workers' prefixes the most frequent keep their names") {
    const auto named = [](const std::string& word) {
        TrafficProfile profile;
        for (int i = 0; i < 40'000; ++i)
            exchange(profile, {"GET", word + std::to_string(i % 400) + ":x"}, 100);
        for (int i = 0; i < 8'000; ++i) exchange(profile, {"GET", "zzz:x"}, 100);
        return profile.to_json();
    };
    const std::string left = named("a");
    const json sum = json::parse(TrafficProfile::merge(left, named("b")))["prefixes"];
    CHECK(sum.size() == 501);
    CHECK(sum.contains("zzz:"));
    uint64_t requests = 0;
    for (const auto& [name, row] : sum.items()) {
        requests += row["requests"].get<uint64_t>();
        CHECK(row["latency_us"]["count"] == row["requests"]);
    }
    CHECK(sum["(other)"]["requests"] > 0);
    CHECK(requests == 2 * json::parse(left)["sampled"].get<uint64_t>());
}

TEST_CASE("names and prefixes are bounded") {
    TrafficProfile profile;
    for (int i = 0; i < 20'000; ++i) {
        observe(profile, {"X" + std::to_string(i)});
        exchange(profile, {"GET", "p" + std::to_string(i) + ":x"}, 100);
    }
    const json out = json::parse(profile.to_json());
    CHECK(out["unknown"].size() == 101);
    CHECK(out["prefixes"].size() == 501);
    CHECK(out["prefixes"]["(other)"]["latency_us"]["count"] ==
          out["prefixes"]["(other)"]["requests"]);
    CHECK(out["hot_keys"].size() <= 100);
}

TEST_CASE("a tap pairs requests with replies") {
    const auto tap = make_redis_tap_session();
    const std::string pipeline =
        command({"SET", "k", "v"}) + command({"GET", "k"}) + command({"INCR", "k"});
    tap->on_client_bytes(std::string_view(pipeline).substr(0, 40), 1'000);
    tap->on_client_bytes(std::string_view(pipeline).substr(40), 1'010);
    tap->on_server_bytes("+OK\r\n$1\r\nv\r", 1'100);
    tap->on_server_bytes("\n-ERR value is not an integer or out of range\r\n", 1'200);
    TrafficStats stats;
    tap->collect(stats);
    CHECK(stats.commands["SET"].requests == 1);
    CHECK(stats.commands["SET"].is_write);
    CHECK(stats.commands["SET"].latency_us.max() == 100);
    CHECK(stats.commands["GET"].latency_us.max() == 190);
    CHECK(stats.commands["GET"].bytes_out == 7);
    CHECK(stats.commands["INCR"].errors == 1);
    CHECK(stats.bytes_from_clients == pipeline.size());
    CHECK(stats.clients_total == 1);
    CHECK(stats.observations.contains(kProfileObservation));
    // Of the rest a sample tells how its prefix was answered.
    for (int i = 0; i < 200; ++i) {
        tap->on_client_bytes(command({"INCR", "bad:" + std::to_string(i)}) +
                                 command({"GET", "good:" + std::to_string(i)}),
                             10'000);
        tap->on_server_bytes("-ERR x\r\n", 10'500);
        tap->on_server_bytes("$1\r\nv\r\n", 10'800);
    }
    tap->collect(stats);
    const json prefixes = json::parse(stats.observations[kProfileObservation])["prefixes"];
    CHECK(prefixes["bad:"]["errors"] == prefixes["bad:"]["requests"]);
    CHECK(prefixes["bad:"]["latency_us"]["max"] == 500);
    CHECK(prefixes["good:"]["errors"] == 0);
    CHECK(prefixes["good:"]["latency_us"]["max"] == 800);
    CHECK(prefixes["good:"]["latency_us"]["count"] == prefixes["good:"]["requests"]);
    CHECK(prefixes["good:"]["bytes_out"] == 7 * prefixes["good:"]["requests"].get<uint64_t>());
}

TEST_CASE("a tap finds its way back after a gap") {
    const auto tap = make_redis_tap_session();
    tap->on_gap();
    tap->on_server_bytes("lf of a value\r\n", 1);
    tap->on_client_bytes("rest of a value\r\n" + command({"GET", "lost"}), 2);
    tap->on_client_bytes(command({"GET", "k"}), 3);
    tap->on_server_bytes("$-1\r\n", 13);
    tap->on_client_bytes(command({"AUTH", "hunter2"}), 20);
    tap->on_server_bytes("+OK\r\n", 21);
    tap->on_server_bytes("garbage", 22);
    tap->on_client_bytes(command({"PING"}), 23);
    tap->on_server_bytes("+PONG\r\n", 24);
    TrafficStats stats;
    tap->collect(stats);
    CHECK(stats.commands["GET"].requests == 1);
    CHECK(stats.commands["GET"].latency_us.max() == 10);
    CHECK(stats.commands["PING"].latency_us.count() == 1);
    CHECK(stats.counters["redis.tap.gaps"] == 1);
    CHECK(stats.to_json().dump().find("hunter2") == std::string::npos);
}

TEST_CASE("a tap of a subscriber counts and does not pair") {
    const auto tap = make_redis_tap_session();
    tap->on_client_bytes(command({"SUBSCRIBE", "a", "b"}), 1);
    tap->on_server_bytes("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n", 2);
    tap->on_client_bytes(command({"PING"}), 3);
    TrafficStats stats;
    tap->collect(stats);
    CHECK(stats.commands["SUBSCRIBE"].requests == 1);
    CHECK(stats.commands["PING"].requests == 1);
    CHECK(stats.protocol_errors.empty());
}

TEST_CASE("writes that the server ran beside the interlay are those that it did not see") {
    ServerLoad before;
    before.commands = {{"set", {100, 500}}, {"xgroup|create", {5, 10}}, {"del", {90, 90}}};
    ServerLoad after;
    after.commands = {{"set", {1'620, 3'500}},
                      {"get", {9'000, 900}},
                      {"xgroup|create", {30, 40}},
                      {"hset", {4, 4}},
                      {"del", {20, 20}}};
    const ServerLoad during = load_between(before, after);
    CHECK(during.commands.at("set").calls == 1'520);
    CHECK(during.commands.at("set").busy_us == 3'000);
    // The counters were reset in between.
    CHECK(during.commands.at("del").calls == 20);
    const std::set<std::string> writes{"set", "xgroup|create", "hset", "del"};
    TrafficStats stats;
    stats.commands["SET"].requests = 1'000;
    stats.commands["XGROUP CREATE"].requests = 25;
    stats.commands["DEL"].requests = 20;
    auto found = judge_beside(during, writes, stats);
    REQUIRE(found.size() == 1);
    CHECK(found[0].severity == Severity::warn);
    CHECK(found[0].text.find("ran 520 writes") != std::string::npos);
    CHECK(found[0].text.ends_with(": 520 set"));  // reads, and a few, are no finding
    stats.commands["SET"].requests = 1'515;
    CHECK(judge_beside(during, writes, stats).empty());
    // An interlay that began anew has not counted all that came through.
    stats.commands["SET"].requests = 1'000;
    TrafficStats began_anew = stats;
    began_anew.counters[kInterlayRestarts] = 1;
    CHECK(judge_beside(during, writes, began_anew).empty());
    // What a script writes is counted like what a client writes.
    after.commands["evalsha"] = {1, 10};
    CHECK(judge_beside(load_between(before, after), writes, stats).empty());
}
