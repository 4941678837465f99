// Short ways to bind and read the values of this project's types. Used by the store's own files
// only; throws what SQLiteCpp throws, so only inside Database::read and Database::write.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/endpoint.h"
#include "core/state.h"
#include "store/records.h"

namespace exodus {

inline void bind_one(SQLite::Statement& query, int index, std::string_view text) {
    query.bind(index, std::string(text));
}
inline void bind_one(SQLite::Statement& query, int index, const std::string& text) {
    query.bind(index, text);
}
inline void bind_one(SQLite::Statement& query, int index, const char* text) {
    query.bind(index, text);
}
inline void bind_one(SQLite::Statement& query, int index, double value) {
    query.bind(index, value);
}
template <std::integral Value>
void bind_one(SQLite::Statement& query, int index, Value value) {
    query.bind(index, static_cast<int64_t>(value));
}
/// Bytes that are no text.
struct Blob {
    std::string_view bytes;
};
inline void bind_one(SQLite::Statement& query, int index, Blob blob) {
    // An empty view may have no address, and SQLite takes that for NULL.
    query.bind(index, blob.bytes.empty() ? "" : static_cast<const void*>(blob.bytes.data()),
               static_cast<int>(blob.bytes.size()));
}

/// A statement with its parameters bound in order.
template <class... Values>
SQLite::Statement statement(SQLite::Database& db, const std::string& sql, const Values&... values) {
    SQLite::Statement query(db, sql);
    int index = 0;
    (bind_one(query, ++index, values), ...);
    return query;
}

/// Runs a statement that returns no rows; how many rows it changed.
template <class... Values>
int run(SQLite::Database& db, const std::string& sql, const Values&... values) {
    return statement(db, sql, values...).exec();
}

/// All rows of a query, made by `make(SQLite::Statement&)`.
template <class Make>
auto collect(SQLite::Statement&& query, Make&& make) {
    std::vector<std::invoke_result_t<Make, SQLite::Statement&>> rows;
    while (query.executeStep()) rows.push_back(make(query));
    return rows;
}

/// The first row, or nothing.
template <class Make>
auto first(SQLite::Statement&& query, Make&& make) {
    std::optional<std::invoke_result_t<Make, SQLite::Statement&>> row;
    if (query.executeStep()) row = make(query);
    return row;
}

inline std::string text_at(SQLite::Statement& query, int column) {
    return query.getColumn(column).getString();
}
inline int64_t int_at(SQLite::Statement& query, int column) {
    return query.getColumn(column).getInt64();
}
inline uint64_t uint_at(SQLite::Statement& query, int column) {
    return static_cast<uint64_t>(int_at(query, column));
}
inline bool bool_at(SQLite::Statement& query, int column) { return int_at(query, column) != 0; }
inline double double_at(SQLite::Statement& query, int column) {
    return query.getColumn(column).getDouble();
}
inline Side side_from(std::string_view text) {
    return text == "target" ? Side::target : Side::source;
}

/// The columns of a migration row in the order that migration_at reads them.
extern const std::string kMigrationColumns;
/// Throws std::runtime_error on a word that this program does not know.
MigrationRow migration_at(SQLite::Statement& query);
/// The row by id or by name; nothing when absent.
std::optional<MigrationRow> load_migration(SQLite::Database& db, int64_t id);
std::optional<MigrationRow> load_migration(SQLite::Database& db, std::string_view name);

WorkerRow worker_at(SQLite::Statement& query);
std::vector<WorkerRow> load_workers(SQLite::Database& db, int64_t migration);
std::vector<ItemError> load_item_errors(SQLite::Database& db, int64_t migration,
                                        std::string_view direction, std::size_t limit);

std::string owner_json(const Owner& owner);
Owner owner_from(const std::string& json);

int64_t insert_event(SQLite::Database& db, int64_t migration, std::string_view severity,
                     std::string_view code, std::string_view text, std::string_view data,
                     int64_t at_ms = 0);
/// With its event.
int64_t insert_decision(SQLite::Database& db, int64_t migration, const DecisionRow& row);
void upsert_step(SQLite::Database& db, int64_t run, std::string_view step, bool done,
                 std::string_view note);

}  // namespace exodus
