// The fence on real servers: selectors, key patterns, parked and queued writers, replicas, and
// exactly the old rules afterwards.
#include "families/redis/fence.h"

#include <doctest/doctest.h>

#include "families/redis/acl.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

ServerOptions options_of(Engine engine) {
    ServerOptions options;
    options.engine = engine;
    options.acl = {
        "user default on nopass ~* &* +@all -@dangerous",
        "user admin on >root ~* &* +@all",
        "user exodus on >own ~* &* +@all",
        "user app on >pw ~app:* %R~ro:* &ch:* +@all -debug +config|get",
        "user picky on >pw resetchannels &news -@all +get +set +xadd (~x:* +set +get) "
        "(%W~w:* +@write)",
        "user reader on >pw ~* resetchannels -@all +@read",
        "user gone off >pw ~* +@all",
    };
    return options;
}

ContextPtr login(const RedisServer& server, const std::string& user, const std::string& password) {
    auto context = server.connect();
    const auto reply = send_command(context.get(), {"AUTH", user, password});
    REQUIRE(to_text(reply.get()) == "OK");
    return context;
}

std::string ask(redisContext* context, const std::vector<std::string>& words) {
    return to_text(send_command(context, words).get());
}

std::vector<std::string> rules(RedisServer& server) {
    auto reply = server.command({"ACL", "LIST"});
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < reply->elements; ++i) lines.emplace_back(reply->element[i]->str);
    return lines;
}

Deadline soon() { return Deadline::in(milliseconds(5000)); }

#define REQUIRE_OK(expression)                       \
    do {                                             \
        const auto& status_ = (expression);          \
        if (!status_) FAIL(status_.error().message); \
    } while (false)

}  // namespace

TEST_CASE("fence: stops every writer and gives back the exact rules") {
    for (const auto engine : {Engine::redis, Engine::valkey}) {
        RedisServer server(options_of(engine));
        server.login("admin", "root");
        Migration migration(server.port(), server.port(), "exodus", "own");
        const auto before = rules(server);
        auto fence = redis::make_redis_fence(migration.context, Side::source);

        auto app = login(server, "app", "pw");
        auto picky = login(server, "picky", "pw");
        auto nobody = server.connect();
        auto parked = login(server, "app", "pw");
        auto reading = login(server, "app", "pw");
        auto queued = login(server, "app", "pw");
        CHECK(ask(app.get(), {"SET", "app:1", "v"}) == "OK");
        CHECK(ask(picky.get(), {"SET", "x:1", "v"}) == "OK");
        CHECK(ask(nobody.get(), {"SET", "any", "v"}) == "OK");
        CHECK(ask(queued.get(), {"MULTI"}) == "OK");
        CHECK(ask(queued.get(), {"SET", "app:m", "v"}) == "QUEUED");
        // Parked: written without waiting for the reply.
        redisAppendCommand(parked.get(), "BLPOP app:list 0");
        redisAppendCommand(reading.get(), "XREAD BLOCK 0 STREAMS app:stream $");
        int done = 0;
        while (done == 0) REQUIRE(redisBufferWrite(parked.get(), &done) == REDIS_OK);
        for (done = 0; done == 0;) REQUIRE(redisBufferWrite(reading.get(), &done) == REDIS_OK);
        REQUIRE(
            eventually(milliseconds(3000), [&] { return server.info("blocked_clients") == "2"; }));

        auto prepared = fence->prepare(soon());
        REQUIRE_OK(prepared);
        CHECK(prepared->find('#') == std::string::npos);
        // Before it is raised the proof must fail, or it proves nothing.
        const auto unproven = fence->prove(*prepared, soon());
        REQUIRE(!unproven);
        CHECK(unproven.error().code == ErrorCode::safety);

        REQUIRE_OK(fence->raise(*prepared, soon()));
        REQUIRE_OK(fence->prove(*prepared, soon()));
        CHECK(ask(app.get(), {"SET", "app:1", "w"}).find("NOPERM") != std::string::npos);
        CHECK(ask(app.get(), {"SETRANGE", "app:1", "0", ""}).find("NOPERM") != std::string::npos);
        CHECK(ask(app.get(), {"GET", "app:1"}) == "v");
        CHECK(ask(app.get(), {"EVAL", "return redis.call('SET', KEYS[1], '1')", "1", "app:1"})
                  .find("(error)") == 0);
        CHECK(ask(picky.get(), {"SET", "x:1", "w"}).find("NOPERM") != std::string::npos);
        CHECK(ask(picky.get(), {"GET", "x:1"}) == "v");
        CHECK(ask(picky.get(), {"DEL", "w:1"}).find("NOPERM") != std::string::npos);
        CHECK(ask(nobody.get(), {"SET", "any", "w"}).find("NOPERM") != std::string::npos);
        CHECK(ask(queued.get(), {"EXEC"}).find("NOPERM") != std::string::npos);
        CHECK(server.text({"EXISTS", "app:m"}).find('0') != std::string::npos);
        // The parked popper was thrown out with an error; the parked reader stays.
        void* raw = nullptr;
        REQUIRE(redisGetReply(parked.get(), &raw) == REDIS_OK);
        const ReplyPtr thrown(static_cast<redisReply*>(raw), freeReplyObject);
        CHECK(to_text(thrown.get()).find("UNBLOCKED") != std::string::npos);
        CHECK(server.info("blocked_clients") == "1");
        // exodus itself goes on writing, at once.
        auto own = login(server, "exodus", "own");
        CHECK(ask(own.get(), {"RPUSH", "app:list", "kept"}).find('1') != std::string::npos);

        own.reset();

        // Raising again is harmless, by this object and by that of another process.
        REQUIRE_OK(fence->raise(*prepared, soon()));
        REQUIRE_OK(
            redis::make_redis_fence(migration.context, Side::source)->raise(*prepared, soon()));

        REQUIRE_OK(fence->lift(*prepared, soon()));
        CHECK(rules(server) == before);
        CHECK(ask(app.get(), {"SET", "app:1", "x"}) == "OK");
        CHECK(ask(picky.get(), {"SET", "x:1", "x"}) == "OK");
        CHECK(ask(app.get(), {"LLEN", "app:list"}).find('1') != std::string::npos);
        REQUIRE_OK(fence->lift(*prepared, soon()));
        CHECK(rules(server) == before);
    }
}

