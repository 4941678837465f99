// Hazard: the state file is busy at the very moment when a copy is complete. Its end would never
// become durable, and the next process would copy again what is there.
#include <atomic>
#include <doctest/doctest.h>

#include "families/redis/copy_queue.h"
#include "families/redis/movement.h"
#include "tests/support/redis_server.h"
#include "tests/unit/redis_ops/support.h"

using namespace exodus;
using namespace exodus::test;

namespace {

bool is_end(std::string_view name, std::string_view value) {
    const auto place = redis::ScanPlace::parse(value);
    return name == "fill" && place && place->phase == redis::ScanPlace::Phase::done;
}

class BusyAtTheEnd final : public MemoryJournal {
  public:
    Status save_position(std::string_view direction, std::string_view name,
                         std::string_view value) override {
        if (is_end(name, value) && refused.fetch_add(1) < 2)
            return fail(ErrorCode::locked, "the state file is locked");
        return MemoryJournal::save_position(direction, name, value);
    }
    std::atomic<int> refused{0};
};

}  // namespace

TEST_CASE("the end of a copy becomes durable, and is told once, although the file was busy") {
    RedisServer source{ServerOptions{Engine::redis, {}, {}}};
    RedisServer target{ServerOptions{Engine::valkey, {}, {}}};
    const Migration migration(source.port(), target.port());
    BusyAtTheEnd journal;
    const TempDir directory;
    const FamilyContext context{migration.settings, *migration.dialer, journal, directory.path()};
    for (int i = 0; i < 500; ++i) source.text({"SET", "k:" + std::to_string(i), "v"});
    const auto movement = redis::make_redis_movement(context, Direction::forward);
    REQUIRE(movement->set_mode(MovementMode::apply));
    CHECK(eventually(milliseconds(30'000), [&] {
        const auto fill = journal.load_position("forward", "fill");
        return fill && *fill && is_end("fill", **fill);
    }));
    source.text({"SET", "later", "v"});
    CHECK(eventually(milliseconds(20'000), [&] { return target.text({"GET", "later"}) == "v"; }));
    movement->stop();
    CHECK(journal.refused == 3);
    CHECK(std::count_if(journal.events.begin(), journal.events.end(),
                        [](const auto& event) { return event.starts_with("fill-done"); }) == 1);
    CHECK(target.text({"DBSIZE"}) == "502");  // the checkpoint, too
}
