// Something that exodus did not write lies under the name of its checkpoint: it says so, by the
// key's name, and neither takes it for a loss nor writes over it.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

struct Planted {
    RedisServer source{{.engine = Engine::redis, .config = {}, .acl = {}}};
    RedisServer target{{.engine = Engine::valkey, .config = {}, .acl = {}}};
    TempDir directory;
    Mover mover{settings_between(source.port(), target.port()), directory.path()};
    std::string key = redis::checkpoint_key_of(mover.settings.migration, Direction::forward);

    Planted() { REQUIRE(source.text({"SET", "a", "1"}) == "OK"); }

    void start() { REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value()); }

    bool follows() {
        return eventually(milliseconds(10'000), [&] {
            return mover.forward->status().stage == MovementStage::following;
        });
    }

    /// The trouble that an operator sees, once there is one.
    std::string blocked() {
        std::string text;
        (void)eventually(milliseconds(10'000), [&] {
            text = mover.forward->status().blocked;
            return !text.empty();
        });
        return text;
    }

    void check_told() {
        const std::string text = blocked();
        INFO("blocked: " << text);
        CHECK(text.find("the key " + key +
                        " on the target holds something that exodus did not "
                        "write; nothing was changed there") == 0);
        CHECK(text.find("lost its data") == std::string::npos);
    }
};

TEST_CASE("a foreign text under the checkpoint's name is told before anything is copied") {
    Planted p;
    REQUIRE(p.target.text({"SET", p.key, "not ours"}) == "OK");
    p.start();
    p.check_told();
    CHECK(p.target.text({"GET", p.key}) == "not ours");
    CHECK(p.target.text({"EXISTS", "a"}) == "0");
    REQUIRE(p.target.text({"DEL", p.key}) == "1");
    CHECK(p.follows());
    CHECK(p.target.text({"GET", "a"}) == "1");
}

TEST_CASE("a key of another type under the checkpoint's name is told, too") {
    Planted p;
    REQUIRE(p.target.text({"RPUSH", p.key, "not", "ours"}) == "2");
    p.start();
    p.check_told();
    CHECK(p.target.text({"LLEN", p.key}) == "2");
}

TEST_CASE("a checkpoint that somebody writes over while the stream is followed") {
    Planted p;
    p.start();
    REQUIRE(p.follows());
    SUBCASE("and nothing changes") {}
    SUBCASE("and changes come") { REQUIRE(p.source.text({"SET", "b", "2"}) == "OK"); }
    REQUIRE(p.target.text({"SET", p.key, "5 not ours"}) == "OK");
    p.check_told();
    SUBCASE("and a new process looks at it") {
        p.mover.forward->stop();
        p.start();
        p.check_told();
    }
    CHECK(p.target.text({"GET", p.key}) == "5 not ours");
    // What ends the attempt leaves what is not of exodus.
    CHECK(p.mover.forward->forget().has_value());
    CHECK(p.target.text({"GET", p.key}) == "5 not ours");
}

}  // namespace
}  // namespace exodus::test
