// WorkflowStore: evidence, decisions, findings, data divergences.
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "base/clock.h"
#include "base/limits.h"
#include "core/json_text.h"
#include "store/database.h"
#include "store/statement.h"
#include "store/workflow_store.h"

namespace exodus {

using nlohmann::json;

namespace {

constexpr const char* kEvidenceColumns =
    "id, attempt, kind, verdict, data, config_hash, plan_hash, lineage, schema_hash, tool_version, "
    "at_ms";
constexpr const char* kDecisionColumns =
    "id, attempt, kind, subject, reason, owner, config_hash, epoch, at_ms";

EvidenceVerdict verdict_from(const std::string& text) {
    if (text == "pass") return EvidenceVerdict::pass;
    if (text == "warn") return EvidenceVerdict::warn;
    if (text == "inconclusive") return EvidenceVerdict::inconclusive;
    return EvidenceVerdict::fail;
}

EvidenceRow evidence_at(SQLite::Statement& query) {
    EvidenceRow row;
    row.id = int_at(query, 0);
    row.attempt = static_cast<int>(int_at(query, 1));
    row.kind = text_at(query, 2);
    row.verdict = verdict_from(text_at(query, 3));
    row.data = text_at(query, 4);
    row.context = {text_at(query, 5), text_at(query, 6), text_at(query, 7), text_at(query, 8),
                   text_at(query, 9)};
    row.at_ms = int_at(query, 10);
    return row;
}

DecisionRow decision_at(SQLite::Statement& query) {
    DecisionRow row;
    row.id = int_at(query, 0);
    row.attempt = static_cast<int>(int_at(query, 1));
    row.kind = text_at(query, 2);
    row.subject = text_at(query, 3);
    row.reason = text_at(query, 4);
    row.owner = owner_from(text_at(query, 5));
    row.config_hash = text_at(query, 6);
    row.epoch = uint_at(query, 7);
    row.at_ms = int_at(query, 8);
    return row;
}

Severity severity_from(const std::string& text) {
    if (text == "pass") return Severity::pass;
    if (text == "info") return Severity::info;
    if (text == "warn") return Severity::warn;
    return Severity::fail;
}

int64_t insert_evidence(SQLite::Database& db, int64_t migration, const EvidenceRow& row) {
    run(db,
        "INSERT INTO evidence (migration_id, attempt, kind, verdict, data, config_hash, plan_hash, "
        "lineage, schema_hash, tool_version, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        migration, row.attempt, row.kind, to_string(row.verdict), row.data, row.context.config_hash,
        row.context.plan_hash, row.context.lineage, row.context.schema_hash,
        row.context.tool_version, row.at_ms == 0 ? wall_ms() : row.at_ms);
    return db.getLastInsertRowid();
}

}  // namespace

std::string_view to_string(EvidenceVerdict verdict) {
    switch (verdict) {
        case EvidenceVerdict::pass:
            return "pass";
        case EvidenceVerdict::fail:
            return "fail";
        case EvidenceVerdict::warn:
            return "warn";
        case EvidenceVerdict::inconclusive:
            return "inconclusive";
    }
    return "fail";
}

Status WorkflowStore::complete(int64_t migration, EvidenceRow& row) {
    if (!row.context.config_hash.empty()) return {};
    auto now = context(migration);
    if (!now) return tl::unexpected(std::move(now).error());
    row.context = *now;
    return {};
}

Result<int64_t> WorkflowStore::add_evidence(int64_t migration, EvidenceRow row,
                                            const std::vector<StepMark>& marks) {
    EXODUS_TRY(complete(migration, row));
    return database_->write("storing evidence " + row.kind,
                            [&](SQLite::Database& db) -> Result<int64_t> {
                                const int64_t id = insert_evidence(db, migration, row);
                                for (const StepMark& mark : marks)
                                    upsert_step(db, mark.run_id, mark.step, mark.done, mark.note);
                                return id;
                            });
}

Status WorkflowStore::end_cutover(int64_t migration, const RunRow& ended, EvidenceRow row,
                                  const std::optional<NewEvent>& event) {
    EXODUS_TRY(complete(migration, row));
    return database_->write("ending a cutover", [&](SQLite::Database& db) -> Status {
        insert_evidence(db, migration, row);
        if (event)
            insert_event(db, migration, event->severity, event->code, event->text, event->data);
        run(db, "UPDATE phase_run SET status = ?, ended_ms = ?, detail = ? WHERE id = ?",
            ended.status, wall_ms(), ended.detail, ended.id);
        return {};
    });
}

Result<std::optional<EvidenceRow>> WorkflowStore::latest_evidence(int64_t migration,
                                                                  std::string_view kind) {
    return database_->read("reading evidence " + std::string(kind), [&](SQLite::Database& db) {
        return first(
            statement(
                db,
                "SELECT " + std::string(kEvidenceColumns) +
                    " FROM evidence WHERE migration_id = ? AND kind = ? ORDER BY id DESC LIMIT 1",
                migration, kind),
            evidence_at);
    });
}

Result<std::vector<EvidenceRow>> WorkflowStore::evidence(int64_t migration, std::string_view kind,
                                                         std::size_t limit) {
    return database_->read("reading evidence " + std::string(kind), [&](SQLite::Database& db) {
        return collect(
            statement(
                db,
                "SELECT " + std::string(kEvidenceColumns) +
                    " FROM evidence WHERE migration_id = ? AND kind = ? ORDER BY id DESC LIMIT ?",
                migration, kind, limit),
            evidence_at);
    });
}

Result<uint64_t> WorkflowStore::count_evidence(int64_t migration, std::string_view kind) {
    return database_->read("counting evidence " + std::string(kind), [&](SQLite::Database& db) {
        return first(statement(db,
                               "SELECT count(*) FROM evidence WHERE migration_id = ? AND kind = ?",
                               migration, kind),
                     [](SQLite::Statement& query) { return uint_at(query, 0); })
            .value_or(0);
    });
}

Result<int64_t> WorkflowStore::add_decision(int64_t migration, DecisionRow row) {
    return database_->write("storing a decision", [&](SQLite::Database& db) -> Result<int64_t> {
        if (row.epoch == 0) {
            const auto now = load_migration(db, migration);
            if (now) row.epoch = now->route.epoch;
        }
        return insert_decision(db, migration, row);
    });
}

Result<std::optional<DecisionRow>> WorkflowStore::latest_decision(
    int64_t migration, int attempt, const std::vector<std::string>& kinds,
    std::string_view subject) {
    return database_->read("reading decisions", [&](SQLite::Database& db) {
        std::string marks;
        for (std::size_t i = 0; i < kinds.size(); ++i) marks += i == 0 ? "?" : ", ?";
        SQLite::Statement query =
            statement(db,
                      "SELECT " + std::string(kDecisionColumns) +
                          " FROM decision WHERE migration_id = ?1 AND (?2 = 0 OR attempt = ?2) AND "
                          "subject = ?3 AND kind IN (" +
                          marks + ") ORDER BY id DESC LIMIT 1",
                      migration, attempt, subject);
        int index = 3;
        for (const std::string& kind : kinds) bind_one(query, ++index, kind);
        return first(std::move(query), decision_at);
    });
}

Result<std::vector<DecisionRow>> WorkflowStore::decisions(int64_t migration, std::size_t limit) {
    return database_->read("reading decisions", [&](SQLite::Database& db) {
        return collect(
            statement(db,
                      "SELECT " + std::string(kDecisionColumns) +
                          " FROM decision WHERE migration_id = ? ORDER BY id DESC LIMIT ?",
                      migration, limit),
            decision_at);
    });
}

Result<std::vector<DecisionRow>> WorkflowStore::decisions_of(int64_t migration,
                                                             std::string_view kind,
                                                             std::size_t limit) {
    return database_->read("reading decisions", [&](SQLite::Database& db) {
        return collect(statement(db,
                                 "SELECT " + std::string(kDecisionColumns) +
                                     " FROM decision WHERE migration_id = ? AND kind = ? "
                                     "ORDER BY id DESC LIMIT ?",
                                 migration, kind, limit),
                       decision_at);
    });
}

namespace {

/// An event for each warning and failure that the last run of the phase had not.
void tell_new_findings(SQLite::Database& db, int64_t migration, std::string_view phase,
                       const std::vector<Finding>& findings) {
    using Name = std::tuple<std::string, std::string, std::string>;
    const auto rows =
        collect(statement(db,
                          "SELECT severity, subject, check_id FROM finding WHERE migration_id = ? "
                          "AND phase = ?",
                          migration, phase),
                [](SQLite::Statement& query) {
                    return Name{text_at(query, 0), text_at(query, 1), text_at(query, 2)};
                });
    std::set<Name> told(rows.begin(), rows.end());
    std::size_t count = 0;
    for (const Finding& finding : findings) {
        if (finding.severity != Severity::fail && finding.severity != Severity::warn) continue;
        const std::string severity(to_string(finding.severity));
        if (!told.emplace(severity, finding.subject, finding.id).second) continue;
        if (++count > limits::kStatusFindings_max) return;
        const json data{{"phase", phase}, {"id", finding.id}, {"subject", finding.subject}};
        const bool critical = finding.severity == Severity::fail;
        insert_event(
            db, migration, critical ? "critical" : "warn",
            critical ? "finding.critical" : "finding.warning",
            std::string(phase) + ": " + finding.id + ", " + finding.subject + ": " + finding.text,
            json_text(data));
    }
}

}  // namespace

Status WorkflowStore::put_findings(int64_t migration, std::string_view phase,
                                   const std::vector<Finding>& findings) {
    return database_->write(
        "storing findings of " + std::string(phase), [&](SQLite::Database& db) -> Status {
            tell_new_findings(db, migration, phase, findings);
            run(db, "DELETE FROM finding WHERE migration_id = ? AND phase = ?", migration, phase);
            const int64_t now = wall_ms();
            int ordinal = 0;
            for (const Finding& finding : findings) {
                run(db,
                    "INSERT INTO finding (migration_id, phase, ordinal, check_id, severity, "
                    "subject, text, hint, at_ms) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    migration, phase, ordinal++, finding.id, to_string(finding.severity),
                    finding.subject, finding.text, finding.hint, now);
            }
            return {};
        });
}

Result<std::vector<FindingRow>> WorkflowStore::findings(int64_t migration) {
    return database_->read("reading findings", [&](SQLite::Database& db) {
        return collect(
            statement(db,
                      "SELECT phase, check_id, severity, subject, text, hint, at_ms FROM finding "
                      "WHERE migration_id = ? ORDER BY at_ms, phase, ordinal",
                      migration),
            [](SQLite::Statement& query) {
                FindingRow row;
                row.phase = text_at(query, 0);
                row.finding = {text_at(query, 1), severity_from(text_at(query, 2)),
                               text_at(query, 3), text_at(query, 4), text_at(query, 5)};
                row.at_ms = int_at(query, 6);
                return row;
            });
    });
}

Status WorkflowStore::put_divergences(int64_t migration, const std::vector<Divergence>& found) {
    return database_->write("storing divergences", [&](SQLite::Database& db) -> Status {
        using Name = std::tuple<std::string, std::string, std::string>;
        std::set<Name> names;
        for (const Divergence& one : found) {
            if (names.size() >= limits::kStoredDivergences_max) break;
            names.emplace(one.location, one.key, one.kind);
        }
        const int64_t now = wall_ms();
        std::set<Name> open;
        for (auto& [id, name] : collect(
                 statement(db,
                           "SELECT id, location, key, kind FROM divergence WHERE migration_id = ? "
                           "AND resolved_ms = 0",
                           migration),
                 [](SQLite::Statement& query) {
                     return std::pair(int_at(query, 0), Name(text_at(query, 1), text_at(query, 2),
                                                             text_at(query, 3)));
                 })) {
            if (names.contains(name)) {
                open.insert(name);
            } else {
                run(db, "UPDATE divergence SET resolved_ms = ? WHERE id = ?", now, id);
            }
        }
        for (const Divergence& one : found) {
            const Name name(one.location, one.key, one.kind);
            if (!names.contains(name) || !open.insert(name).second) continue;
            run(db,
                "INSERT INTO divergence (migration_id, location, key, kind, detail, found_ms, "
                "resolved_ms) "
                "VALUES (?, ?, ?, ?, ?, ?, 0)",
                migration, one.location, one.key, one.kind, one.detail, now);
        }
        return {};
    });
}

Result<std::vector<DataDivergenceRow>> WorkflowStore::divergences(int64_t migration, bool open_only,
                                                                  std::size_t limit,
                                                                  int64_t found_until_ms) {
    return database_->read("reading divergences", [&](SQLite::Database& db) {
        return collect(
            statement(
                db,
                "SELECT id, location, key, kind, detail, found_ms, resolved_ms FROM divergence "
                "WHERE migration_id = ? AND (? = 0 OR resolved_ms = 0) AND found_ms <= ? "
                "ORDER BY id LIMIT ?",
                migration, open_only, found_until_ms, limit),
            [](SQLite::Statement& query) {
                DataDivergenceRow row;
                row.id = int_at(query, 0);
                row.divergence = {text_at(query, 1), text_at(query, 2), text_at(query, 3),
                                  text_at(query, 4)};
                row.found_ms = int_at(query, 5);
                row.resolved_ms = int_at(query, 6);
                return row;
            });
    });
}

Result<uint64_t> WorkflowStore::count_open_divergences(int64_t migration, int64_t found_until_ms) {
    return database_->read("counting divergences", [&](SQLite::Database& db) {
        return first(statement(db,
                               "SELECT count(*) FROM divergence WHERE migration_id = ? AND "
                               "resolved_ms = 0 AND found_ms <= ?",
                               migration, found_until_ms),
                     [](SQLite::Statement& query) { return uint_at(query, 0); })
            .value_or(0);
    });
}

}  // namespace exodus
