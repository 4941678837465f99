// The state file: what is durable, what is refused, and that nothing is lost or leaked.
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sqlite3.h>
#include <sstream>
#include <sys/stat.h>

#include "store/services.h"
#include "store/workflow_store.h"
#include "tests/support/process.h"

using namespace exodus;

namespace {

using Dir = test::TempDir;

Settings settings_with(const char* password) {
    Settings settings;
    settings.migration = "m";
    settings.family = "redis";
    settings.source.password = Secret(password);
    settings.target.password = Secret(password);
    return settings;
}

void execute(const std::string& path, const char* sql) {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
    REQUIRE(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
}

}  // namespace

TEST_CASE("the file is private, holds no secret, and a transition is compare-and-set") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    auto store = WorkflowStore::open(path, OpenMode::create);
    REQUIRE(store);
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    auto row = (*store)->create_migration(settings_with("hunter2-secret"), current_owner());
    REQUIRE(row);
    Transition change;
    change.row = *row;
    change.row.state = MigrationState::pretested;
    auto next = (*store)->transition(*row, change);
    REQUIRE(next);
    CHECK(next->route.epoch == row->route.epoch + 1);
    auto late = (*store)->transition(*row, change);
    REQUIRE_FALSE(late);
    CHECK(late.error().code == ErrorCode::not_allowed);
    std::stringstream bytes;
    bytes << std::ifstream(path, std::ios::binary).rdbuf();
    CHECK(bytes.str().find("hunter2-secret") == std::string::npos);
}

TEST_CASE("foreign, newer, damaged and absent files are refused and left as they are") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    CHECK(WorkflowStore::open(path, OpenMode::existing).error().code == ErrorCode::no_input);
    std::ofstream(path) << "this is no database at all, only some text that is long enough";
    CHECK(WorkflowStore::open(path, OpenMode::create).error().code == ErrorCode::data);
    std::filesystem::remove(path);
    execute(path, "CREATE TABLE other (x)");
    auto foreign = WorkflowStore::open(path, OpenMode::create);
    REQUIRE_FALSE(foreign);
    CHECK(foreign.error().message.find("another program") != std::string::npos);
    std::filesystem::remove(path);
    REQUIRE(WorkflowStore::open(path, OpenMode::create));
    execute(path, "PRAGMA user_version=99");
    auto newer = WorkflowStore::open(path, OpenMode::create);
    REQUIRE_FALSE(newer);
    CHECK(newer.error().message.find("newer exodus") != std::string::npos);
}

TEST_CASE("a file of an older exodus: what was wrong belongs to the stream that ran") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    for (const char* step : {"001-first.sql", "002-item-change.sql"}) {
        std::stringstream sql;
        sql << std::ifstream(std::string(EXODUS_SOURCE_DIR "/lib/store/schema/") + step).rdbuf();
        execute(path, sql.str().c_str());
    }
    execute(path,
            "PRAGMA application_id = 0x65786473; PRAGMA user_version = 2;"
            "INSERT INTO migration SELECT value, 'm' || value, 'redis', 'ready', 1, side, side, "
            "side, 0, 0, 0, 0, 0, 0, 'off', 'off', 'big-bang', 1, 0, '', 'slow', 'second writer', "
            "'', '', '', '', '', 0, 0 FROM (SELECT 1 AS value, 'source' AS side UNION SELECT 2, "
            "'target');"
            "INSERT INTO fence VALUES (1, 'source', 'acl', 0, 7, 9)");
    auto store = WorkflowStore::open(path, OpenMode::existing);
    INFO((store ? "" : store.error().message));
    REQUIRE(store);
    const MovementFlags seen{"slow", "second writer"};
    CHECK((*store)->find_migration("m1")->forward_flags == seen);
    CHECK((*store)->find_migration("m1")->reverse_flags == MovementFlags{});
    CHECK((*store)->find_migration("m2")->forward_flags == MovementFlags{});
    CHECK((*store)->find_migration("m2")->reverse_flags == seen);
    CHECK((*store)->fence(1, Side::source)->value().prepared == "acl");
    REQUIRE((*store)->set_flags(1, Direction::reverse, {"", "lost"}));
    CHECK((*store)->find_migration("m1")->reverse_flags == MovementFlags{"", "lost"});
    CHECK((*store)->find_migration("m1")->forward_flags == seen);
}

