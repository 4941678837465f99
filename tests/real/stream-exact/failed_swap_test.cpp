// Hazard: a key could not be moved, and then its whole database moves or goes. What is listed as
// failed must be the key under the name that it has now, and a re-drive must copy that one.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

/// A key of database 0 that the target refuses: longer than its proto-max-bulk-len.
struct Refused {
    RedisServer source{{.engine = Engine::redis, .config = {}, .acl = {}}};
    RedisServer target{{.engine = Engine::valkey, .config = {"proto-max-bulk-len 1mb"}, .acl = {}}};
    TempDir directory;
    Mover mover{settings_between(source.port(), target.port()), directory.path()};

    Refused() {
        source.text({"SET", "small", "of 0"});
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        require_equal(mover, *mover.forward, source, target);
        source.text({"SET", "large", random_text(2 << 20)});
        const auto other = source.connect();
        send_command(other.get(), {"SELECT", "1"});
        send_command(other.get(), {"SET", "large", "of 1"});
        wait_for("db0");
    }
    std::string listed() {
        std::string text;
        const auto rows = mover.journal.item_errors("forward", 100);
        for (const auto& row : *rows) text += (text.empty() ? "" : ",") + row.location;
        return text;
    }
    void wait_for(const std::string& rows) {
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
        CHECK(eventually(milliseconds(10'000), [&] { return listed() == rows; }));
    }
    void mend() {
        target.text({"CONFIG", "SET", "proto-max-bulk-len", "512mb"});
        REQUIRE(mover.forward->redrive().has_value());
        wait_for("");
        require_equal(mover, *mover.forward, source, target);
    }
};

TEST_CASE("a failed key is listed in the database to which SWAPDB took it") {
    Refused r;
    r.source.text({"SWAPDB", "0", "1"});
    r.wait_for("db1");
    CHECK(r.target.text({"GET", "large"}) == "of 1");
    CHECK(r.target.text({"EXISTS", "small"}) == "0");
    r.mend();
}

TEST_CASE("a SWAPDB of other databases leaves a failed key alone") {
    Refused r;
    r.source.text({"SWAPDB", "1", "2"});
    r.wait_for("db0");
    CHECK(r.mover.journal.events().back().find("copied again") == std::string::npos);
    r.mend();
}

TEST_CASE("a failed key that a FLUSHDB removed is not listed any more") {
    Refused r;
    r.source.text({"FLUSHDB"});
    r.wait_for("");
    r.source.text({"SET", "large", "small now"});
    require_equal(r.mover, *r.mover.forward, r.source, r.target);
    r.mend();
}

}  // namespace
}  // namespace exodus::test
