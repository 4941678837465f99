// Hazard: keys that change faster than both sides can be read look different in every answer and
// every read of the data. compare must prove them equal, and still find what really differs.
#include <atomic>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/scenario.h"

using namespace exodus;
using namespace exodus::test;

namespace {

using Words = std::vector<std::string>;

/// Sends requests through the interlay as fast as it can until the end of its life.
class Hammer {
  public:
    Hammer(const Rig& rig, std::function<std::vector<Words>(uint64_t)> requests)
        : thread_([this, &rig, requests = std::move(requests)] {
              const auto context = connect_to(rig.port(), milliseconds(20'000));
              send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
              for (uint64_t i = 0; !stop_ && context->err == 0; ++i) {
                  for (const auto& words : requests(i)) send_command(context.get(), words);
                  ++rounds_;
              }
          }) {}
    ~Hammer() {
        stop_ = true;
        thread_.join();
    }
    [[nodiscard]] uint64_t rounds() const { return rounds_; }

  private:
    std::atomic<bool> stop_{false};
    std::atomic<uint64_t> rounds_{0};
    std::thread thread_;
};

std::vector<Words> hot_writes(uint64_t i) {
    const std::string n = std::to_string(i);
    return {{"INCR", "hot:counter"},
            {"RPUSH", "hot:list", n},
            {"LTRIM", "hot:list", "-5", "-1"},
            {"HINCRBY", "hot:hash", "f", "1"},
            {"ZINCRBY", "hot:zset", "1", "m"},
            {"XADD", "hot:stream", "MAXLEN", "5", "*", "n", n},
            {"SET", "hot:ttl", n, "PX", "60000"}};
}

std::vector<Words> hot_reads(uint64_t) {
    return {{"GET", "hot:counter"},
            {"LRANGE", "hot:list", "0", "-1"},
            {"HGETALL", "hot:hash"},
            {"ZRANGE", "hot:zset", "0", "-1", "WITHSCORES"},
            {"XRANGE", "hot:stream", "-", "+"},
            {"MGET", "hot:counter", "cold:value"}};
}

}  // namespace

TEST_CASE("hot keys: nothing confirmed, nothing unresolved; then one of each kind is found") {
    RigOptions options;
    options.config = {{"compare", "budget = 0.02"},
                      {"compare", "confidence = 0.95"},
                      {"gates", "compare_samples_min = 3000"}};
    Rig rig(options);
    const auto source = own(rig.source());
    for (const Words& words :
         std::vector<Words>{{"SET", "cold:value", "v"},
                            {"RPUSH", "cold:order", "a", "b"},
                            {"SET", "cold:ttl", "v", "EX", "100000"},
                            {"XADD", "cold:pel", "1-1", "f", "v"},
                            {"XGROUP", "CREATE", "cold:pel", "g", "0"},
                            {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "cold:pel", ">"},
                            {"SET", "cold:missing", "v"},
                            {"SADD", "cold:type", "v"}}) {
        send_command(source.get(), words);
    }
    fill_server(source.get(), 2'000, 9);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    const Hammer writer(rig, hot_writes);
    const Hammer other_writer(rig, hot_writes);
    const Hammer reader(rig, hot_reads);
    REQUIRE(eventually(milliseconds(30'000),
                       [&] { return writer.rounds() > 50 && reader.rounds() > 50; }));
    rig.expect(0, {"pretest", "--ack", "tap,redis.backlog,redis.spool-room", "--reason", "test"});
    rig.expect(0, {"analyze"});

    const RunResult clean = rig.exodus({"compare", "--json"});
    INFO(clean.out, clean.err, rig.interlay_log());
    REQUIRE(clean.code == 0);
    const auto numbers = last_result(clean.out)["numbers"];
    uint64_t comparisons = 0;
    for (const auto& row : numbers["reads"]["classes"]) {
        INFO(row.dump());
        CHECK(row["confirmed"] == 0);
        CHECK(row["unresolved"] == 0);
        comparisons += row["comparisons"].get<uint64_t>();
    }
    CHECK(comparisons >= 3'000);

    // On the target behind the stream's back.
    const auto target = own(rig.target());
    for (const Words& words : std::vector<Words>{{"SET", "cold:value", "planted"},
                                                 {"RPUSH", "cold:order", "a"},
                                                 {"LPOP", "cold:order"},
                                                 {"PEXPIRE", "cold:ttl", "50000000"},
                                                 {"XACK", "cold:pel", "g", "1-1"},
                                                 {"DEL", "cold:missing"},
                                                 {"SET", "cold:extra", "v"},
                                                 {"DEL", "cold:type"},
                                                 {"SET", "cold:type", "v"},
                                                 {"INCRBY", "hot:counter", "1000000"},
                                                 {"HSET", "hot:hash", "planted", "1"}}) {
        REQUIRE(send_command(target.get(), words)->type != REDIS_REPLY_ERROR);
    }
    const RunResult found = rig.exodus({"compare", "--mode", "data", "--json"});
    INFO(found.out, found.err);
    CHECK(found.code == 2);
    const std::string rows = rig.exodus({"divergences", "list", "--ndjson"}).out;
    INFO(rows);
    for (const char* key : {"cold:value", "cold:order", "cold:ttl", "cold:pel", "cold:missing",
                            "cold:extra", "cold:type", "hot:counter", "hot:hash"}) {
        CHECK_MESSAGE(rows.find(key) != std::string::npos, key);
    }
    for (const char* key : {"hot:list", "hot:zset", "hot:stream", "hot:ttl", "user:"})
        CHECK_MESSAGE(rows.find(key) == std::string::npos, key);
}
