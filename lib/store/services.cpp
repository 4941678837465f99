// StateSource, WorkerRegistry and Journal on the state file, each with a connection of its own.
#include "store/services.h"

#include "base/clock.h"
#include "base/limits.h"
#include "store/database.h"
#include "store/statement.h"

namespace exodus {

namespace {

struct Opened {
    std::unique_ptr<Database> database;
    int64_t migration = 0;
};

Result<Opened> open_existing(const std::string& path, const std::string& migration,
                             Database::Mode mode, milliseconds busy) {
    auto database = Database::open(path, mode, state_file_kind(), busy);
    if (!database) return tl::unexpected(std::move(database).error());
    auto row = (*database)->read("reading migration " + migration, [&](SQLite::Database& db) {
        return load_migration(db, migration);
    });
    if (!row) return tl::unexpected(std::move(row).error());
    if (!*row)
        return fail(ErrorCode::no_input, "the state file has no migration " + migration,
                    "make one with: exodus init");
    return Opened{std::move(*database), (*row)->id};
}

class SqliteStateSource final : public StateSource {
  public:
    explicit SqliteStateSource(Opened opened)
        : database_(std::move(opened.database)), migration_(opened.migration) {}

    Result<MigrationRow> read() override {
        // The version first: a change between the two is seen again by the next changed(), never
        // missed.
        auto version = data_version();
        if (!version) return tl::unexpected(std::move(version).error());
        auto row = database_->read("reading the migration", [&](SQLite::Database& db) {
            return load_migration(db, migration_);
        });
        if (!row) return tl::unexpected(std::move(row).error());
        if (!*row)
            return fail(ErrorCode::no_input, "the migration is not in the state file any more");
        const std::scoped_lock lock(mutex_);
        seen_ = *version;
        return **row;
    }

    Result<bool> changed() override {
        auto version = data_version();
        if (!version) return tl::unexpected(std::move(version).error());
        const std::scoped_lock lock(mutex_);
        return *version != seen_;
    }

  private:
    Result<int64_t> data_version() {
        return database_->read("looking at the state file", [](SQLite::Database& db) {
            return db.execAndGet("PRAGMA data_version").getInt64();
        });
    }

    std::unique_ptr<Database> database_;
    int64_t migration_;
    std::mutex mutex_;
    int64_t seen_ = -1;
};

class SqliteWorkerRegistry final : public WorkerRegistry {
  public:
    explicit SqliteWorkerRegistry(Opened opened)
        : database_(std::move(opened.database)), migration_(opened.migration) {}

    Status put(const WorkerRow& row) override {
        return database_->write("registering the worker", [&](SQLite::Database& db) -> Status {
            run(db,
                "INSERT INTO worker (migration_id, id, pid, pid_start, host, control, listen, "
                "epoch, writes_in_flight, held, "
                "blocker, started_ms, seen_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
                "?11, ?12, ?13) "
                "ON CONFLICT (migration_id, id) DO UPDATE SET pid = ?3, pid_start = ?4, host = ?5, "
                "control = ?6, listen = ?7, "
                "epoch = ?8, writes_in_flight = ?9, held = ?10, blocker = ?11, started_ms = ?12, "
                "seen_ms = ?13",
                migration_, row.id, row.pid, row.pid_start, row.host, row.control, row.listen,
                row.epoch, row.writes_in_flight, row.held, row.blocker, row.started_ms,
                row.seen_ms);
            return {};
        });
    }

    Status remove(std::string_view id) override {
        return database_->write("removing the worker", [&](SQLite::Database& db) -> Status {
            run(db, "DELETE FROM worker WHERE migration_id = ? AND id = ?", migration_, id);
            return {};
        });
    }

    Result<std::vector<WorkerRow>> list() override {
        return database_->read("reading the workers",
                               [&](SQLite::Database& db) { return load_workers(db, migration_); });
    }

  private:
    std::unique_ptr<Database> database_;
    int64_t migration_;
};

class SqliteJournal final : public Journal {
  public:
    explicit SqliteJournal(Opened opened)
        : database_(std::move(opened.database)), migration_(opened.migration) {}

    Status save_position(std::string_view direction, std::string_view name,
                         std::string_view value) override {
        return save_positions(direction, {{name, std::string(value)}});
    }

    Status save_positions(
        std::string_view direction,
        const std::vector<std::pair<std::string_view, std::string>>& positions) override {
        for (const auto& [name, value] : positions) {
            if (value.size() <= limits::kPosition_bytes_max) continue;
            return fail(ErrorCode::internal,
                        "position " + std::string(name) + " is larger than 64 KiB");
        }
        const std::string names(positions.empty() ? "" : positions.front().first);
        return database_->write("storing position " + names, [&](SQLite::Database& db) -> Status {
            for (const auto& [name, value] : positions) {
                run(db,
                    "INSERT INTO position (migration_id, direction, name, value, at_ms) VALUES "
                    "(?1, ?2, ?3, ?4, ?5) ON CONFLICT (migration_id, direction, name) DO UPDATE "
                    "SET value = ?4, at_ms = ?5",
                    migration_, direction, name, value, wall_ms());
            }
            return {};
        });
    }

