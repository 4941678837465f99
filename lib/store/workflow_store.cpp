// WorkflowStore: the migration row, its transitions, context and endpoints. The other tables:
// workflow_store_*.cpp.
#include "store/workflow_store.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/digest.h"
#include "core/json_text.h"
#include "store/database.h"
#include "store/statement.h"

namespace exodus {

using nlohmann::json;

namespace {

std::string fresh_lineage() {
    const std::string bytes = random_bytes(8);
    return sha256_hex(bytes).substr(0, 16);
}

void insert_endpoint(SQLite::Database& db, int64_t migration, const EndpointRow& row) {
    run(db,
        "INSERT INTO endpoint (migration_id, side, family, address, user, tls, version) VALUES "
        "(?1, ?2, ?3, ?4, ?5, ?6, ?7) "
        "ON CONFLICT (migration_id, side) DO UPDATE SET family = ?3, address = ?4, user = ?5, tls "
        "= ?6, "
        "version = CASE WHEN ?7 = '' THEN version ELSE ?7 END",
        migration, to_string(row.side), row.family, row.address, row.user, row.tls, row.version);
}

EndpointRow endpoint_row(const Endpoint& endpoint) {
    EndpointRow row;
    row.side = endpoint.side;
    row.family = endpoint.family;
    row.address = endpoint.address();
    row.user = endpoint.user;
    row.tls = endpoint.tls.enabled;
    return row;
}

std::string stands(const MigrationRow& row) {
    return "it is '" + std::string(to_string(row.state)) + "' at epoch " +
           std::to_string(row.route.epoch) + " now";
}

/// "ready → holding, authority source; migrate --switch by mira@ops1: rehearsed twice"
void tell_transition(SQLite::Database& db, const MigrationRow& from, const Transition& change,
                     uint64_t epoch) {
    const MigrationRow& to = change.row;
    const bool moved = to.state != from.state;
    const std::string text =
        moved ? fmt::format("{} → {}, authority {}", to_string(from.state), to_string(to.state),
                            to_string(to.route.authority))
              : fmt::format("route of epoch {} ({}){}", epoch, to_string(to.state),
                            to.route.hold ? ", writes held" : "");
    const json data{{"epoch", epoch},
                    {"from", to_string(from.state)},
                    {"to", to_string(to.state)},
                    {"authority", to_string(to.route.authority)},
                    {"by", owner_name(change.owner)},
                    {"command", change.command},
                    {"reason", change.reason}};
    insert_event(
        db, from.id, "info", moved ? "state.changed" : "route.changed",
        fmt::format("{}; {}{}by {}{}{}", text, change.command, change.command.empty() ? "" : " ",
                    owner_name(change.owner), change.reason.empty() ? "" : ": ", change.reason),
        json_text(data));
}

/// Nobody changed state or epoch since `expected` was read.
Status unchanged(const MigrationRow& expected, const MigrationRow& now, const std::string& doing) {
    if (now.state == expected.state && now.route.epoch == expected.route.epoch) return {};
    return fail(ErrorCode::not_allowed,
                doing + ": another command changed it meanwhile; " + stands(now),
                "look with: exodus status");
}

}  // namespace

WorkflowStore::WorkflowStore(std::string path, std::unique_ptr<Database> database)
    : path_(std::move(path)), database_(std::move(database)) {}
WorkflowStore::~WorkflowStore() = default;

void WorkflowStore::set_busy(milliseconds busy) { database_->set_busy(busy); }

Result<std::unique_ptr<WorkflowStore>> WorkflowStore::open(const std::string& path, OpenMode mode,
                                                           milliseconds busy) {
    const auto database_mode = mode == OpenMode::create     ? Database::Mode::create
                               : mode == OpenMode::existing ? Database::Mode::existing
                                                            : Database::Mode::read_only;
    auto database = Database::open(path, database_mode, state_file_kind(), busy);
    if (!database) return tl::unexpected(std::move(database).error());
    return std::unique_ptr<WorkflowStore>(new WorkflowStore(path, std::move(*database)));
}

Result<MigrationRow> WorkflowStore::create_migration(const Settings& settings, const Owner& owner) {
    return database_->write(
        "creating migration " + settings.migration,
        [&](SQLite::Database& db) -> Result<MigrationRow> {
            if (auto there = load_migration(db, settings.migration)) {
                if (there->family != settings.family) {
                    return fail(ErrorCode::not_allowed,
                                "migration " + settings.migration +
                                    " exists already, of the family " + there->family,
                                "name another one with --migration");
                }
                return *there;
            }
            const int64_t now = wall_ms();
            run(db,
                "INSERT INTO migration (name, family, state, epoch, authority, writes, reads, "
                "hold, hold_deadline_ms, "
                "mirror_percent, aa_percent, canary_percent, migrating, forward, reverse, "
                "strategy, attempt, switched_ms, "
                "flag_paused, forward_degraded, forward_blocked, config_hash, plan_hash, lineage, "
                "schema_hash, tool_version, "
                "created_ms, updated_ms) VALUES (?, ?, 'new', 1, 'source', 'source', 'source', 0, "
                "0, 0, 0, 0, 0, 'off', 'off', "
                "?, 1, 0, '', '', '', ?, '', '', '', '', ?, ?)",
                settings.migration, settings.family, to_string(settings.migrate.strategy),
                settings.config_hash, now, now);
            const int64_t id = db.getLastInsertRowid();
            insert_endpoint(db, id, endpoint_row(settings.source));
            Endpoint target = settings.target;
            target.side = Side::target;
            insert_endpoint(db, id, endpoint_row(target));
            run(db,
                "INSERT INTO epoch_log (migration_id, epoch, at_ms, from_state, to_state, "
                "authority, writes, reads, hold, command, "
                "reason, by) VALUES (?, 1, ?, 'new', 'new', 'source', 'source', 'source', 0, "
                "'init', '', ?)",
                id, now, owner_name(owner));
            insert_event(db, id, "info", "migration.created",
                         "migration " + settings.migration + " was created", "{}");
            return *load_migration(db, id);
        });
}

Result<MigrationRow> WorkflowStore::find_migration(std::string_view name) {
    auto row = database_->read("reading migration " + std::string(name),
                               [&](SQLite::Database& db) { return load_migration(db, name); });
    if (!row) return tl::unexpected(std::move(row).error());
    if (!*row) {
        return fail(ErrorCode::no_input, "the state file has no migration " + std::string(name),
                    "make one with: exodus init, or name it with --migration");
    }
    return **row;
}

Result<std::vector<MigrationRow>> WorkflowStore::migrations() {
    return database_->read("reading migrations", [](SQLite::Database& db) {
        return collect(statement(db, "SELECT " + kMigrationColumns + " FROM migration ORDER BY id"),
                       migration_at);
    });
}

Result<MigrationRow> WorkflowStore::transition(const MigrationRow& expected,
                                               const Transition& change) {
    const std::string doing = "changing migration " + expected.name;
    return database_->write(doing, [&](SQLite::Database& db) -> Result<MigrationRow> {
        const auto now_row = load_migration(db, expected.id);
        if (!now_row)
            return fail(ErrorCode::no_input, doing + ": it is not in the state file any more");
        EXODUS_TRY(unchanged(expected, *now_row, doing));
        const MigrationRow& row = change.row;
        const Route& route = row.route;
        const uint64_t epoch = expected.route.epoch + 1;
        const int64_t now = wall_ms();
        const bool fill_begins = now_row->forward == MovementMode::off &&
                                 now_row->reverse == MovementMode::off &&
                                 row.forward != MovementMode::off;
        run(db,
            "UPDATE migration SET state = ?, epoch = ?, authority = ?, writes = ?, reads = ?, hold "
            "= ?, hold_deadline_ms = ?, "
            "mirror_percent = ?, aa_percent = ?, canary_percent = ?, migrating = ?, forward = ?, "
            "reverse = ?, strategy = ?, "
            "attempt = ?, switched_ms = ?, flag_paused = ?, forward_degraded = ?, forward_blocked "
            "= ?, reverse_degraded = ?, reverse_blocked = ?, config_hash = ?, "
            "updated_ms = ? WHERE id = ?",
            to_string(row.state), epoch, to_string(route.authority), to_string(route.writes),
            to_string(route.reads), route.hold, route.hold_deadline_ms, route.mirror_percent,
            route.aa_percent, route.canary_percent, route.migrating, to_string(row.forward),
            to_string(row.reverse), row.strategy, row.attempt, row.switched_ms, row.flag_paused,
            row.forward_flags.degraded, row.forward_flags.blocked, row.reverse_flags.degraded,
            row.reverse_flags.blocked, row.config_hash, now, expected.id);
        if (fill_begins)
            run(db, "UPDATE migration SET lineage = ? WHERE id = ?", fresh_lineage(), expected.id);
        run(db,
            "INSERT INTO epoch_log (migration_id, epoch, at_ms, from_state, to_state, authority, "
            "writes, reads, hold, command, "
            "reason, by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            expected.id, epoch, now, to_string(expected.state), to_string(row.state),
            to_string(route.authority), to_string(route.writes), to_string(route.reads), route.hold,
            change.command, change.reason, owner_name(change.owner));
        if (change.decision) {
            DecisionRow decision = *change.decision;
            decision.epoch = epoch;
            insert_decision(db, expected.id, decision);
        }
        for (const StepMark& mark : change.steps)
            upsert_step(db, mark.run_id, mark.step, mark.done, mark.note);
        if (change.run) {
            run(db, "UPDATE phase_run SET status = ?, detail = ?, ended_ms = ? WHERE id = ?",
                change.run->status, change.run->detail, change.run->ended_ms, change.run->id);
        }
        tell_transition(db, expected, change, epoch);
        return *load_migration(db, expected.id);
    });
}

Status WorkflowStore::set_mirror(const MigrationRow& expected, double percent, const Owner& owner) {
    const std::string doing = "changing the mirrored share of " + expected.name;
    return database_->write(doing, [&](SQLite::Database& db) -> Status {
        const auto now = load_migration(db, expected.id);
        if (!now)
            return fail(ErrorCode::no_input, doing + ": it is not in the state file any more");
        EXODUS_TRY(unchanged(expected, *now, doing));
        run(db, "UPDATE migration SET mirror_percent = ?, updated_ms = ? WHERE id = ?", percent,
            wall_ms(), expected.id);
        insert_event(db, expected.id, "info", "route.mirror",
                     fmt::format("{:g} % of the comparable reads are mirrored (asked by {})",
                                 percent, owner_name(owner)),
                     "{}");
        return {};
    });
}

Status WorkflowStore::set_paused(int64_t migration, std::string_view why, const Owner& owner) {
    return database_->write("storing the pause", [&](SQLite::Database& db) -> Status {
        const bool was =
            !first(statement(db, "SELECT flag_paused FROM migration WHERE id = ?", migration),
                   [](SQLite::Statement& query) { return text_at(query, 0); })
                 .value_or("")
                 .empty();
        if (why.empty() && was)
            insert_event(db, migration, "info", "copy.resumed",
                         "the copy goes on (asked by " + owner_name(owner) + ")", "{}");
        if (!why.empty() && !was)
            insert_event(db, migration, "info", "copy.paused",
                         "the copy rests, " + std::string(why) + "; changes are still followed",
                         "{}");
        run(db, "UPDATE migration SET flag_paused = ?, updated_ms = ? WHERE id = ?", why, wall_ms(),
            migration);
        return {};
    });
}

Status WorkflowStore::set_flags(int64_t migration, Direction direction,
                                const MovementFlags& flags) {
    const std::string name(to_string(direction));
    return database_->write("storing the flags of " + name, [&](SQLite::Database& db) -> Status {
        run(db,
            "UPDATE migration SET " + name + "_degraded = ?, " + name +
                "_blocked = ?, updated_ms = ? WHERE id = ?",
            flags.degraded, flags.blocked, wall_ms(), migration);
        return {};
    });
}

Result<std::vector<EpochRow>> WorkflowStore::epochs(int64_t migration, std::size_t limit) {
    return database_->read("reading the epoch log", [&](SQLite::Database& db) {
        return collect(
            statement(db,
                      "SELECT epoch, at_ms, from_state, to_state, authority, writes, reads, hold, "
                      "command, reason, "
                      "by FROM epoch_log WHERE migration_id = ? ORDER BY epoch DESC LIMIT ?",
                      migration, limit),
            [](SQLite::Statement& query) {
                EpochRow row;
                row.epoch = uint_at(query, 0);
                row.at_ms = int_at(query, 1);
                row.from =
                    migration_state_from(text_at(query, 2)).value_or(MigrationState::created);
                row.to = migration_state_from(text_at(query, 3)).value_or(MigrationState::created);
                row.authority = side_from(text_at(query, 4));
                row.writes = side_from(text_at(query, 5));
                row.reads = side_from(text_at(query, 6));
                row.hold = bool_at(query, 7);
                row.command = text_at(query, 8);
                row.reason = text_at(query, 9);
                row.by = text_at(query, 10);
                return row;
            });
    });
}

Result<EvidenceContext> WorkflowStore::context(int64_t migration) {
    return database_->read("reading the context", [&](SQLite::Database& db) {
        const auto row = first(
            statement(
                db,
                "SELECT config_hash, plan_hash, lineage, schema_hash, tool_version FROM migration "
                "WHERE id = ?",
                migration),
            [](SQLite::Statement& query) {
                return EvidenceContext{text_at(query, 0), text_at(query, 1), text_at(query, 2),
                                       text_at(query, 3), text_at(query, 4)};
            });
        return row.value_or(EvidenceContext{});
    });
}

Status WorkflowStore::set_context(int64_t migration, const EvidenceContext& context) {
    return database_->write("storing the context", [&](SQLite::Database& db) -> Status {
        run(db,
            "UPDATE migration SET config_hash = CASE WHEN ?1 = '' THEN config_hash ELSE ?1 END, "
            "plan_hash = CASE WHEN ?2 = '' THEN plan_hash ELSE ?2 END, "
            "schema_hash = CASE WHEN ?3 = '' THEN schema_hash ELSE ?3 END, "
            "tool_version = CASE WHEN ?4 = '' THEN tool_version ELSE ?4 END WHERE id = ?5",
            context.config_hash, context.plan_hash, context.schema_hash, context.tool_version,
            migration);
        return {};
    });
}

Status WorkflowStore::put_endpoint(int64_t migration, const EndpointRow& row) {
    return database_->write("storing an endpoint", [&](SQLite::Database& db) -> Status {
        insert_endpoint(db, migration, row);
        return {};
    });
}

Result<std::vector<EndpointRow>> WorkflowStore::endpoints(int64_t migration) {
    return database_->read("reading the endpoints", [&](SQLite::Database& db) {
        return collect(statement(db,
                                 "SELECT side, family, address, user, tls, version FROM endpoint "
                                 "WHERE migration_id = ? ORDER BY side",
                                 migration),
                       [](SQLite::Statement& query) {
                           EndpointRow row;
                           row.side = side_from(text_at(query, 0));
                           row.family = text_at(query, 1);
                           row.address = text_at(query, 2);
                           row.user = text_at(query, 3);
                           row.tls = bool_at(query, 4);
                           row.version = text_at(query, 5);
                           return row;
                       });
    });
}

}  // namespace exodus
