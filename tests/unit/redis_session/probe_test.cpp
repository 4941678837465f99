// The fence proof against real servers: every identity that wrote, shared or on a connection of its
// own, logged in or anonymous, must be refused for the command itself.
#include <doctest/doctest.h>

#include "families/redis/traffic.h"
#include "net/dialer.h"
#include "tests/sim/redis_session/world.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::redis;
using exodus::redis::sim::command;

namespace {

/// Clients of a simulated world, whose identities are then proven at a real server.
struct Proof {
    Proof(const exodus::test::RedisServer& server, bool sharing) : world(sharing) {
        settings.source = exodus::test::endpoint_of(Side::source, server.port());
        settings.target = exodus::test::endpoint_of(Side::target, server.port());
        settings.family_options["interlay.sharing"] = sharing ? "on" : "off";
        traffic = make_redis_traffic({settings, *dialer, journal, {}});
        world.brain.reset(static_cast<TrafficWorker*>(traffic->make_worker(world).release()));
        world.route(Side::source, false);
    }
    ~Proof() { world.brain.reset(); }
    void client(const std::string& requests) {
        world.write(world.connect(), requests);
        world.settle_for(100'000);
    }
    [[nodiscard]] bool proven() { return probe().has_value(); }
    Status probe() { return traffic->probe_fence(Side::source, milliseconds(10'000)); }

    Settings settings;
    exodus::test::MemoryJournal journal;
    std::unique_ptr<Dialer> dialer = make_dialer();
    std::unique_ptr<TrafficShared> traffic;
    sim::World world;
};

}  // namespace

TEST_CASE("the fence is proven for every identity that wrote, and for the command, not the key") {
    for (const auto engine : {exodus::test::Engine::redis, exodus::test::Engine::valkey}) {
        for (const bool sharing : {true, false}) {
            CAPTURE(sharing);
            exodus::test::RedisServer server({engine, {}, {}});
            const auto rules = [&](const std::string& user, const std::string& rule) {
                REQUIRE(server.text({"ACL", "SETUSER", user, rule}) == "OK");
            };
            for (const char* rule : {"on", ">secret", "~a:*", "+@all"}) rules("ann", rule);
            Proof proof(server, sharing);
            CHECK(proof.proven());  // nobody wrote
            proof.client(command({"AUTH", "ann", "secret"}) + command({"INCR", "a:1"}));
            CHECK_FALSE(proof.proven());
            rules("ann", "-@write");
            CHECK(proof.proven());
            proof.client(command({"MULTI"}) + command({"INCR", "n"}) + command({"EXEC"}));
            CHECK_FALSE(proof.proven());
            rules("default", "-@write");
            CHECK(proof.proven());
            // A key that the user may not touch is refused with and without a fence.
            Proof foreign(server, sharing);
            foreign.client(command({"AUTH", "ann", "secret"}) + command({"INCR", "foreign"}));
            CHECK(foreign.proven());
            rules("ann", "+@write");
            CHECK_FALSE(foreign.proven());
            rules("ann", "off");
            CHECK(foreign.proven());  // not even let in
        }
    }
}

TEST_CASE("who may not SELECT is proven in the database where its login begins") {
    exodus::test::RedisServer server;
    REQUIRE(server.text({"ACL", "SETUSER", "ann", "on", ">secret", "~a:*", "+@all", "-select"}) ==
            "OK");
    Proof proof(server, true);
    proof.client(command({"SELECT", "3"}) + command({"AUTH", "ann", "secret"}) +
                 command({"INCR", "a:1"}));
    const Status open = proof.probe();
    REQUIRE_FALSE(open.has_value());
    CHECK(open.error().message.find("user ann can still write") != std::string::npos);
    REQUIRE(server.text({"ACL", "SETUSER", "ann", "-@write"}) == "OK");
    CHECK(proof.proven());
}