TEST_CASE("fence: stays over a restart of the server") {
    RedisServer server(options_of(Engine::valkey));
    server.login("admin", "root");
    Migration migration(server.port(), server.port(), "exodus", "own");
    auto fence = redis::make_redis_fence(migration.context, Side::source);
    const auto before = rules(server);
    auto prepared = fence->prepare(soon());
    REQUIRE_OK(prepared);
    REQUIRE_OK(fence->raise(*prepared, soon()));
    server.kill();
    server.start();
    auto app = login(server, "app", "pw");
    CHECK(ask(app.get(), {"SET", "app:1", "w"}).find("NOPERM") != std::string::npos);
    REQUIRE_OK(fence->prove(*prepared, soon()));
    REQUIRE_OK(fence->lift(*prepared, soon()));
    CHECK(rules(server) == before);
    REQUIRE_OK(fence->keep(soon()));
    server.kill();
    server.start();
    CHECK(rules(server) == before);
}

TEST_CASE("fence: refuses to fence users that were changed after it was prepared") {
    RedisServer server(options_of(Engine::redis));
    server.login("admin", "root");
    Migration migration(server.port(), server.port(), "exodus", "own");
    auto fence = redis::make_redis_fence(migration.context, Side::source);
    auto prepared = fence->prepare(soon());
    REQUIRE_OK(prepared);
    // lift() would undo this.
    CHECK(server.text({"ACL", "SETUSER", "app", "~more:*"}) == "OK");
    const auto before = rules(server);
    const auto raised = fence->raise(*prepared, soon());
    REQUIRE(!raised);
    CHECK(raised.error().code == ErrorCode::safety);
    CHECK(rules(server) == before);
}

TEST_CASE("fence: covers replicas, which may become primary") {
    RedisServer primary(options_of(Engine::redis));
    auto replica_options = options_of(Engine::redis);
    replica_options.config = {"replicaof 127.0.0.1 " + std::to_string(primary.port()),
                              "masteruser admin", "masterauth root"};
    RedisServer replica(replica_options);
    primary.login("admin", "root");
    replica.login("admin", "root");
    REQUIRE(eventually(milliseconds(20000),
                       [&] { return replica.info("master_link_status") == "up"; }));
    REQUIRE(eventually(milliseconds(5000), [&] {
        return primary.text({"INFO", "replication"}).find("state=online") != std::string::npos;
    }));
    const auto before = rules(replica);
    Migration migration(primary.port(), primary.port(), "exodus", "own");
    auto fence = redis::make_redis_fence(migration.context, Side::source);
    auto prepared = fence->prepare(soon());
    REQUIRE_OK(prepared);
    REQUIRE_OK(fence->raise(*prepared, soon()));
    REQUIRE_OK(fence->prove(*prepared, soon()));
    // The replica is promoted behind our back: its users are fenced there too.
    CHECK(replica.text({"REPLICAOF", "NO", "ONE"}) == "OK");
    auto app = login(replica, "app", "pw");
    CHECK(ask(app.get(), {"SET", "app:1", "w"}).find("NOPERM") != std::string::npos);
    CHECK(replica.text({"REPLICAOF", "127.0.0.1", std::to_string(primary.port())}) == "OK");
    REQUIRE(eventually(milliseconds(20000), [&] {
        return primary.text({"INFO", "replication"}).find("state=online") != std::string::npos;
    }));
    REQUIRE_OK(fence->lift(*prepared, soon()));
    CHECK(rules(replica) == before);
}

