// Commands that the built-in table does not know: those of a module get their flags and keys from
// the server, those that nobody knows are leased, never compared, and named in the findings.
#include <doctest/doctest.h>

#include "session_rig.h"

using namespace exodus;
using namespace exodus::test;

TEST_CASE("commands of a module are known by what the server says about them") {
    for (const Engine engine : {Engine::redis, Engine::valkey}) {
        RigOptions options;
        options.source = engine;
        options.source_config = {std::string("loadmodule ") + EXODUS_TEST_MODULE};
        Rig rig(options);
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        const auto client = connect_to(rig.port(), milliseconds(30'000));
        const auto ask = [&](const std::vector<std::string>& words) {
            return to_text(send_command(client.get(), words).get());
        };
        REQUIRE(ask({"AUTH", Rig::kUser, Rig::kPassword}) == "OK");
        REQUIRE(eventually(milliseconds(20'000), [&] {
            CHECK(ask({"ODD.SET", "k", "v"}) == "OK");
            CHECK(ask({"odd.get", "k"}) == "v");
            return traffic_of(rig).at("commands").contains("ODD.GET");
        }));
        ask({"ODD.SET", "k", "w"});
        CHECK(ask({"NOSUCH.COMMAND", "k"}).find("unknown command") != std::string::npos);
        const auto stats = traffic_of(rig);
        CHECK(stats.at("commands").at("ODD.SET").value("is_write", false));
        CHECK_FALSE(stats.at("commands").at("ODD.GET").value("is_write", true));
        CHECK(stats.at("counters").value("unknown_command.NOSUCH.COMMAND", 0) == 1);
    }
}
