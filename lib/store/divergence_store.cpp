// DivergenceLog on a second file, `<state>.samples`: only the interlay's process writes it, so that
// a flood of differences never makes the state file wait. Counts are complete; of each class the
// newest samples are kept.
#include "base/clock.h"
#include "base/limits.h"
#include "store/database.h"
#include "store/services.h"
#include "store/statement.h"

namespace exodus {

namespace {

class SqliteDivergenceLog final : public DivergenceLog {
  public:
    SqliteDivergenceLog(std::unique_ptr<Database> database, std::string migration)
        : database_(std::move(database)), migration_(std::move(migration)) {}

    Status add(const std::vector<DivergenceSample>& samples) override {
        return database_->write("storing divergences", [&](SQLite::Database& db) -> Status {
            for (const DivergenceSample& sample : samples) insert(db, sample);
            return {};
        });
    }

    Result<std::vector<DivergenceCounts>> counts() override {
        return database_->read("reading divergence counts", [&](SQLite::Database& db) {
            return collect(statement(db,
                                     "SELECT command, reason, outcome, aa, count FROM sample_count "
                                     "WHERE migration = ? "
                                     "ORDER BY count DESC, command, reason, outcome, aa",
                                     migration_),
                           [](SQLite::Statement& query) {
                               return DivergenceCounts{text_at(query, 0), text_at(query, 1),
                                                       text_at(query, 2), bool_at(query, 3),
                                                       uint_at(query, 4)};
                           });
        });
    }

    Result<std::vector<DivergenceSample>> samples(std::size_t limit) override {
        return database_->read("reading divergences", [&](SQLite::Database& db) {
            return collect(statement(db,
                                     "SELECT id, at_ms, command, reason, outcome, aa, request, "
                                     "left, right FROM sample "
                                     "WHERE migration = ? "
                                     "ORDER BY outcome = 'confirmed' AND NOT aa DESC, id DESC "
                                     "LIMIT ?",
                                     migration_, limit),
                           [](SQLite::Statement& query) {
                               DivergenceSample sample;
                               sample.id = int_at(query, 0);
                               sample.at_ms = int_at(query, 1);
                               sample.command = text_at(query, 2);
                               sample.reason = text_at(query, 3);
                               sample.outcome = text_at(query, 4);
                               sample.aa = bool_at(query, 5);
                               sample.request = text_at(query, 6);
                               sample.left = text_at(query, 7);
                               sample.right = text_at(query, 8);
                               return sample;
                           });
        });
    }

    Status clear() override {
        return database_->write("clearing divergences", [&](SQLite::Database& db) -> Status {
            run(db, "DELETE FROM sample WHERE migration = ?", migration_);
            run(db, "DELETE FROM sample_count WHERE migration = ?", migration_);
            return {};
        });
    }

  private:
    void insert(SQLite::Database& db, const DivergenceSample& sample) {
        const auto cut = [](const std::string& text) {
            return Blob{std::string_view(text).substr(0, limits::kSampleText_bytes_max)};
        };
        run(db,
            "INSERT INTO sample_count (migration, command, reason, outcome, aa, count) VALUES "
            "(?, ?, ?, ?, ?, 1) "
            "ON CONFLICT DO UPDATE SET count = count + 1",
            migration_, sample.command, sample.reason, sample.outcome, sample.aa);
        run(db,
            "INSERT INTO sample (migration, at_ms, command, reason, outcome, aa, request, "
            "left, right) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            migration_, sample.at_ms == 0 ? wall_ms() : sample.at_ms, sample.command, sample.reason,
            sample.outcome, sample.aa, cut(sample.request), cut(sample.left), cut(sample.right));
        run(db,
            "DELETE FROM sample WHERE id IN (SELECT id FROM sample WHERE migration = ? AND "
            "command = ? AND reason = ? "
            "AND outcome = ? AND aa = ? ORDER BY id DESC LIMIT -1 OFFSET ?)",
            migration_, sample.command, sample.reason, sample.outcome, sample.aa,
            limits::kSamplesPerClass_max);
    }

    std::unique_ptr<Database> database_;
    std::string migration_;
};

}  // namespace

std::string samples_path(const std::string& state_path) { return state_path + ".samples"; }

Result<std::unique_ptr<DivergenceLog>> open_divergence_log(const std::string& state_path,
                                                           const std::string& migration,
                                                           bool read_only) {
    auto database = Database::open(samples_path(state_path),
                                   read_only ? Database::Mode::read_only : Database::Mode::create,
                                   samples_file_kind());
    if (!database) return tl::unexpected(std::move(database).error());
    return std::unique_ptr<DivergenceLog>(
        std::make_unique<SqliteDivergenceLog>(std::move(*database), migration));
}

}  // namespace exodus
