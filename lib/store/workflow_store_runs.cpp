// WorkflowStore: phase runs, the cutover journal's steps, fences.
#include "base/clock.h"
#include "store/database.h"
#include "store/statement.h"
#include "store/workflow_store.h"

namespace exodus {

namespace {

constexpr const char* kRunColumns =
    "id, attempt, phase, status, owner, started_ms, ended_ms, detail";

RunRow run_at(SQLite::Statement& query) {
    RunRow row;
    row.id = int_at(query, 0);
    row.attempt = static_cast<int>(int_at(query, 1));
    row.phase = text_at(query, 2);
    row.status = text_at(query, 3);
    row.owner = owner_from(text_at(query, 4));
    row.started_ms = int_at(query, 5);
    row.ended_ms = int_at(query, 6);
    row.detail = text_at(query, 7);
    return row;
}

void mark_all(SQLite::Database& db, const std::vector<StepMark>& marks) {
    for (const StepMark& mark : marks)
        upsert_step(db, mark.run_id, mark.step, mark.done, mark.note);
}

}  // namespace

Result<int64_t> WorkflowStore::begin_run(int64_t migration, int attempt, std::string_view phase,
                                         const Owner& owner, std::string_view detail,
                                         const std::optional<NewEvent>& event) {
    return database_->write(
        "beginning " + std::string(phase), [&](SQLite::Database& db) -> Result<int64_t> {
            run(db,
                "INSERT INTO phase_run (migration_id, attempt, phase, status, owner, started_ms, "
                "ended_ms, detail) "
                "VALUES (?, ?, ?, 'running', ?, ?, 0, ?)",
                migration, attempt, phase, owner_json(owner), wall_ms(), detail);
            const int64_t id = db.getLastInsertRowid();
            if (event)
                insert_event(db, migration, event->severity, event->code, event->text, event->data);
            return id;
        });
}

Status WorkflowStore::end_run(int64_t id, std::string_view status, std::string_view detail) {
    return database_->write("ending a run", [&](SQLite::Database& db) -> Status {
        run(db,
            "UPDATE phase_run SET status = ?1, ended_ms = ?2, detail = CASE WHEN ?3 = '' THEN "
            "detail ELSE ?3 END WHERE id = ?4",
            status, wall_ms(), detail, id);
        return {};
    });
}

Status WorkflowStore::update_run(int64_t id, std::string_view status, std::string_view detail) {
    return database_->write("updating a run", [&](SQLite::Database& db) -> Status {
        run(db,
            "UPDATE phase_run SET status = ?1, detail = CASE WHEN ?2 = '' THEN detail ELSE ?2 END "
            "WHERE id = ?3",
            status, detail, id);
        return {};
    });
}

Result<std::optional<RunRow>> WorkflowStore::open_run(int64_t migration,
                                                      std::string_view phase_prefix) {
    return database_->read("reading the open run", [&](SQLite::Database& db) {
        return first(statement(db,
                               "SELECT " + std::string(kRunColumns) +
                                   " FROM phase_run WHERE migration_id = ?1 AND ended_ms = 0 AND "
                                   "substr(phase, 1, length(?2)) = ?2 ORDER BY id DESC LIMIT 1",
                               migration, phase_prefix),
                     run_at);
    });
}

Result<std::vector<RunRow>> WorkflowStore::runs(int64_t migration, std::size_t limit) {
    return database_->read("reading the runs", [&](SQLite::Database& db) {
        return collect(
            statement(db,
                      "SELECT " + std::string(kRunColumns) +
                          " FROM phase_run WHERE migration_id = ? ORDER BY id DESC LIMIT ?",
                      migration, limit),
            run_at);
    });
}

Status WorkflowStore::mark_steps(const std::vector<StepMark>& marks) {
    return database_->write("writing the journal", [&](SQLite::Database& db) -> Status {
        mark_all(db, marks);
        return {};
    });
}

Result<std::vector<StepRow>> WorkflowStore::steps(int64_t run_id) {
    return database_->read("reading the journal", [&](SQLite::Database& db) {
        return collect(statement(db,
                                 "SELECT step, done, note, intent_us, done_us FROM step WHERE "
                                 "run_id = ? ORDER BY step",
                                 run_id),
                       [](SQLite::Statement& query) {
                           StepRow row;
                           row.step = text_at(query, 0);
                           row.done = bool_at(query, 1);
                           row.note = text_at(query, 2);
                           row.intent_us = int_at(query, 3);
                           row.done_us = int_at(query, 4);
                           return row;
                       });
    });
}

Status WorkflowStore::put_fence(int64_t migration, const FenceRow& row,
                                const std::vector<StepMark>& marks) {
    return database_->write("storing the fence", [&](SQLite::Database& db) -> Status {
        run(db,
            "INSERT INTO fence (migration_id, side, prepared, run_id, at_ms) VALUES (?1, ?2, ?3, "
            "?4, ?5) ON CONFLICT (migration_id, side) DO UPDATE SET run_id = ?4",
            migration, to_string(row.side), row.prepared, row.run_id, wall_ms());
        mark_all(db, marks);
        return {};
    });
}

Result<std::optional<FenceRow>> WorkflowStore::fence(int64_t migration, Side side) {
    return database_->read("reading the fence", [&](SQLite::Database& db) {
        return first(statement(db,
                               "SELECT side, prepared, run_id, at_ms FROM fence WHERE "
                               "migration_id = ? AND side = ?",
                               migration, to_string(side)),
                     [](SQLite::Statement& query) {
                         FenceRow row;
                         row.side = side_from(text_at(query, 0));
                         row.prepared = text_at(query, 1);
                         row.run_id = int_at(query, 2);
                         row.at_ms = int_at(query, 3);
                         return row;
                     });
    });
}

Status WorkflowStore::erase_fence(int64_t migration, Side side,
                                  const std::vector<StepMark>& marks) {
    return database_->write("forgetting the fence", [&](SQLite::Database& db) -> Status {
        run(db, "DELETE FROM fence WHERE migration_id = ? AND side = ?", migration,
            to_string(side));
        mark_all(db, marks);
        return {};
    });
}

}  // namespace exodus
