// WorkflowStore: events, commands, workers, item errors; and who the owner of this process is.
#include <array>
#include <cstdlib>
#include <pwd.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/json_text.h"
#include "store/database.h"
#include "store/statement.h"
#include "store/workflow_store.h"

namespace exodus {

namespace {

/// The environment variable that each CI system sets, and its name for people.
constexpr std::array<std::pair<const char*, const char*>, 8> kCiSystems{
    {{"GITHUB_ACTIONS", "github-actions"},
     {"GITLAB_CI", "gitlab-ci"},
     {"JENKINS_URL", "jenkins"},
     {"BUILDKITE", "buildkite"},
     {"CIRCLECI", "circleci"},
     {"TEAMCITY_VERSION", "teamcity"},
     {"TF_BUILD", "azure-pipelines"},
     {"CI", "unnamed"}}};

std::string channel_of_process() {
    for (const auto& [variable, name] : kCiSystems) {
        const char* value = std::getenv(variable);
        if (value != nullptr && *value != '\0' && std::string_view(value) != "false")
            return std::string("ci ") + name;
    }
    std::array<char, 128> name{};
    for (const int fd : {STDIN_FILENO, STDERR_FILENO}) {
        if (::isatty(fd) == 1 && ::ttyname_r(fd, name.data(), name.size()) == 0) {
            return std::string("terminal ") + name.data();
        }
    }
    return "script";
}

constexpr const char* kEventColumns = "SELECT id, at_ms, severity, code, text, data FROM event ";

EventRow event_at(SQLite::Statement& query) {
    EventRow row;
    row.id = int_at(query, 0);
    row.at_ms = int_at(query, 1);
    row.severity = text_at(query, 2);
    row.code = text_at(query, 3);
    row.text = text_at(query, 4);
    row.data = text_at(query, 5);
    return row;
}

}  // namespace

Owner current_owner() {
    Owner owner;
    owner.uid = static_cast<int64_t>(::getuid());
    owner.pid = static_cast<int64_t>(::getpid());
    std::array<char, 4096> buffer{};
    struct passwd entry {};
    struct passwd* found = nullptr;
    const bool known =
        ::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) == 0 &&
        found != nullptr;
    owner.user = known ? entry.pw_name : "uid-" + std::to_string(owner.uid);
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) == 0) owner.host = host.data();
    owner.channel = channel_of_process();
    return owner;
}

Result<int64_t> WorkflowStore::add_event(int64_t migration, std::string_view severity,
                                         std::string_view code, std::string_view text,
                                         std::string_view data) {
    return database_->write("storing an event", [&](SQLite::Database& db) -> Result<int64_t> {
        return insert_event(db, migration, severity, code, text, data);
    });
}

Status WorkflowStore::add_events(int64_t migration, const std::vector<NewEvent>& events) {
    return database_->write("storing events", [&](SQLite::Database& db) -> Status {
        for (const NewEvent& one : events)
            insert_event(db, migration, one.severity, one.code, one.text, one.data, one.at_ms);
        return {};
    });
}

Result<int64_t> WorkflowStore::newest_event(int64_t migration) {
    return database_->read("reading events", [&](SQLite::Database& db) {
        auto query = statement(db, "SELECT coalesce(max(id), 0) FROM event WHERE migration_id = ?",
                               migration);
        query.executeStep();
        return int_at(query, 0);
    });
}

Result<std::vector<EventRow>> WorkflowStore::events_since(int64_t migration, int64_t id,
                                                          std::size_t limit) {
    return database_->read("reading events", [&](SQLite::Database& db) {
        return collect(statement(db,
                                 std::string(kEventColumns) +
                                     "WHERE migration_id = ? AND id > ? ORDER BY id LIMIT ?",
                                 migration, id, limit),
                       event_at);
    });
}

Result<std::vector<EventRow>> WorkflowStore::last_events(int64_t migration,
                                                         const std::vector<std::string>& codes,
                                                         std::size_t look_back) {
    return database_->read("reading events", [&](SQLite::Database& db) {
        return collect(
            statement(db,
                      std::string(kEventColumns) +
                          "WHERE id IN (SELECT max(id) FROM event WHERE migration_id = ?1 "
                          "AND id > (SELECT coalesce(max(id), 0) FROM event) - ?2 "
                          "AND code IN (SELECT value FROM json_each(?3)) "
                          "GROUP BY code, json_extract(data, '$.about')) ORDER BY id",
                      migration, look_back, json_text(codes)),
            event_at);
    });
}

