// WAIT through shared connections, with a real replica: a count is only ever given for what the
// client had written, and other clients' writes do not keep it from its answer.
#include <atomic>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <thread>

#include "session_rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Replicated {
    Rig rig;
    RedisServer replica;
    explicit Replicated(Engine engine)
        : rig([&] {
              RigOptions options;
              options.source = engine;
              return options;
          }()),
          replica([&] {
              ServerOptions options;
              options.engine = engine;
              options.config = {fmt::format("replicaof 127.0.0.1 {}", rig.source().port()),
                                fmt::format("masteruser {}", Rig::kOwnUser),
                                fmt::format("masterauth {}", Rig::kOwnPassword)};
              return options;
          }()) {
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
        const bool follows = eventually(milliseconds(30'000), [&] {
            return rig.source().info("slave0").find("state=online") != std::string::npos;
        });
        REQUIRE(follows);
    }
    ContextPtr client() {
        auto context = connect_to(rig.port(), milliseconds(30'000));
        send_command(context.get(), {"AUTH", Rig::kUser, Rig::kPassword});
        return context;
    }
};

std::string ask(const ContextPtr& context, const std::vector<std::string>& words) {
    return to_text(send_command(context.get(), words).get());
}

}  // namespace

TEST_CASE("WAIT counts the replicas that have this client's writes") {
    for (const Engine engine : {Engine::redis, Engine::valkey}) {
        Replicated world(engine);
        const auto client = world.client();
        CHECK(ask(client, {"WAIT", "0", "0"}) == "1");
        CHECK(ask(client, {"SET", "a", "1"}) == "OK");
        CHECK(ask(client, {"WAIT", "1", "10000"}) == "1");
        CHECK(ask(client, {"WAIT", "2", "50"}) == "1");

        world.replica.freeze(true);
        CHECK(ask(client, {"SET", "a", "2"}) == "OK");
        CHECK(ask(client, {"WAIT", "1", "100"}) == "0");
        // Replies keep their order behind it, and nobody else stands still meanwhile.
        RawClient piped(world.rig.port());
        piped.send(login() + request({"SET", "b", "1"}) + request({"WAIT", "1", "30000"}) +
                   request({"GET", "b"}));
        CHECK(piped.read(10) == "+OK\r\n+OK\r\n");
        CHECK(ask(client, {"GET", "b"}) == "1");
        world.replica.freeze(false);
        CHECK(piped.read(11) == ":1\r\n$1\r\n1\r\n");

        // A stream that never rests does not keep a client from its answer.
        std::atomic<bool> stop{false};
        std::thread writer([&] {
            const auto other = world.client();
            for (int i = 0; !stop; ++i) ask(other, {"SET", "busy", std::to_string(i)});
        });
        for (int i = 0; i < 20; ++i) {
            CHECK(ask(client, {"INCR", "n"}) == std::to_string(i + 1));
            CHECK(ask(client, {"WAIT", "1", "20000"}) == "1");
        }
        stop = true;
        writer.join();
        for (const std::vector<std::string>& wrong :
             {std::vector<std::string>{"WAIT", "x", "1"}, {"WAIT", "1", "-1"}, {"WAIT", "1"}}) {
            const auto direct = world.rig.source().connect();
            send_command(direct.get(), {"AUTH", Rig::kUser, Rig::kPassword});
            CHECK(ask(client, wrong) == to_text(send_command(direct.get(), wrong).get()));
        }
        // Inside a transaction it never blocks.
        CHECK(ask(client, {"MULTI"}) == "OK");
        CHECK(ask(client, {"WAIT", "5", "0"}) == "QUEUED");
        ask(client, {"EXEC"});
        CHECK(ask(client, {"PING"}) == "PONG");
    }
}

TEST_CASE("CLIENT UNBLOCK ends a WAIT, whichever worker has its client") {
    RigOptions options;
    options.threads = 2;
    Rig rig(options);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    const auto admin = connect_to(rig.port(), milliseconds(30'000));
    ask(admin, {"AUTH", Rig::kUser, Rig::kPassword});
    const std::string by_error = "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
    for (int i = 0; i < 8; ++i) {
        RawClient waiting(rig.port());
        waiting.send(login() + request({"CLIENT", "ID"}));
        const std::string id = waiting.read(5 + 16).substr(6, 13);
        waiting.send(request({"SET", "k", "v"}) + request({"WAIT", "1", "0"}));
        CHECK(waiting.read(5) == "+OK\r\n");
        CHECK(eventually(milliseconds(20'000), [&] {
            return ask(admin, i % 2 == 0 ? std::vector<std::string>{"CLIENT", "UNBLOCK", id}
                                         : std::vector<std::string>{"CLIENT", "UNBLOCK", id,
                                                                    "ERROR"}) == "1";
        }));
        const std::string reply = i % 2 == 0 ? ":0\r\n" : by_error;
        CHECK(waiting.read(reply.size()) == reply);
        CHECK(ask(admin, {"CLIENT", "UNBLOCK", id}) == "0");
    }
}

TEST_CASE("WAITAOF: the server's own errors, and its counts on the connection that wrote") {
    RigOptions options;
    options.source = Engine::valkey;
    options.source_config = {"appendonly yes", "appendfsync always"};
    Rig rig(options);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    const auto client = connect_to(rig.port(), milliseconds(30'000));
    ask(client, {"AUTH", Rig::kUser, Rig::kPassword});
    CHECK(ask(client, {"SET", "a", "1"}) == "OK");
    CHECK(ask(client, {"WAITAOF", "1", "0", "10000"}) == "[1, 0]");
    CHECK(ask(client, {"SET", "a", "2"}) == "OK");
    CHECK(ask(client, {"WAITAOF", "1", "0", "10000"}) == "[1, 0]");
    CHECK(ask(client, {"WAITAOF", "1", "1", "60"}) == "[1, 0]");
    rig.source().command({"CONFIG", "SET", "appendonly", "no"});
    const auto late = connect_to(rig.port(), milliseconds(30'000));
    ask(late, {"AUTH", Rig::kUser, Rig::kPassword});
    CHECK(ask(late, {"WAITAOF", "1", "0", "0"}).find("appendonly is disabled") !=
          std::string::npos);
}
