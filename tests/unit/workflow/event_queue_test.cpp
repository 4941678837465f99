// The queue of events: a locked state file makes nobody wait and loses nothing that fits.
#include "workflow/event_queue.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <algorithm>
#include <doctest/doctest.h>
#include <thread>

#include "base/clock.h"
#include "tests/support/process.h"
#include "workflow/limits.h"

using namespace exodus;

namespace {

struct File {
    File() {
        settings.state_path = dir.file("s.db");
        settings.migration = "m";
        settings.family = "redis";
        store = *WorkflowStore::open(settings.state_path, OpenMode::create);
        row = *store->create_migration(settings, Owner{1, "mira", "ops1", "script", 1});
        queue = *EventQueue::open(settings.state_path, row.id);
    }
    std::vector<EventRow> events() { return *store->events_since(row.id, 1, 10'000); }
    bool holds(std::size_t count) {
        const Deadline deadline = Deadline::in(milliseconds(10'000));
        while (events().size() != count && !deadline.passed())
            std::this_thread::sleep_for(milliseconds(5));
        return events().size() == count;
    }

    test::TempDir dir;
    Settings settings;
    std::unique_ptr<WorkflowStore> store;
    MigrationRow row;
    std::unique_ptr<EventQueue> queue;
};

NewEvent numbered(int number) { return NewEvent{"info", "test", std::to_string(number), "{}", 0}; }

}  // namespace

TEST_CASE("events are written in their order, soon") {
    File file;
    for (int i = 0; i < 20; ++i) file.queue->push(numbered(i));
    REQUIRE(file.holds(20));
    for (std::size_t i = 0; i < 20; ++i) CHECK(file.events()[i].text == std::to_string(i));
}

TEST_CASE("a locked file makes nobody wait; what was pushed keeps its time and is written later") {
    File file;
    {
        SQLite::Database other(file.settings.state_path, SQLite::OPEN_READWRITE);
        other.exec("BEGIN IMMEDIATE");
        // Each round is longer than the time from one try to write to the next, and a try waits for
        // kEventsBusy_ms. A busy machine may stop this thread as long, but not in every round.
        int pushed = 0;
        bool waited = true;
        for (int round = 0; round < 5 && waited; ++round) {
            int64_t longest_us = 0;
            const Deadline end = Deadline::in(milliseconds(1'500));
            while (!end.passed()) {
                const int64_t began_us = steady_us();
                file.queue->push(numbered(pushed++));
                longest_us = std::max(longest_us, steady_us() - began_us);
                std::this_thread::sleep_for(milliseconds(1));
            }
            waited = longest_us > limits::kEventsBusy_ms * 1000 * 3 / 4;
        }
        CHECK_FALSE(waited);
        REQUIRE(pushed > 500);
        const int64_t pushed_ms = wall_ms();
        CHECK(file.events().empty());
        other.exec("ROLLBACK");
        REQUIRE(file.holds(501));  // the newest 500, and how many are missing
        const auto events = file.events();
        CHECK(events[0].text == std::to_string(pushed - 500));
        CHECK(events[499].text == std::to_string(pushed - 1));
        CHECK(events[499].at_ms <= pushed_ms);
        CHECK(events[500].code == "events.dropped");
        CHECK(events[500].text.starts_with(std::to_string(pushed - 500) + " "));
    }
}

TEST_CASE("what is left at the end is written once more") {
    File file;
    SQLite::Database other(file.settings.state_path, SQLite::OPEN_READWRITE);
    other.exec("BEGIN IMMEDIATE");
    file.queue->push(numbered(1));
    std::this_thread::sleep_for(milliseconds(300));
    other.exec("ROLLBACK");
    file.queue.reset();
    CHECK(file.events().size() == 1);
}
