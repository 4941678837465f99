// What the state file says when the disk, another process or an older schema is in the way; nothing
// is lost by it.
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/database.h"
#include "store/workflow_store.h"
#include "tests/support/process.h"

using namespace exodus;

namespace {

using Dir = test::TempDir;

Settings plain_settings() {
    Settings settings;
    settings.migration = "m";
    settings.family = "redis";
    return settings;
}

/// A connection of somebody else to the same file.
class Other {
  public:
    explicit Other(const std::string& path) {
        REQUIRE(sqlite3_open(path.c_str(), &db_) == SQLITE_OK);
    }
    ~Other() { sqlite3_close(db_); }
    Other(const Other&) = delete;
    Other& operator=(const Other&) = delete;
    void run(const std::string& sql) {
        REQUIRE(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
    }

  private:
    sqlite3* db_ = nullptr;
};

}  // namespace

TEST_CASE("a directory that cannot hold the file") {
    const Dir dir;
    std::ofstream(dir.file("plain")) << "a file where a directory should be";
    const auto inside = WorkflowStore::open(dir.file("plain/s.db"), OpenMode::create);
    REQUIRE_FALSE(inside);
    CHECK(inside.error().code == ErrorCode::cannot_create);
    CHECK(inside.error().message.find("s.db") != std::string::npos);
    const auto absent = WorkflowStore::open(dir.file("absent/s.db"), OpenMode::create);
    REQUIRE_FALSE(absent);
    CHECK(absent.error().code == ErrorCode::cannot_create);
    CHECK_FALSE(WorkflowStore::open(dir.path(), OpenMode::create));
}

TEST_CASE("what a killed process left half-written is taken back, also by who only reads") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    {
        auto store = WorkflowStore::open(path, OpenMode::create);
        REQUIRE(store);
        REQUIRE((*store)->create_migration(plain_settings(), current_owner()));
    }
    const pid_t child = ::fork();
    if (child == 0) {
        // So large that it goes to the file before its end, with the journal beside it.
        sqlite3* db = nullptr;
        if (sqlite3_open(path.c_str(), &db) != SQLITE_OK) ::_exit(1);
        const char* sql =
            "PRAGMA journal_mode=TRUNCATE; PRAGMA cache_size=2; BEGIN;"
            "UPDATE migration SET name='half-written'; CREATE TABLE x (a);"
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) "
            "INSERT INTO x SELECT randomblob(2000) FROM n;";
        ::_exit(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK ? 0 : 2);
    }
    int how = 0;
    REQUIRE(::waitpid(child, &how, 0) == child);
    REQUIRE(how == 0);
    REQUIRE(std::filesystem::file_size(path + "-journal") > 0);
    auto store = WorkflowStore::open(path, OpenMode::read_only);
    INFO((store ? "" : store.error().message));
    REQUIRE(store);
    CHECK((*store)->find_migration("m").has_value());
    CHECK((*store)->add_event(0, "info", "x", "y").error().code == ErrorCode::cannot_create);
}

TEST_CASE("read-only never writes, and says so") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    CHECK(WorkflowStore::open(path, OpenMode::read_only).error().code == ErrorCode::no_input);
    CHECK_FALSE(std::filesystem::exists(path));
    {
        auto store = WorkflowStore::open(path, OpenMode::create);
        REQUIRE(store);
        REQUIRE((*store)->create_migration(plain_settings(), current_owner()));
    }
    auto store = WorkflowStore::open(path, OpenMode::read_only);
    REQUIRE(store);
    const auto row = (*store)->find_migration("m");
    REQUIRE(row);
    const auto before = (*store)->events_since(row->id, 0, 10)->size();
    const auto written = (*store)->add_event(row->id, "info", "x", "y");
    REQUIRE_FALSE(written);
    CHECK(written.error().code == ErrorCode::cannot_create);
    CHECK((*store)->events_since(row->id, 0, 10)->size() == before);
}

