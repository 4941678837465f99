// Hazard: the side with authority comes back without its data, and what it lacks is removed from
// the other side, which has the last copy.
#include <cstdio>
#include <doctest/doctest.h>
#include <filesystem>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

/// Restarts with a data file, or with none, and is written to at once, as applications do.
void come_back(RedisServer& server, const std::string& data) {
    server.kill();
    const std::string file = server.data_file("dump.rdb");
    std::filesystem::remove(file);
    if (!data.empty()) std::filesystem::copy_file(data, file);
    server.start();
    REQUIRE(eventually(milliseconds(10'000), [&] { return server.text({"PING"}) == "PONG"; }));
    write_some(server, 7, 5);
}

std::string saved(RedisServer& server, const std::string& as) {
    REQUIRE(server.text({"SAVE"}) == "OK");
    std::filesystem::copy_file(server.data_file("dump.rdb"), as);
    return as;
}

bool blocked(Movement& movement, const std::string& text) {
    return eventually(milliseconds(10'000),
                      [&] { return movement.status().blocked.find(text) != std::string::npos; });
}

/// Some have an expiry and die meanwhile.
int key_count(RedisServer& server) { return std::stoi(server.text({"DBSIZE"})); }

struct Pair {
    RedisServer source{{.engine = Engine::redis, .config = {}, .acl = {}}};
    RedisServer target{{.engine = Engine::valkey, .config = {}, .acl = {}}};
    TempDir directory;
    Mover mover{settings_between(source.port(), target.port()), directory.path()};

    Pair() {
        write_some(source, 1, 3'000);
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        REQUIRE(mover.reverse->set_mode(MovementMode::standby).has_value());
        require_equal(mover, *mover.forward, source, target);
    }
};

TEST_CASE("a source that comes back empty takes nothing from the target") {
    Pair p;
    const std::string data = saved(p.source, p.directory.file("source.rdb"));
    const int keys = key_count(p.target);
    come_back(p.source, "");
    CHECK(blocked(*p.mover.forward, "source lost its data"));
    // Also for a process that was not there.
    REQUIRE(p.mover.forward->set_mode(MovementMode::off).has_value());
    Mover again(settings_between(p.source.port(), p.target.port()), p.directory.path());
    REQUIRE(again.forward->set_mode(MovementMode::apply).has_value());
    CHECK(blocked(*again.forward, "source lost its data"));
    CHECK(key_count(p.target) > keys / 2);
    come_back(p.source, data);
    require_equal(again, *again.forward, p.source, p.target);
    CHECK(again.forward->status().blocked == "");
}

TEST_CASE("a target that comes back empty behind the switch takes nothing from the source") {
    Pair p;
    REQUIRE(eventually(milliseconds(5'000),
                       [&] { return p.mover.reverse->status().stage == MovementStage::standby; }));
    switch_over(*p.mover.forward, *p.mover.reverse, p.target);
    write_some(p.target, 2, 500);
    require_equal(p.mover, *p.mover.reverse, p.target, p.source);
    const int keys = key_count(p.source);
    come_back(p.target, "");
    CHECK(blocked(*p.mover.reverse, "target lost its data"));
    CHECK(key_count(p.source) > keys / 2);
    // The way out that the message names: what the source holds.
    come_back(p.target, saved(p.source, p.directory.file("source.rdb")));
    require_equal(p.mover, *p.mover.reverse, p.target, p.source);
    CHECK(p.mover.reverse->status().blocked == "");
}

TEST_CASE("a source that comes back with most of its keys is followed on") {
    Pair p;
    const std::string data = saved(p.source, p.directory.file("source.rdb"));
    write_some(p.source, 3, 500);
    p.source.text({"SET", "lost:by:the:source", "1"});
    require_equal(p.mover, *p.mover.forward, p.source, p.target);
    come_back(p.source, data);
    require_equal(p.mover, *p.mover.forward, p.source, p.target);
    CHECK(p.target.text({"EXISTS", "lost:by:the:source"}) == "0");
}

}  // namespace
}  // namespace exodus::test