    Result<std::optional<std::string>> load_position(std::string_view direction,
                                                     std::string_view name) override {
        return database_->read("reading position " + std::string(name), [&](SQLite::Database& db) {
            return first(statement(db,
                                   "SELECT value FROM position WHERE migration_id = ? AND "
                                   "direction = ? AND name = ?",
                                   migration_, direction, name),
                         [](SQLite::Statement& query) { return text_at(query, 0); });
        });
    }

    Status erase_positions(std::string_view direction) override {
        return database_->write("erasing positions", [&](SQLite::Database& db) -> Status {
            run(db, "DELETE FROM position WHERE migration_id = ? AND direction = ?", migration_,
                direction);
            return {};
        });
    }

    Status add_item_error(const ItemError& error) override {
        return database_->write("storing an item error", [&](SQLite::Database& db) -> Status {
            run(db,
                "INSERT INTO item_error (migration_id, direction, location, key, reason, attempts, "
                "at_ms) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (migration_id, direction, "
                "location, key) DO UPDATE SET "
                "reason = ?5, attempts = attempts + ?6, at_ms = ?7",
                migration_, error.direction, error.location, Blob{error.key}, error.reason,
                error.attempts, error.at_ms == 0 ? wall_ms() : error.at_ms);
            return {};
        });
    }

    Result<std::vector<ItemError>> item_errors(std::string_view direction,
                                               std::size_t limit) override {
        return database_->read("reading item errors", [&](SQLite::Database& db) {
            return load_item_errors(db, migration_, direction, limit);
        });
    }

    Status resolve_item_error(std::string_view direction, std::string_view location,
                              std::string_view key) override {
        return database_->write("resolving an item error", [&](SQLite::Database& db) -> Status {
            run(db,
                "DELETE FROM item_error WHERE migration_id = ? AND direction = ? AND location = ? "
                "AND key = ?",
                migration_, direction, location, Blob{key});
            return {};
        });
    }

    Status add_item_changes(const std::vector<ItemChange>& changes) override {
        if (changes.empty()) return {};
        return database_->write("storing changes of items",
                                [&](SQLite::Database& db) { return insert_changes(db, changes); });
    }

    Status replace_item_changes(std::string_view direction, const std::vector<std::string>& actions,
                                const std::vector<ItemChange>& changes) override {
        return database_->write("storing changes of items", [&](SQLite::Database& db) -> Status {
            for (const auto& action : actions) {
                run(db,
                    "DELETE FROM item_change WHERE migration_id = ? AND direction = ? AND action = "
                    "?",
                    migration_, direction, action);
            }
            return insert_changes(db, changes);
        });
    }

    Status add_event(std::string_view severity, std::string_view code,
                     std::string_view text) override {
        return database_->write("storing an event", [&](SQLite::Database& db) -> Status {
            insert_event(db, migration_, severity, code, text, "{}");
            return {};
        });
    }

  private:
    Status insert_changes(SQLite::Database& db, const std::vector<ItemChange>& changes) const {
        const auto stored = first(
            statement(db, "SELECT count(*) FROM item_change WHERE migration_id = ?", migration_),
            [](SQLite::Statement& query) { return uint_at(query, 0); });
        uint64_t count = stored.value_or(0);
        for (const auto& change : changes) {
            if (count >= limits::kItemChanges_max) break;
            ++count;  // also for a row that takes the place of another: a bound, no sum
            run(db,
                "INSERT INTO item_change (migration_id, direction, location, key, side, action, "
                "reason, detail, at_ms) "
                "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (migration_id, direction, "
                "location, key) DO UPDATE SET "
                "side = ?5, action = ?6, reason = ?7, detail = ?8, at_ms = ?9",
                migration_, change.direction, change.location, Blob{change.key}, change.side,
                change.action, change.reason, change.detail,
                change.at_ms == 0 ? wall_ms() : change.at_ms);
        }
        return {};
    }

    std::unique_ptr<Database> database_;
    int64_t migration_;
};

template <class Interface, class Implementation>
Result<std::unique_ptr<Interface>> open_service(const std::string& path,
                                                const std::string& migration,
                                                milliseconds busy = Database::kBusy) {
    auto opened = open_existing(path, migration, Database::Mode::existing, busy);
    if (!opened) return tl::unexpected(std::move(opened).error());
    return std::unique_ptr<Interface>(std::make_unique<Implementation>(std::move(*opened)));
}

}  // namespace

Result<std::unique_ptr<StateSource>> open_state_source(const std::string& state_path,
                                                       const std::string& migration) {
    return open_service<StateSource, SqliteStateSource>(state_path, migration);
}

Result<std::unique_ptr<WorkerRegistry>> open_worker_registry(const std::string& state_path,
                                                             const std::string& migration) {
    return open_service<WorkerRegistry, SqliteWorkerRegistry>(state_path, migration);
}

Result<std::unique_ptr<Journal>> open_journal(const std::string& state_path,
                                              const std::string& migration, milliseconds busy) {
    return open_service<Journal, SqliteJournal>(state_path, migration, busy);
}

}  // namespace exodus