TEST_CASE("fence: refuses when exodus and applications share a user, and says how to make one") {
    RedisServer open;
    Migration as_default(open.port(), open.port());
    auto refused = redis::make_redis_fence(as_default.context, Side::source)->prepare(soon());
    REQUIRE(!refused);
    CHECK(refused.error().code == ErrorCode::permission);
    CHECK(refused.error().hint.find("ACL SETUSER exodus on >PASSWORD") != std::string::npos);

    RedisServer server(options_of(Engine::redis));
    server.login("admin", "root");
    Migration shared(server.port(), server.port(), "app", "pw");
    CHECK(server.text({"ACL", "SETUSER", "app", "~*", "+@all"}) == "OK");
    auto other = login(server, "app", "pw");
    CHECK(ask(other.get(), {"SET", "app:1", "1"}) == "OK");
    auto fence = redis::make_redis_fence(shared.context, Side::source);
    refused = fence->prepare(soon());
    REQUIRE(!refused);
    CHECK(refused.error().message.find("also used by 127.0.0.1:") != std::string::npos);
    // Alone on its user, it may.
    other.reset();
    REQUIRE(eventually(milliseconds(3000), [&] { return fence->prepare(soon()).has_value(); }));
    // Somebody who only looks is no application.
    other = login(server, "app", "pw");
    CHECK(ask(other.get(), {"PING"}) == "PONG");
    CHECK(fence->prepare(soon()).has_value());
}

TEST_CASE(
    "fence: notices a user that appears between preparing and raising, and one that is opened "
    "after it") {
    RedisServer server(options_of(Engine::valkey));
    server.login("admin", "root");
    Migration migration(server.port(), server.port(), "exodus", "own");
    auto fence = redis::make_redis_fence(migration.context, Side::source);
    auto prepared = fence->prepare(soon());
    REQUIRE_OK(prepared);
    CHECK(server.text({"ACL", "SETUSER", "late", "on", "nopass", "~*", "+@all"}) == "OK");
    const auto before = rules(server);
    auto raised = fence->raise(*prepared, soon());
    REQUIRE(!raised);
    CHECK(raised.error().code == ErrorCode::safety);
    CHECK(rules(server) == before);

    prepared = fence->prepare(soon());
    REQUIRE_OK(prepared);
    REQUIRE_OK(fence->raise(*prepared, soon()));
    for (const auto& opening : std::vector<std::vector<std::string>>{
             {"+incr"}, {"+@list"}, {"+@all"}, {"(~a* +xadd)"}, {"+xgroup|create"}}) {
        std::vector<std::string> command{"ACL", "SETUSER", "late"};
        command.insert(command.end(), opening.begin(), opening.end());
        CHECK(server.text(command) == "OK");
        const auto proof = fence->prove(*prepared, soon());
        REQUIRE_MESSAGE(!proof, opening.front());
        CHECK(proof.error().message.find("late") != std::string::npos);
        CHECK(server.text({"ACL", "SETUSER", "late", "-@write", "clearselectors"}) == "OK");
        REQUIRE_OK(fence->prove(*prepared, soon()));
    }
    REQUIRE_OK(fence->lift(*prepared, soon()));
    CHECK(rules(server) == before);
}

TEST_CASE("fence: the operator's own command") {
    RedisServer server(options_of(Engine::redis));
    TempDir directory;
    Migration migration(server.port(), server.port(), "exodus", "own");
    const std::string log = directory.file("calls");
    migration.settings.family_options["fence.command"] = "echo >> " + log;
    auto fence = redis::make_redis_fence(migration.context, Side::source);
    auto prepared = fence->prepare(soon());
    REQUIRE_OK(prepared);
    REQUIRE_OK(fence->raise(*prepared, soon()));
    REQUIRE_OK(fence->prove(*prepared, soon()));
    REQUIRE_OK(fence->lift(*prepared, soon()));
    CHECK(read_file(log) == "raise\nprove\nlift\n");

    migration.settings.family_options["fence.command"] = "false";
    auto broken = redis::make_redis_fence(migration.context, Side::source);
    CHECK(broken->raise(*prepared, soon()).error().code == ErrorCode::safety);
    migration.settings.family_options["fence.command"] = "sleep 30;";
    auto slow = redis::make_redis_fence(migration.context, Side::source);
    CHECK(slow->raise(*prepared, Deadline::in(milliseconds(100))).error().code ==
          ErrorCode::timeout);
}
