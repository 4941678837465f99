// Edges of a session that client libraries do not show: what a client sees before it logged in and
// after it ended its input must be what the server alone shows, byte for byte.
#include <doctest/doctest.h>

#include "session_rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

struct Both {
    Rig rig;
    explicit Both(RigOptions options = {}) : rig(std::move(options)) {
        rig.expect(0, {"init", "redis"});
        rig.start_interlay();
    }
    /// The same bytes to the server and through the interlay; both close at the end.
    void same_to_the_end(const std::string& bytes, bool end_of_input) {
        CAPTURE(bytes.substr(0, 200));
        std::string seen[2];
        for (const bool direct : {true, false}) {
            RawClient client(direct ? rig.source().port() : rig.port());
            client.send(bytes);
            if (end_of_input) client.end_of_input();
            seen[direct ? 0 : 1] = client.read_to_end();
        }
        CHECK(seen[0].find("(still open)") == std::string::npos);
        CHECK(seen[1] == seen[0]);
    }
};

}  // namespace

TEST_CASE("a client that ends its input gets the answers to all it sent") {
    Both both;
    std::string bytes = login();
    for (int i = 0; i < 300; ++i) {
        bytes += request({"SET", "k" + std::to_string(i), std::string(100, 'v')});
        bytes += request({"GET", "k" + std::to_string(i)});
    }
    both.same_to_the_end(bytes, true);
    both.same_to_the_end(login() + request({"MULTI"}) + request({"SET", "m", "1"}) +
                             request({"EXEC"}) + request({"GET", "m"}),
                         true);
    // Half a request behind it is nobody's.
    both.same_to_the_end(login() + request({"GET", "m"}) + "*2\r\n$3\r\nGE", true);
    // Answers larger than a socket's buffer: a server drops those that are not written when it sees
    // the end; here all of them come.
    bytes = login() + request({"SET", "big", std::string(500'000, 'b')});
    for (int i = 0; i < 20; ++i) bytes += request({"GET", "big"});
    RawClient client(both.rig.port());
    client.send(bytes);
    client.end_of_input();
    const std::size_t one = std::string("$500000\r\n").size() + 500'000 + 2;
    CHECK(client.read_to_end().size() == 2 * 5 + 20 * one);
}

TEST_CASE("a parked request ends with its client and takes nothing") {
    Both both;
    RawClient client(both.rig.port());
    client.send(login() + request({"BLPOP", "queue", "0"}));
    const std::string first = client.read(5);
    CHECK(first == "+OK\r\n");
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return both.rig.source().info("blocked_clients") == "1"; }));
    client.end_of_input();
    CHECK(client.read_to_end() == "");
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return both.rig.source().info("blocked_clients") == "0"; }));
    both.rig.source().command({"RPUSH", "queue", "one"});
    CHECK(both.rig.source().text({"LLEN", "queue"}) == "1");
}

TEST_CASE("limits before AUTH are the server's, in its words, and hurt nobody else") {
    for (const Engine engine : {Engine::redis, Engine::valkey}) {
        RigOptions options;
        options.source = engine;
        Both both(options);
        RawClient bystander(both.rig.port());
        bystander.send(request({"PING"}));
        const std::string refused = "-NOAUTH Authentication required.\r\n";
        CHECK(bystander.read(refused.size()) == refused);

        both.same_to_the_end("*11\r\n", false);
        both.same_to_the_end(request({"GET", "a"}) + "*11\r\n$3\r\nDEL\r\n", false);
        both.same_to_the_end("*2\r\n$3\r\nGET\r\n$16385\r\n", false);
        // Behind a login that fails the limits hold as before it.
        both.same_to_the_end(
            request({"AUTH", "app", "wrong"}) +
                request({"DEL", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}),
            false);
        both.same_to_the_end(
            request({"AUTH", "app", "wrong"}) + request({"SET", "a", std::string(16'385, 'x')}),
            false);
        // Behind one that succeeds they do not.
        both.same_to_the_end(
            login() + request({"SET", "a", std::string(70'000, 'x')}) +
                request({"DEL", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}),
            true);
        bystander.send(request({"PING"}));
        CHECK(bystander.read(refused.size()) == refused);
        CHECK(traffic_of(both.rig)
                  .at("protocol_errors")
                  .value("unauthenticated_multibulk", uint64_t{0}) == 3);
    }
}

TEST_CASE("a reader that stops: closed at the bound and counted, or held back on its own lease") {
    Both both;
    both.rig.source().command({"SET", "large", std::string(1'000'000, 'v')});
    both.rig.source().command({"SET", "huge", std::string(40'000'000, 'h')});
    const auto counter = [&](const char* name) {
        return traffic_of(both.rig).at("counters").value(name, uint64_t{0});
    };
    RawClient other(both.rig.port());
    other.send(login());
    CHECK(other.read(5) == "+OK\r\n");

    // 400 MB of answers that each fit on a shared connection.
    RawClient greedy(both.rig.port());
    std::string many = login();
    for (int i = 0; i < 400; ++i) many += request({"GET", "large"});
    greedy.send(many);
    CHECK(eventually(milliseconds(30'000), [&] { return counter("slow_readers_closed") == 1; }));
    CHECK(greedy.read_to_end().find("(still open)") == std::string::npos);
    other.send(request({"GET", "none"}));
    CHECK(other.read(5) == "$-1\r\n");

    // Answers that do not fit take a connection of their own from the second on: what comes of them
    // waits in the server, not here, and nobody waits behind it.
    const std::size_t whole = std::string("$40000000\r\n").size() + 40'000'000 + 2;
    RawClient patient(both.rig.port());
    patient.send(login() + request({"GET", "huge"}));
    CHECK(patient.read(5 + whole).size() == 5 + whole);
    patient.send(request({"GET", "huge"}));
    for (int i = 0; i < 50; ++i) {
        other.send(request({"GET", "none"}));
        CHECK(other.read(5) == "$-1\r\n");
    }
    CHECK(counter("net_buffered_bytes") < 16'000'000);
    CHECK(patient.read(whole).size() == whole);
    CHECK(counter("slow_readers_closed") == 1);
}

TEST_CASE("REPLCONF counts for the SYNC behind it, whoever asks in between") {
    Rig rig;
    const auto source = own(rig.source());
    for (int i = 0; i < 2'000; ++i)
        send_command(source.get(), {"SET", "key:" + std::to_string(i), std::string(100, 'x')});
    send_command(source.get(), {"CONFIG", "SET", "repl-diskless-sync-delay", "0"});
    send_command(source.get(), {"ACL", "SETUSER", Rig::kUser, "+@all"});
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    RawClient replica(rig.port());
    replica.send(login() + request({"REPLCONF", "capa", "eof"}) +
                 request({"REPLCONF", "rdb-filter-only", "functions"}));
    CHECK(replica.read_until("+OK\r\n+OK\r\n+OK\r\n").ends_with("+OK\r\n+OK\r\n+OK\r\n"));
    RawClient other(rig.port());  // takes a connection that nobody keeps
    other.send(login() + request({"CONFIG", "GET", "maxmemory"}));
    CHECK(other.read_until("maxmemory").ends_with("maxmemory"));
    replica.send(request({"SYNC"}));
    const std::string begun = replica.read_until("REDIS");
    INFO(begun);
    const auto at = begun.find("$EOF:");
    REQUIRE(at != std::string::npos);
    const std::string mark = begun.substr(at + 5, 40);
    CHECK(replica.read_until(mark).size() < 1'000);  // no key is in it
}
