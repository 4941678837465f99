// The queue of events: a locked state file makes nobody wait and loses nothing that fits.
#include "workflow/event_queue.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <doctest/doctest.h>
#include <filesystem>
#include <thread>
#include <unistd.h>

#include "base/clock.h"

using namespace exodus;

namespace {

struct File {
    File() {
        static int number = 0;
        settings.state_path = (std::filesystem::temp_directory_path() /
                               ("exodus-events-" + std::to_string(::getpid()) + "-" +
                                std::to_string(number++) + ".db"))
                                  .string();
        settings.migration = "m";
        settings.family = "redis";
        store = *WorkflowStore::open(settings.state_path, OpenMode::create);
        row = *store->create_migration(settings, Owner{1, "mira", "ops1", "script", 1});
        queue = *EventQueue::open(settings.state_path, row.id);
    }
    ~File() {
        queue.reset();
        std::filesystem::remove(settings.state_path);
    }
    std::vector<EventRow> events() { return *store->events_since(row.id, 1, 10'000); }
    bool holds(std::size_t count) {
        const Deadline deadline = Deadline::in(milliseconds(10'000));
        while (events().size() != count && !deadline.passed())
            std::this_thread::sleep_for(milliseconds(5));
        return events().size() == count;
    }

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
        for (int i = 0; i < 700; ++i) file.queue->push(numbered(i));
        const int64_t pushed_ms = wall_ms();
        std::this_thread::sleep_for(milliseconds(600));  // it has tried, and been refused
        CHECK(file.events().empty());
        other.exec("ROLLBACK");
        REQUIRE(file.holds(501));  // the newest 500, and how many are missing
        const auto events = file.events();
        CHECK(events[0].text == "200");
        CHECK(events[499].text == "699");
        CHECK(events[499].at_ms <= pushed_ms);
        CHECK(events[500].code == "events.dropped");
        CHECK(events[500].text.starts_with("200 "));
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