TEST_CASE(
    "another process that keeps writing: locked, after the busy timeout, and it works afterwards") {
    const Dir dir;
    auto store = WorkflowStore::open(dir.file("s.db"), OpenMode::create, milliseconds(300));
    REQUIRE(store);
    const auto row = (*store)->create_migration(plain_settings(), current_owner());
    REQUIRE(row);
    Other other(dir.file("s.db"));
    other.run("BEGIN EXCLUSIVE");
    const auto refused = (*store)->add_event(row->id, "info", "x", "y");
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::locked);
    other.run("COMMIT");
    CHECK((*store)->add_event(row->id, "info", "x", "y"));
}

TEST_CASE("a full disk: the transaction fails whole, the file stays usable") {
    // A tmpfs that may not grow needs rights which not everybody who runs the tests has: only
    // there.
    const Dir dir;
    const std::string mount = dir.file("disk");
    std::filesystem::create_directory(mount);
    const std::string path = mount + "/s.db";
    if (::mount("exodus-test", mount.c_str(), "tmpfs", 0, "size=1m") != 0) {
        MESSAGE("no right to mount a small disk: not tried");
        return;
    }
    const struct Mounted {
        std::string path;
        ~Mounted() { ::umount(path.c_str()); }
    } mounted{mount};
    {
        auto store = WorkflowStore::open(path, OpenMode::create);
        REQUIRE(store);
        const auto row = (*store)->create_migration(plain_settings(), current_owner());
        REQUIRE(row);
        const std::string text(40'000, 'x');
        Result<int64_t> last = int64_t{0};
        std::size_t stored = 0;
        while (last && stored < 100) {
            last = (*store)->add_event(row->id, "info", "x", text);
            if (last) ++stored;
        }
        CHECK_FALSE(last);
        if (!last) CHECK(last.error().code == ErrorCode::cannot_create);
        const auto events = (*store)->events_since(row->id, 0, 1000);
        REQUIRE(events);
        CHECK(events->size() >= stored);
        CHECK((*store)->find_migration("m"));
    }
}

TEST_CASE("a damaged file is reported as such") {
    const Dir dir;
    const std::string path = dir.file("s.db");
    {
        auto store = WorkflowStore::open(path, OpenMode::create);
        REQUIRE(store);
        REQUIRE((*store)->create_migration(plain_settings(), current_owner()));
    }
    {
        // The head stays, so it is still a database of exodus; the pages behind it are noise.
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(100);
        const auto size = std::filesystem::file_size(path);
        file << std::string(static_cast<std::size_t>(size) - 100, '\xa5');
    }
    const auto store = WorkflowStore::open(path, OpenMode::existing);
    const auto code = store ? (*store)->find_migration("m").error().code : store.error().code;
    CHECK(code == ErrorCode::data);
}

TEST_CASE("an older schema is brought up to date once, by who may write") {
    const Dir dir;
    const std::string path = dir.file("old.db");
    FileKind kind;
    kind.what = "the test file";
    kind.application_id = 0x65786f74;
    const std::vector<std::string_view> first = {"CREATE TABLE a (x INTEGER)"};
    const std::vector<std::string_view> both = {"CREATE TABLE a (x INTEGER)",
                                                "ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 7"};
    kind.steps = first;
    REQUIRE(Database::open(path, Database::Mode::create, kind));
    Other(path).run("INSERT INTO a (x) VALUES (1)");
    kind.steps = both;
    const auto looked = Database::open(path, Database::Mode::read_only, kind);
    REQUIRE_FALSE(looked);
    CHECK(looked.error().message.find("older schema") != std::string::npos);
    REQUIRE(Database::open(path, Database::Mode::existing, kind));
    REQUIRE(Database::open(path, Database::Mode::read_only, kind));
    Other(path).run("UPDATE a SET y = y + 1 WHERE x = 1 AND y = 7");
    kind.steps = first;  // and the older exodus refuses what the newer one made
    CHECK(Database::open(path, Database::Mode::existing, kind).error().code == ErrorCode::data);
}