TEST_CASE("what is counted does not end where a list does") {
    const Dir dir;
    auto store = WorkflowStore::open(dir.file("s.db"), OpenMode::create);
    REQUIRE(store);
    auto row = (*store)->create_migration(settings_with("x"), current_owner());
    REQUIRE(row);
    std::vector<Divergence> found;
    for (int i = 0; i < 150; ++i)
        found.push_back({"db0", "key" + std::to_string(i), "missing", ""});
    REQUIRE((*store)->put_divergences(row->id, found));
    CHECK((*store)->divergences(row->id, true, 100)->size() == 100);
    CHECK(*(*store)->count_open_divergences(row->id) == 150);
    CHECK(*(*store)->count_open_divergences(row->id, wall_ms() - 60'000) == 0);
    CHECK((*store)->divergences(row->id, true, 100, wall_ms() - 60'000)->empty());
    found.resize(120);
    REQUIRE((*store)->put_divergences(row->id, found));
    CHECK(*(*store)->count_open_divergences(row->id) == 120);

    DecisionRow decision;
    decision.kind = "skip";
    decision.subject = "compare";
    REQUIRE((*store)->add_decision(row->id, decision));
    decision.kind = "approve";
    for (int i = 0; i < 3; ++i) REQUIRE((*store)->add_decision(row->id, decision));
    CHECK((*store)->decisions_of(row->id, "skip", 2)->size() == 1);
    CHECK((*store)->decisions_of(row->id, "approve", 2)->size() == 2);
}

TEST_CASE("the services see each other's changes") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    auto store = WorkflowStore::open(path, OpenMode::create);
    REQUIRE(store);
    auto row = (*store)->create_migration(settings_with("x"), current_owner());
    REQUIRE(row);
    auto state = open_state_source(path, "m");
    REQUIRE(state);
    REQUIRE((*state)->read());
    CHECK_FALSE(*(*state)->changed());
    auto journal = open_journal(path, "m");
    REQUIRE(journal);
    REQUIRE((*journal)->save_position("forward", "start", "1-2"));
    CHECK(*(*state)->changed());
    CHECK((*journal)->load_position("forward", "start")->value() == "1-2");
    ItemError error;
    error.direction = "forward";
    error.key = std::string("a\0b", 3);
    REQUIRE((*journal)->add_item_error(error));
    CHECK((*journal)->item_errors("forward", 10)->at(0).key == error.key);
    auto log = open_divergence_log(path, "m");
    REQUIRE(log);
    DivergenceSample sample;
    sample.command = "GET";
    REQUIRE((*log)->add(std::vector<DivergenceSample>(60, sample)));
    REQUIRE((*log)->add({sample}));
    CHECK((*log)->counts()->at(0).count == 61);
    CHECK((*log)->samples(1000)->size() == 50);
    // What is known to differ is not lost behind what may differ and what is noise.
    DivergenceSample differs = sample;
    differs.outcome = "confirmed";
    DivergenceSample noise = differs;
    noise.aa = true;
    sample.outcome = "unresolved";
    REQUIRE((*log)->add({differs, noise, sample, noise, sample}));
    const auto newest = (*log)->samples(2);
    REQUIRE(newest->size() == 2);
    CHECK(newest->at(0).outcome == "confirmed");
    CHECK_FALSE(newest->at(0).aa);
    CHECK(newest->at(1).outcome == "unresolved");
}

TEST_CASE("the last event of each code and of what it is about, however many others came") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    auto store = WorkflowStore::open(path, OpenMode::create);
    REQUIRE(store);
    const auto row = (*store)->create_migration(settings_with("x"), Owner{});
    REQUIRE(row);
    const auto add = [&](const char* code, const char* data) {
        return *(*store)->add_event(row->id, "warn", code, "text", data);
    };
    const char* source = R"({"about":"source"})";
    const char* target = R"({"about":"target"})";
    const int64_t far = add("stream.lag", "{}");
    add("endpoint.down", source);
    add("endpoint.down", target);
    const int64_t over = add("endpoint.down-over", source);
    const int64_t down_again = add("endpoint.down", source);
    const int64_t down_target = add("endpoint.down", R"({"about":"target","more":1})");
    add("copy.progress", source);
    const std::vector<std::string> codes{"endpoint.down", "endpoint.down-over", "stream.lag"};
    const auto ids = [&](int64_t migration, std::size_t look_back) {
        const auto events = (*store)->last_events(migration, codes, look_back);
        REQUIRE(events);
        std::vector<int64_t> out;
        for (const EventRow& one : *events) out.push_back(one.id);
        return out;
    };
    CHECK(ids(row->id, 1'000) == std::vector<int64_t>{far, over, down_again, down_target});
    CHECK(ids(row->id, 4) == std::vector<int64_t>{over, down_again, down_target});
    CHECK(ids(row->id + 1, 1'000).empty());
}
