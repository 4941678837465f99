// Which key prefix an answer counts for: pipelines over shared connections, refusals, pops on
// connections of their own.
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/sim/redis_session/world.h"

using namespace exodus;
using namespace exodus::redis;
using namespace exodus::redis::sim;
using nlohmann::json;

TEST_CASE("an answer counts for the prefix of its key, with its time, size and error") {
    World world;
    FakeServer& source = world.server(Side::source);
    const uint64_t client = world.connect();
    std::string slow;
    std::string others;
    for (int i = 0; i < 200; ++i) {
        const std::string n = std::to_string(i);
        source.data.strings[0]["text:" + n] = "no number";
        slow += command({"SET", "slow:" + n, "v"});
        others += command({"INCR", "text:" + n}) + command({"GET", "quick:" + n}) +
                  command({"RPUSH", "jobs:q", n}) + command({"BLPOP", "jobs:q", "0"});
    }
    source.paused = true;
    world.write(client, slow);
    world.settle_for(60'000);
    CHECK(world.received(client).empty());
    CHECK(ask(world, world.connect(), command({"CLIENT", "UNPAUSE"})) == "+OK\r\n");
    CHECK(ask(world, client, others).ends_with("$3\r\n199\r\n"));

    TrafficStats stats;
    world.brain->collect(stats);
    const json prefixes = json::parse(stats.observations.at(kProfileObservation)).at("prefixes");
    CHECK(prefixes.size() == 4);
    for (const char* name : {"slow:", "text:", "quick:", "jobs:"}) {
        CAPTURE(name);
        const json& row = prefixes.at(name);
        const auto requests = row.at("requests").get<uint64_t>();
        CHECK(requests > 10);
        CHECK(row.at("errors") == (std::string(name) == "text:" ? requests : 0));
        if (std::string(name) == "jobs:") {  // how long a pop waits is not the server's time
            CHECK(row.at("latency_us").at("count") > 0);
            CHECK(row.at("latency_us").at("count") < requests);
        } else {
            CHECK(row.at("latency_us").at("count") == requests);
        }
    }
    CHECK(prefixes["slow:"]["latency_us"]["p50"] >= 60'000);
    CHECK(prefixes["quick:"]["latency_us"]["max"] < 10'000);
    CHECK(prefixes["quick:"]["bytes_out"] ==
          prefixes["quick:"]["requests"].get<uint64_t>() * std::string("$-1\r\n").size());
}
