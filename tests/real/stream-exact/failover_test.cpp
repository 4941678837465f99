// The source's replica is promoted and takes its place: the stream goes on there under the second
// replication id; only a tail that the replica never had makes every key be read again.
#include <doctest/doctest.h>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

struct WithReplica {
    RedisServer source{{.engine = Engine::redis,
                        .config = {"repl-diskless-sync-delay 0", "repl-ping-replica-period 3600"},
                        .acl = {}}};  // a ping behind the promotion would be a lost tail
    RedisServer replica{{.engine = Engine::redis, .config = {}, .acl = {}}};
    RedisServer target{{.engine = Engine::valkey, .config = {}, .acl = {}}};
    TempDir directory;
    std::atomic<int> address{source.port()};  ///< who answers where the source is looked for
    Mover mover{
        settings_between(source.port(), target.port()),
        directory.path(),
        {},
        std::make_unique<ChangedDialer>(ConnectionChanges{.dialed = [this](Endpoint& endpoint) {
            if (endpoint.side == Side::source)
                endpoint.port = static_cast<uint16_t>(address.load());
        }})};

    WithReplica() {
        write_some(source, 1, 1'000);
        replica.text({"REPLICAOF", "127.0.0.1", std::to_string(source.port())});
        replica_has_all();
        REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
        REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
        write_some(source, 2, 300);
    }
    void replica_has_all() {
        REQUIRE(eventually(milliseconds(20'000), [&] {
            return replica.info("master_link_status") == "up" &&
                   replica.info("slave_repl_offset") == source.info("master_repl_offset");
        }));
    }
    void promote() { CHECK(replica.text({"REPLICAOF", "NO", "ONE"}) == "OK"); }
};

std::size_t fills(Mover& mover) {
    const auto events = mover.journal.events();
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(),
        [](const std::string& event) { return event.find("fill-done") != std::string::npos; }));
}

TEST_CASE("a promoted replica at the source's address: the stream goes on, no key is read again") {
    WithReplica w;
    w.replica_has_all();
    w.promote();
    w.source.kill();
    w.address = w.replica.port();
    write_some(w.replica, 3, 500);
    require_equal(w.mover, *w.mover.forward, w.replica, w.target);
    CHECK(fills(w.mover) == 1);
    CHECK_FALSE(has_event(w.mover, "gap"));
    CHECK(w.replica.info("master_replid") != w.replica.info("master_replid2"));
}

TEST_CASE("a promoted replica at an address of its own, named in the settings of a new process") {
    WithReplica w;
    require_equal(w.mover, *w.mover.forward, w.source, w.target);
    w.mover.forward->stop();
    write_some(w.source, 3, 300);  // nobody has read it yet
    w.replica_has_all();
    w.promote();
    w.source.kill();
    write_some(w.replica, 4, 300);
    Mover again(settings_between(w.replica.port(), w.target.port()), w.directory.path());
    REQUIRE(again.forward->set_mode(MovementMode::apply).has_value());
    require_equal(again, *again.forward, w.replica, w.target);
    CHECK(fills(again) == 0);
    CHECK_FALSE(has_event(again, "gap"));
}

TEST_CASE("a failover that loses a tail ends exact by a repair") {
    WithReplica w;
    w.replica_has_all();
    w.promote();
    write_some(w.source, 3, 300);
    w.source.text({"SET", "lost:tail", "1"});
    require_equal(w.mover, *w.mover.forward, w.source, w.target);
    w.source.kill();
    w.address = w.replica.port();
    write_some(w.replica, 4, 300);
    require_equal(w.mover, *w.mover.forward, w.replica, w.target);
    CHECK(w.target.text({"EXISTS", "lost:tail"}) == "0");
    CHECK(has_event(w.mover, "gap"));
    CHECK(fills(w.mover) == 2);
}

}  // namespace
}  // namespace exodus::test