Result<int64_t> WorkflowStore::begin_command(int64_t migration, std::string_view command,
                                             const Owner& owner) {
    return database_->write("logging the command", [&](SQLite::Database& db) -> Result<int64_t> {
        run(db,
            "INSERT INTO command_log (migration_id, command, owner, started_ms, ended_ms, "
            "exit_code, headline) "
            "VALUES (?, ?, ?, ?, 0, -1, '')",
            migration, command, owner_json(owner), wall_ms());
        return db.getLastInsertRowid();
    });
}

Status WorkflowStore::end_command(int64_t migration, int64_t id, int exit_code,
                                  std::string_view headline, const std::optional<NewEvent>& event) {
    return database_->write("logging the command", [&](SQLite::Database& db) -> Status {
        run(db, "UPDATE command_log SET ended_ms = ?, exit_code = ?, headline = ? WHERE id = ?",
            wall_ms(), exit_code, headline, id);
        if (event)
            insert_event(db, migration, event->severity, event->code, event->text, event->data);
        return {};
    });
}

Result<std::vector<CommandRow>> WorkflowStore::commands(int64_t migration, std::size_t limit) {
    return database_->read("reading the command log", [&](SQLite::Database& db) {
        return collect(statement(db,
                                 "SELECT id, command, owner, started_ms, ended_ms, exit_code, "
                                 "headline FROM command_log "
                                 "WHERE migration_id = ? ORDER BY id DESC LIMIT ?",
                                 migration, limit),
                       [](SQLite::Statement& query) {
                           CommandRow row;
                           row.id = int_at(query, 0);
                           row.command = text_at(query, 1);
                           row.owner = owner_from(text_at(query, 2));
                           row.started_ms = int_at(query, 3);
                           row.ended_ms = int_at(query, 4);
                           row.exit_code = static_cast<int>(int_at(query, 5));
                           row.headline = text_at(query, 6);
                           return row;
                       });
    });
}

Result<std::vector<WorkerRow>> WorkflowStore::workers(int64_t migration) {
    return database_->read("reading the workers",
                           [&](SQLite::Database& db) { return load_workers(db, migration); });
}

Status WorkflowStore::remove_worker(int64_t migration, std::string_view id) {
    return database_->write("removing a worker", [&](SQLite::Database& db) -> Status {
        run(db, "DELETE FROM worker WHERE migration_id = ? AND id = ?", migration, id);
        return {};
    });
}

Result<std::vector<ItemError>> WorkflowStore::item_errors(int64_t migration,
                                                          std::string_view direction,
                                                          std::size_t limit) {
    return database_->read("reading item errors", [&](SQLite::Database& db) {
        return load_item_errors(db, migration, direction, limit);
    });
}

Result<uint64_t> WorkflowStore::count_item_errors(int64_t migration, std::string_view direction) {
    return database_->read("counting item errors", [&](SQLite::Database& db) {
        return first(statement(db,
                               "SELECT count(*) FROM item_error WHERE migration_id = ? AND (? = '' "
                               "OR direction = ?)",
                               migration, direction, direction),
                     [](SQLite::Statement& query) { return uint_at(query, 0); })
            .value_or(0);
    });
}

Result<std::vector<ItemChange>> WorkflowStore::item_changes(int64_t migration,
                                                            std::string_view action,
                                                            std::size_t limit) {
    return database_->read("reading changes of items", [&](SQLite::Database& db) {
        return collect(statement(db,
                                 "SELECT id, direction, location, key, side, action, reason, "
                                 "detail, at_ms FROM item_change "
                                 "WHERE migration_id = ? AND (? = '' OR action = ?) "
                                 "ORDER BY id LIMIT ?",
                                 migration, action, action, limit),
                       [](SQLite::Statement& query) {
                           ItemChange change;
                           change.id = int_at(query, 0);
                           change.direction = text_at(query, 1);
                           change.location = text_at(query, 2);
                           change.key = text_at(query, 3);
                           change.side = text_at(query, 4);
                           change.action = text_at(query, 5);
                           change.reason = text_at(query, 6);
                           change.detail = text_at(query, 7);
                           change.at_ms = int_at(query, 8);
                           return change;
                       });
    });
}

Result<std::map<std::string, uint64_t>> WorkflowStore::count_item_changes(int64_t migration) {
    return database_->read("counting changes of items", [&](SQLite::Database& db) {
        std::map<std::string, uint64_t> counts;
        auto query = statement(
            db, "SELECT action, count(*) FROM item_change WHERE migration_id = ? GROUP BY action",
            migration);
        while (query.executeStep()) counts[text_at(query, 0)] = uint_at(query, 1);
        return counts;
    });
}

}  // namespace exodus
