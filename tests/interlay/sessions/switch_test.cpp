// What lives on a connection (redis.md 3.3), one client each, across a real switch and rollback:
// nobody is disconnected, and each goes on as if its server had stayed.
#include <doctest/doctest.h>
#include <set>

#include "session_rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// What comes up to `text`, which must come.
std::string read_until(RawClient& client, std::string_view text) {
    std::string all = client.read_until(text);
    INFO("waiting for ", std::string(text), " in ", all);
    CHECK(all.ends_with(text));
    return all;
}

std::string login_resp3() {
    return request({"HELLO", "3", "AUTH", Rig::kUser, Rig::kPassword, "SETNAME", "three"});
}

/// One step of SCAN; the keys are added, the next cursor returned.
std::string scan(redisContext* context, const std::string& cursor, std::set<std::string>& keys) {
    const auto reply = send_command(context, {"SCAN", cursor, "MATCH", "scan:*", "COUNT", "20"});
    REQUIRE(reply != nullptr);
    REQUIRE(reply->elements == 2);
    for (std::size_t i = 0; i < reply->element[1]->elements; ++i)
        keys.insert(reply->element[1]->element[i]->str);
    return reply->element[0]->str;
}

}  // namespace

TEST_CASE("each row of the table of features, across a switch and a rollback") {
    Rig rig;
    for (RedisServer* server : {&rig.source(), &rig.target()})
        server->command({"ACL", "SETUSER", Rig::kUser, "+monitor"});
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    const auto plain = connect_to(rig.port(), milliseconds(30'000));
    const auto ask = [&](const std::vector<std::string>& words) {
        return to_text(send_command(plain.get(), words).get());
    };
    REQUIRE(ask({"AUTH", Rig::kUser, Rig::kPassword}) == "OK");
    REQUIRE(ask({"CLIENT", "SETNAME", "me"}) == "OK");
    REQUIRE(ask({"SELECT", "3"}) == "OK");
    REQUIRE(ask({"SET", "where", "three"}) == "OK");
    const std::string id = ask({"CLIENT", "ID"});
    const std::string sha = ask({"SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])"});
    for (int i = 0; i < 400; ++i) ask({"SET", "scan:" + std::to_string(i), "x"});
    bring_to_ready(rig);

    RawClient tracked(rig.port());
    tracked.send(login_resp3() + request({"CLIENT", "TRACKING", "ON"}) + request({"GET", "t"}));
    read_until(tracked, "+OK\r\n_\r\n");
    RawClient subscribed(rig.port());
    subscribed.send(login() + request({"SUBSCRIBE", "news"}));
    read_until(subscribed, "subscribe");
    RawClient watching(rig.port());
    watching.send(login() + request({"MONITOR"}));
    read_until(watching, "+OK\r\n+OK\r\n");
    RawClient parked(rig.port());
    parked.send(login() + request({"BLPOP", "queue", "0"}));
    read_until(parked, "+OK\r\n");
    RawClient silent(rig.port());
    silent.send(login() + request({"CLIENT", "REPLY", "OFF"}) + request({"INCR", "quiet"}));
    read_until(silent, "+OK\r\n");
    RawClient flagged(rig.port());
    flagged.send(login() + request({"CLIENT", "NO-EVICT", "ON"}));
    flagged.read(5);

    int turn = 0;
    for (const char* side : {"target", "source"}) {
        CAPTURE(side);
        std::set<std::string> keys;
        const std::string cursor = scan(plain.get(), "0", keys);
        REQUIRE(cursor != "0");
        turn++ == 0 ? rig.do_switch() : rig.do_rollback();
        REQUIRE(rig.authority() == side);
        RedisServer& server = turn == 1 ? rig.target() : rig.source();
        const std::string mark = "mark:" + std::string(side);

        std::string next = cursor;
        for (int i = 0; i < 200 && next != "0"; ++i) next = scan(plain.get(), next, keys);
        CHECK(next == "0");
        CHECK(keys.size() == 400);
        CHECK(ask({"CLIENT", "GETNAME"}) == "me");
        CHECK(ask({"CLIENT", "ID"}) == id);
        CHECK(ask({"GET", "where"}) == "three");
        CHECK(ask({"EVALSHA", sha, "1", "script"}) == std::to_string(turn));

        // Its cache is emptied, and what it reads from now on is tracked there.
        read_until(tracked, "invalidate\r\n_\r\n");
        tracked.send(request({"GET", "t"}));
        read_until(tracked, "_\r\n");
        const auto other = connect_to(rig.port(), milliseconds(30'000));
        send_command(other.get(), {"AUTH", Rig::kUser, Rig::kPassword});
        send_command(other.get(), {"SET", "t", "x"});
        read_until(tracked, "invalidate\r\n*1\r\n$1\r\nt\r\n");
        send_command(other.get(), {"DEL", "t"});
        tracked.send(request({"GET", "t"}));
        read_until(tracked, "_\r\n");

        send_command(other.get(), {"PUBLISH", "news", mark});
        const std::string news = read_until(subscribed, mark);
        CHECK(news.find(mark) == news.rfind(mark));
        read_until(watching, mark);
        send_command(other.get(), {"RPUSH", "queue", mark});
        read_until(parked, mark);
        CHECK(server.text({"LLEN", "queue"}) == "0");
        parked.send(request({"BLPOP", "queue", "0"}));
        silent.send(request({"INCR", "quiet"}));
        CHECK(eventually(milliseconds(20'000), [&] {
            return server.text({"GET", "quiet"}) == std::to_string(1 + turn);
        }));
        flagged.send(request({"PING"}));
        read_until(flagged, "PONG");
    }
    silent.send(request({"CLIENT", "REPLY", "ON"}));
    CHECK(silent.read(5) == "+OK\r\n");
}
