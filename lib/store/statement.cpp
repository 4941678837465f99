// Rows that several of the store's files read and write: migration, worker, item error, event,
// decision, step.
#include "store/statement.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/clock.h"
#include "base/limits.h"
#include "core/json_text.h"

namespace exodus {

using nlohmann::json;

const std::string kMigrationColumns =
    "id, name, family, state, epoch, authority, writes, reads, hold, hold_deadline_ms, "
    "mirror_percent, aa_percent, "
    "canary_percent, migrating, forward, reverse, strategy, attempt, switched_ms, flag_paused, "
    "forward_degraded, forward_blocked, reverse_degraded, reverse_blocked, config_hash, "
    "created_ms, updated_ms";

namespace {

MovementMode mode_from(const std::string& text) {
    if (text == "apply") return MovementMode::apply;
    if (text == "standby") return MovementMode::standby;
    return MovementMode::off;
}

}  // namespace

MigrationRow migration_at(SQLite::Statement& query) {
    MigrationRow row;
    int c = 0;
    row.id = int_at(query, c++);
    row.name = text_at(query, c++);
    row.family = text_at(query, c++);
    const std::string state = text_at(query, c++);
    const auto known = migration_state_from(state);
    if (!known) throw std::runtime_error("the migration has the unknown state '" + state + "'");
    row.state = *known;
    row.route.epoch = uint_at(query, c++);
    row.route.authority = side_from(text_at(query, c++));
    row.route.writes = side_from(text_at(query, c++));
    row.route.reads = side_from(text_at(query, c++));
    row.route.hold = bool_at(query, c++);
    row.route.hold_deadline_ms = int_at(query, c++);
    row.route.mirror_percent = double_at(query, c++);
    row.route.aa_percent = double_at(query, c++);
    row.route.canary_percent = double_at(query, c++);
    row.route.migrating = bool_at(query, c++);
    row.forward = mode_from(text_at(query, c++));
    row.reverse = mode_from(text_at(query, c++));
    row.strategy = text_at(query, c++);
    row.attempt = static_cast<int>(int_at(query, c++));
    row.switched_ms = int_at(query, c++);
    row.flag_paused = text_at(query, c++);
    for (MovementFlags* flags : {&row.forward_flags, &row.reverse_flags}) {
        flags->degraded = text_at(query, c++);
        flags->blocked = text_at(query, c++);
    }
    row.config_hash = text_at(query, c++);
    row.created_ms = int_at(query, c++);
    row.updated_ms = int_at(query, c++);
    return row;
}

std::optional<MigrationRow> load_migration(SQLite::Database& db, int64_t id) {
    return first(statement(db, "SELECT " + kMigrationColumns + " FROM migration WHERE id = ?", id),
                 migration_at);
}

std::optional<MigrationRow> load_migration(SQLite::Database& db, std::string_view name) {
    return first(
        statement(db, "SELECT " + kMigrationColumns + " FROM migration WHERE name = ?", name),
        migration_at);
}

WorkerRow worker_at(SQLite::Statement& query) {
    WorkerRow row;
    row.id = text_at(query, 0);
    row.pid = int_at(query, 1);
    row.pid_start = int_at(query, 2);
    row.host = text_at(query, 3);
    row.control = text_at(query, 4);
    row.listen = text_at(query, 5);
    row.epoch = uint_at(query, 6);
    row.writes_in_flight = uint_at(query, 7);
    row.held = uint_at(query, 8);
    row.blocker = text_at(query, 9);
    row.started_ms = int_at(query, 10);
    row.seen_ms = int_at(query, 11);
    return row;
}

std::vector<WorkerRow> load_workers(SQLite::Database& db, int64_t migration) {
    return collect(
        statement(db,
                  "SELECT id, pid, pid_start, host, control, listen, epoch, writes_in_flight, "
                  "held, blocker, "
                  "started_ms, seen_ms FROM worker WHERE migration_id = ? ORDER BY started_ms, id",
                  migration),
        worker_at);
}

std::vector<ItemError> load_item_errors(SQLite::Database& db, int64_t migration,
                                        std::string_view direction, std::size_t limit) {
    return collect(
        statement(db,
                  "SELECT id, direction, location, key, reason, attempts, at_ms FROM item_error "
                  "WHERE migration_id = ? AND (? = '' OR direction = ?) ORDER BY id LIMIT ?",
                  migration, direction, direction, limit),
        [](SQLite::Statement& query) {
            ItemError error;
            error.id = int_at(query, 0);
            error.direction = text_at(query, 1);
            error.location = text_at(query, 2);
            error.key = text_at(query, 3);
            error.reason = text_at(query, 4);
            error.attempts = static_cast<int>(int_at(query, 5));
            error.at_ms = int_at(query, 6);
            return error;
        });
}

std::string owner_json(const Owner& owner) {
    return json_text({{"uid", owner.uid},
                      {"user", owner.user},
                      {"host", owner.host},
                      {"channel", owner.channel},
                      {"pid", owner.pid}});
}

Owner owner_from(const std::string& text) {
    const json in = json::parse(text, nullptr, false);
    Owner owner;
    if (!in.is_object()) return owner;
    owner.uid = in.value("uid", int64_t{0});
    owner.user = in.value("user", "");
    owner.host = in.value("host", "");
    owner.channel = in.value("channel", "");
    owner.pid = in.value("pid", int64_t{0});
    return owner;
}

std::string owner_name(const Owner& owner) { return owner.user + "@" + owner.host; }

int64_t insert_event(SQLite::Database& db, int64_t migration, std::string_view severity,
                     std::string_view code, std::string_view text, std::string_view data,
                     int64_t at_ms) {
    run(db,
        "INSERT INTO event (migration_id, at_ms, severity, code, text, data) VALUES (?, ?, ?, ?, "
        "?, ?)",
        migration, at_ms == 0 ? wall_ms() : at_ms, severity, code, text, data);
    const int64_t id = db.getLastInsertRowid();
    // Bounded: looked at only now and then, since a delete of one row for each insert would double
    // the writes.
    if (id % 1024 == 0) run(db, "DELETE FROM event WHERE id <= ?", id - limits::kEvents_max);
    return id;
}

int64_t insert_decision(SQLite::Database& db, int64_t migration, const DecisionRow& row) {
    run(db,
        "INSERT INTO decision (migration_id, attempt, kind, subject, reason, owner, config_hash, "
        "epoch, at_ms) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        migration, row.attempt, row.kind, row.subject, row.reason, owner_json(row.owner),
        row.config_hash, row.epoch, row.at_ms == 0 ? wall_ms() : row.at_ms);
    const int64_t id = db.getLastInsertRowid();
    insert_event(db, migration, "info", "decision." + row.kind,
                 owner_name(row.owner) + ": " + row.kind + " " + row.subject +
                     (row.reason.empty() ? "" : ", ") + row.reason,
                 json_text({{"kind", row.kind},
                            {"subject", row.subject},
                            {"by", owner_name(row.owner)},
                            {"via", row.owner.channel},
                            {"reason", row.reason}}));
    return id;
}

void upsert_step(SQLite::Database& db, int64_t run_id, std::string_view step, bool done,
                 std::string_view note) {
    const int64_t now = wall_us();
    run(db,
        "INSERT INTO step (run_id, step, done, note, intent_us, done_us) VALUES (?1, ?2, ?3, ?4, "
        "?5, ?6) "
        "ON CONFLICT (run_id, step) DO UPDATE SET done = max(done, ?3), note = CASE WHEN ?4 = '{}' "
        "THEN note ELSE ?4 END, "
        "done_us = CASE WHEN done = 0 THEN ?6 ELSE done_us END",
        run_id, step, done, note, now, done ? now : 0);
}

}  // namespace exodus
