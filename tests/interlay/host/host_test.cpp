// The whole interlay on sockets with the line family: routes, holds, backpressure, floods, drain,
// takeover, a broken state file, refused dials, TLS on both legs.
#include <algorithm>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "../../unit/net/certificates.h"
#include "base/limits.h"
#include "fixture.h"
#include "net/control_client.h"
#include "net/control_server.h"
#include "net/dialer.h"

using namespace exodus;
using namespace exodus::test;
using nlohmann::json;

namespace {
constexpr milliseconds kPatience{10'000};
}

TEST_CASE("a line goes to the route's side and comes back; a thousand clients at once") {
    World world;
    world.start();
    std::vector<std::unique_ptr<LineClient>> clients;
    for (int i = 0; i < 1000; ++i) {
        clients.push_back(std::make_unique<LineClient>(world.address()));
        clients.back()->send("hello " + std::to_string(i) + "\n");
    }
    for (int i = 0; i < 1000; ++i)
        CHECK(clients[static_cast<std::size_t>(i)]->line() == "s:hello " + std::to_string(i));
    CHECK(world.interlay->clients() == 1000);
    std::string pipeline;
    for (int i = 0; i < 10'000; ++i) pipeline += std::to_string(i) + "\n";
    clients[0]->send(pipeline);
    bool ordered = true;
    for (int i = 0; i < 10'000; ++i)
        ordered = ordered && clients[0]->line() == "s:" + std::to_string(i);
    CHECK(ordered);
    clients.clear();
    CHECK(eventually(kPatience, [&] { return world.interlay->clients() == 0; }));
    CHECK(eventually(kPatience,
                     [&] { return world.interlay->traffic()->counters["net_connections"] == 0; }));
    auto client = LineClient(world.address());
    CHECK(client.ask("timer") == "s:timer");
    CHECK(eventually(kPatience, [&] { return world.traffic.timers == 1; }));
}

TEST_CASE("a route reaches all loops, a hold is reported by them, and epochs never go back") {
    World world(3);
    world.start();
    auto handlers = world.interlay->handlers();
    LineClient client(world.address());
    CHECK(client.ask("w1") == "s:w1");
    world.source_server.silent = true;
    client.send("w2\n");
    CHECK(
        eventually(kPatience, [&] { return world.interlay->quiescence()->writes_in_flight == 1; }));
    world.state.change([](MigrationRow& row) {
        row.route.epoch = 6;
        row.route.hold = true;
    });
    auto answer = handlers[control_op::kLookNow]({});
    REQUIRE_MESSAGE(answer.has_value(), answer.error().message);
    CHECK((*answer)["epoch"] == 6);
    auto now = handlers[control_op::kQuiescence]({});
    CHECK((*now)["epoch"] == 6);
    CHECK((*now)["writes_in_flight"] == 1);
    CHECK((*now)["blocker"] == "w");
    client.send("w3\n");
    CHECK(eventually(kPatience, [&] { return world.interlay->quiescence()->held == 1; }));
    // The registration says the same, without being asked.
    CHECK(eventually(kPatience, [&] {
        const auto workers = *world.state.list();
        return workers.size() == 1 && workers[0].epoch == 6 && workers[0].held == 1;
    }));
    world.source_server.silent = false;
    CHECK(client.line() == "s:w2");
    CHECK(eventually(kPatience, [&] {
        const auto workers = *world.state.list();
        return workers[0].writes_in_flight == 0;
    }));
    // Without look-now: the poll near a cutover finds it.
    world.state.change([](MigrationRow& row) {
        row.route.epoch = 7;
        row.route.hold = false;
        row.route.writes = Side::target;
    });
    CHECK(client.line() == "s:w3");
    LineClient later(world.address());
    CHECK(later.ask("x") == "t:x");
    // An older epoch in the file changes nothing.
    world.state.change([](MigrationRow& row) {
        row.route.epoch = 3;
        row.route.writes = Side::source;
    });
    CHECK(handlers[control_op::kLookNow]({}).has_value());
    LineClient last(world.address());
    CHECK(last.ask("x") == "t:x");
    CHECK(world.interlay->quiescence()->epoch == 7);
    CHECK_FALSE(world.traffic.backwards);
}

TEST_CASE(
    "no client before the first state; a file that breaks later changes nothing; it recovers") {
    World world;
    world.state.broken = true;
    CHECK_FALSE(world.make().has_value());
    CHECK(world.state.list()->empty());
    world.state.broken = false;
    world.start();
    LineClient client(world.address());
    CHECK(client.ask("a") == "s:a");
    world.state.set_broken(true);
    auto handlers = world.interlay->handlers();
    CHECK_FALSE(handlers[control_op::kLookNow]({}).has_value());
    CHECK(client.ask("b") == "s:b");
    world.state.set_broken(false);
    world.state.change([](MigrationRow& row) { row.route.epoch = 6; });
    CHECK(eventually(kPatience, [&] { return world.interlay->quiescence()->epoch == 6; }));
}

TEST_CASE("a client that does not read costs bounded memory and gets everything in the end") {
    World world(1);
    world.start();
    LineClient slow(world.address());
    slow.send("flood\n");
    LineClient quick(world.address());
    CHECK(
        eventually(kPatience, [&] { return world.traffic.unsent_max > limits::kHighWater_bytes; }));
    for (int i = 0; i < 200; ++i) CHECK(quick.ask("q") == "s:q");
    CHECK(world.traffic.unsent_max < limits::kHighWater_bytes + 40 * limits::kReadChunk_bytes);
    CHECK(world.interlay->traffic()->counters["net_buffered_bytes"] < 16 << 20);
    CHECK(slow.line(milliseconds(60'000)).size() == 64 << 20);
    CHECK(slow.ask("after") == "s:after");
    // One that goes away instead.
    {
        LineClient gone(world.address());
        gone.send("flood\n");
        CHECK(gone.ask("x").substr(0, 1) == "f");
        gone.send("flood\n");
    }
    CHECK(eventually(kPatience, [&] { return world.interlay->clients() == 2; }));
}

TEST_CASE("a side that refuses or is silent: the client hears of it, others go on") {
    World world(1);
    world.source.port = static_cast<uint16_t>(free_port());
    world.start();
    LineClient client(world.address());
    CHECK(client.ask("x") == "!backend lost");
    CHECK(client.line() == "<closed>");
    CHECK(world.traffic.dial_failures == 1);
    CHECK(world.interlay->traffic()->counters["net_dials_failed"] == 1);
    World unknown(1);
    unknown.source.host = "no-such-host.invalid";
    unknown.start();
    LineClient other(unknown.address());
    CHECK(other.ask("x") == "!backend lost");
    World named(1);
    named.source.host = "localhost";
    named.start();
    LineClient third(named.address());
    CHECK(third.ask("x") == "s:x");
}

TEST_CASE(
    "drain: idle clients end at once, busy ones at their boundary, the rest at the time-out") {
    World world;
    world.settings.drain_timeout_ms = 20'000;
    world.start();
    LineClient idle(world.address());
    CHECK(idle.ask("x") == "s:x");
    LineClient busy(world.address());
    CHECK(busy.ask("x") == "s:x");
    world.source_server.silent = true;
    busy.send("w\n");
    CHECK(
        eventually(kPatience, [&] { return world.interlay->quiescence()->writes_in_flight == 1; }));
    world.interlay->request_drain();
    CHECK(idle.line() == "<closed>");
    CHECK_FALSE(world.interlay->wait_for(milliseconds(50)));
    CHECK_FALSE(LineClient(world.address()).connected());
    world.source_server.silent = false;
    CHECK(busy.line() == "s:w");
    CHECK(busy.line() == "<closed>");
    CHECK(world.interlay->wait_for(kPatience));
    CHECK(world.state.list()->empty());

    World stuck;
    stuck.settings.drain_timeout_ms = 50;
    stuck.start();
    LineClient client(stuck.address());
    CHECK(client.ask("x") == "s:x");
    client.send("half a line");
    CHECK(eventually(kPatience, [&] { return stuck.interlay->clients() == 1; }));
    client.send(" and more\nhalf");
    CHECK(client.line() == "s:half a line and more");
    stuck.interlay->request_drain();
    CHECK(stuck.interlay->wait_for(kPatience));
    CHECK(client.line() == "<closed>");
}

TEST_CASE(
    "takeover: the sockets move, no connection is refused, the old one drains; refused in a hold") {
    TempDir directory;
    World world;
    world.settings.listen = {"127.0.0.1:0", "unix:" + directory.file("l.sock")};
    world.start();
    ControlServer::Options options;
    options.path = directory.file("c.sock");
    options.handlers = world.interlay->handlers();
    options.listeners = [&] { return world.interlay->listeners(); };
    auto server = ControlServer::start(std::move(options));
    REQUIRE(server.has_value());
    const std::string path = (*server)->path();

    world.state.change([](MigrationRow& row) {
        row.route.epoch = 6;
        row.route.hold = true;
    });
    auto refused = take_listeners(path, kPatience);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == ErrorCode::not_allowed);
    world.state.change([](MigrationRow& row) {
        row.route.epoch = 7;
        row.route.hold = false;
    });

    LineClient alive(world.interlay->addresses()[0]);
    LineClient local(world.interlay->addresses()[1]);
    CHECK(alive.ask("x") == "s:x");
    CHECK(local.ask("x") == "s:x");
    std::atomic<bool> stop{false};
    std::atomic<int> served{0};
    std::atomic<int> not_served{0};
    const std::string address = world.address();
    std::thread churn([&] {
        while (!stop) {
            LineClient client(address);
            if (!client.connected()) {
                ++not_served;
                continue;
            }
            // A drain may close a client that has just come; it may not refuse it.
            if (client.ask("c") == "s:c") ++served;
        }
    });
    CHECK(eventually(kPatience, [&] { return served > 20; }));
    auto sockets = take_listeners(path, kPatience);
    REQUIRE_MESSAGE(sockets.has_value(), sockets.error().message);
    auto heir = world.make(std::move(*sockets));
    REQUIRE_MESSAGE(heir.has_value(), heir.error().message);
    CHECK(alive.ask("still") == "s:still");
    auto drained = make_control_client(path)->call({{"op", "drain"}}, kPatience);
    REQUIRE(drained.has_value());
    CHECK(world.interlay->wait_for(kPatience));
    const int before = served;
    CHECK(eventually(kPatience, [&] { return served > before + 20; }));
    stop = true;
    churn.join();
    CHECK(not_served == 0);
    CHECK(LineClient((*heir)->addresses()[1]).ask("u") == "s:u");
    CHECK(alive.line() == "<closed>");
    server->reset();
}

TEST_CASE("TLS on both legs, mTLS at the listener, reload") {
    // The echo side speaks TLS through a second interlay.
    World inner(1);
    inner.settings.tls = certificates().server("good");
    inner.start();
    World outer(1);
    outer.settings.tls = certificates().server("good", "ca");
    outer.settings.require_client_cert = true;
    const auto inner_address = *parse_listen_address(inner.address());
    outer.source.host = inner_address.host;
    outer.source.port = inner_address.port;
    outer.source.tls = certificates().client();
    outer.start();
    const auto dialer = make_dialer();
    Endpoint endpoint;
    const auto parsed = *parse_listen_address(outer.address());
    endpoint.host = parsed.host;
    endpoint.port = parsed.port;
    endpoint.tls = certificates().client("client");
    auto stream = dialer->dial(endpoint, kPatience);
    REQUIRE_MESSAGE(stream.has_value(), stream.error().message);
    const std::string large = std::string(3'000'000, 'x') + "\n";
    REQUIRE((*stream)->write(large, Deadline::in(kPatience)));
    std::string reply;
    std::vector<char> buffer(65536);
    while (reply.size() < large.size() + 2) {
        auto count = (*stream)->read(buffer, Deadline::in(kPatience));
        REQUIRE_MESSAGE(count.has_value(), count.error().message);
        reply.append(buffer.data(), *count);
    }
    CHECK(reply == "s:" + large);
    CHECK(outer.traffic.last_subject == "CN=app");
    // A plain client and one without certificate are turned away; the count goes back.
    LineClient plain(outer.address());
    plain.send("hello\n");
    while (plain.line() != "<closed>") {
    }
    CHECK(eventually(kPatience, [&] { return outer.interlay->clients() == 1; }));
    CHECK(outer.interlay->traffic()->counters["net_tls_failures"] == 1);
    CHECK(outer.interlay->handlers()[control_op::kKnob]({{"name", "reload"}}).has_value());
    // A backend whose certificate is not accepted is a refused dial.
    World wary(1);
    wary.source = outer.source;
    wary.source.tls.server_name = "other.example";
    wary.start();
    LineClient client(wary.address());
    CHECK(client.ask("x") == "!backend lost");
}

TEST_CASE("differences are written together, and again when the file was busy") {
    World world;
    {
        const std::lock_guard lock(world.state.mutex);
        world.state.log_busy = true;
    }
    world.start();
    LineClient client(world.address());
    for (int i = 0; i < 20; ++i) client.ask("differ");
    const auto calls = [&] {
        const std::lock_guard lock(world.state.mutex);
        return world.state.log_calls;
    };
    CHECK(eventually(kPatience, [&] { return calls() >= 2; }));
    CHECK(world.state.samples(100)->empty());
    int tries = 0;
    {
        const std::lock_guard lock(world.state.mutex);
        world.state.log_busy = false;
        tries = world.state.log_calls;
    }
    CHECK(eventually(kPatience, [&] { return world.state.samples(100)->size() == 20; }));
    CHECK(calls() - tries < 5);
    const int before = calls();
    for (int i = 0; i < 20; ++i) client.ask("differ");
    CHECK(eventually(kPatience, [&] { return world.state.samples(100)->size() == 40; }));
    CHECK(calls() - before < 20);
}

TEST_CASE("control handlers: hello, traffic, knobs, probe, ready; the comparator's verdicts") {
    World world;
    world.start();
    auto handlers = world.interlay->handlers();
    auto hello = handlers[control_op::kHello]({});
    CHECK((*hello)["pid"] == ::getpid());
    CHECK((*hello)["epoch"] == 5);
    CHECK((*hello)["listen"][0] == world.address());
    CHECK(handlers[control_op::kKnob]({{"name", "known"}, {"value", 1}}).has_value());
    CHECK_FALSE(handlers[control_op::kKnob]({{"name", "unheard-of"}, {"value", 1}}).has_value());
    CHECK(handlers[control_op::kReady]({{"side", "source"}}).has_value());
    CHECK(handlers[control_op::kReady]({{"side", "target"}}).error().message ==
          "no login on target");
    CHECK(handlers[control_op::kProbe]({{"side", "source"}}).has_value());
    CHECK_FALSE(handlers[control_op::kProbe]({{"side", "both"}}).has_value());
    LineClient client(world.address());
    for (const char* text : {"differ", "differ timing", "differ case", "differ aa"})
        client.ask(text);
    CHECK(eventually(kPatience, [&] { return world.state.samples(10)->size() == 3; }));
    // In the order in which they were settled, which is not the order of the requests.
    const auto logged = *world.state.samples(10);
    const auto count = [&](bool aa, std::string_view outcome) {
        return std::count_if(logged.begin(), logged.end(), [&](const auto& sample) {
            return sample.aa == aa && sample.outcome == outcome;
        });
    };
    CHECK(count(false, "confirmed") == 1);
    CHECK(count(false, "timing_inflight") == 1);
    CHECK(count(true, "confirmed") == 1);
    auto traffic = TrafficStats::from_json(*handlers[control_op::kTraffic]({}));
    CHECK(traffic.clients_now == 1);
    CHECK(traffic.counters["comparator_confirmed"] == 1);
    CHECK(traffic.counters["comparator_equal"] == 1);
    CHECK(traffic.commands["DIFFER"].equal_by_rule == 1);
    CHECK(traffic.counters["comparator_noise"] == 1);
}
