// Who waits for work is woken by what makes it: no lane and no copier looks for it by itself here.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

constexpr int64_t kPatience_ms = 600'000;  ///< longer than all of this lasts
constexpr milliseconds kSoon{15'000};

/// A server that says nothing by itself: its PINGs to replicas would wake, too.
ServerOptions silent(Engine engine) {
    return {.engine = engine, .config = {"repl-ping-replica-period 3600"}, .acl = {}};
}

struct Woken {
    RedisServer source{silent(Engine::redis)};
    RedisServer target{silent(Engine::valkey)};
    TempDir directory;
    Mover mover;
    Movement& forward;

    explicit Woken(DataMovement how = DataMovement::copy, ConnectionChanges changes = {})
        : mover(between(how), directory.path(), {.patience_ms = kPatience_ms},
                std::make_unique<ChangedDialer>(std::move(changes))),
          forward(*mover.forward) {}
    Settings between(DataMovement how) const {
        Settings settings = settings_between(source.port(), target.port());
        settings.migrate.data_movement = how;
        settings.migrate.throttle = {{"origin_p99_ratio", "0"}};
        return settings;
    }
    void follow() {
        REQUIRE(forward.set_mode(MovementMode::apply).has_value());
        require_following();
    }
    void require_following() {
        const bool follows =
            eventually(kSoon, [&] { return forward.status().stage == MovementStage::following; });
        const MovementStatus status = forward.status();
        INFO("waiting for: " << status.waiting_for << " degraded: " << status.degraded
                             << " blocked: " << status.blocked);
        REQUIRE(follows);
    }
    /// Until lane and copier have done what they were told.
    static void let_rest() { sleep_ms(300); }
    void require_arrives(const std::string& name) {
        source.text({"SET", name, "v"});
        REQUIRE(eventually(kSoon, [&] { return target.text({"GET", name}) == "v"; }));
    }
    void require_same() {
        REQUIRE(mover.caught_up(forward, kSoon));
        CHECK(differences(source, target) == "");
    }
};

TEST_CASE("woken: a copy, then a stream") {
    Woken woken;
    write_some(woken.source, 1, 2'000);
    woken.follow();
    for (int i = 0; i < 20; ++i) woken.require_arrives(fmt::format("late:{}", i));
    write_some(woken.source, 2, 2'000);
    woken.require_same();
}

TEST_CASE("woken: a copy that was paused") {
    Woken woken;
    woken.source.text({"DEBUG", "POPULATE", "1000"});  // nothing of it expires
    woken.forward.set_paused(true);
    REQUIRE(woken.forward.set_mode(MovementMode::apply).has_value());
    REQUIRE(
        eventually(kSoon, [&] { return woken.forward.status().stage == MovementStage::filling; }));
    REQUIRE(woken.forward.prove(kSoon).has_value());  // the stream is read meanwhile
    woken.let_rest();
    CHECK(woken.target.text({"DBSIZE"}) == "1");  // the checkpoint
    woken.forward.set_paused(false);
    woken.require_following();
    woken.require_same();
}

TEST_CASE("woken: a repair") {
    Woken woken(DataMovement::repair);
    write_some(woken.source, 1, 2'000);
    write_some(woken.target, 2, 2'000);
    woken.follow();
    woken.require_same();
    CHECK(woken.forward.status().items_removed + woken.forward.status().items_restored > 0);
}

TEST_CASE("woken: a big key in pieces") {
    Woken woken;
    woken.source.text({"EVAL",
                       "for i = 1, 100000 do redis.call('HSET', KEYS[1], 'f' .. i, "
                       "string.rep('v', 100) .. i) end",
                       "1", "big"});
    woken.follow();
    woken.require_same();
    CHECK(woken.target.text({"HLEN", "big"}) == "100000");
}

TEST_CASE("woken: a stand, up to a place, and on") {
    Woken woken;
    woken.follow();
    woken.require_arrives("before");
    const auto ticket = woken.forward.stand(0, {}, milliseconds(30'000));
    REQUIRE(ticket);
    woken.source.text({"SET", "up to here", "v"});
    const auto end = woken.forward.end_position();
    REQUIRE(end);
    woken.source.text({"SET", "behind it", "v"});
    REQUIRE(woken.forward.stand(*ticket, *end, milliseconds(30'000)));
    CHECK(woken.target.text({"GET", "up to here"}) == "v");
    CHECK(woken.target.text({"EXISTS", "behind it"}) == "0");
    CHECK(woken.forward.go_on(*ticket));
    CHECK(eventually(kSoon, [&] { return woken.target.text({"GET", "behind it"}) == "v"; }));
    // A hand-over waits for nobody's comparison.
    REQUIRE(woken.forward.stand(0, {}, milliseconds(30'000)));
    woken.source.text({"SET", "handed over", "v"});
    woken.let_rest();
    const auto handed = woken.forward.hand_over();
    CHECK_MESSAGE(handed.has_value(), (handed ? "" : handed.error().message));
    CHECK(woken.target.text({"GET", "handed over"}) == "v");
}

TEST_CASE("woken: what failed, copied again") {
    std::atomic<bool> damage{true};
    Woken woken(DataMovement::copy, {.written = [&](Side side, std::string& bytes) {
                    if (side == Side::target && damage)
                        replace_all(bytes, "damaged on its way", "damaged on the way");
                }});
    woken.source.text({"SET", "refused", "damaged on its way"});
    REQUIRE(woken.forward.set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(kSoon, [&] { return woken.forward.status().failed_items == 1; }));
    damage = false;
    woken.let_rest();
    CHECK(woken.forward.redrive().value() == 1);
    CHECK(eventually(kSoon, [&] { return woken.forward.status().failed_items == 0; }));
    woken.require_same();
}

}  // namespace
}  // namespace exodus::test
