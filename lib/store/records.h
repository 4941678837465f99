// The rows of the state file as values. Times are Unix milliseconds, JSON columns are text that the
// writer made with nlohmann-json. None of them can carry a secret: Settings and Endpoint never come
// here, only what is named below.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/compare.h"
#include "core/endpoint.h"
#include "core/finding.h"
#include "core/journal.h"
#include "core/state.h"

namespace exodus {

/// Who does something, as decisions and the lock show it: "mira@ops1".
struct Owner {
    int64_t uid = 0;
    std::string user;
    std::string host;
    std::string channel;  ///< "terminal /dev/pts/3", "ci github-actions", "script"
    int64_t pid = 0;
};
/// The owner of this process: uid, user, host, terminal or CI (detected from the environment).
Owner current_owner();
/// "mira@ops1"
std::string owner_name(const Owner& owner);

/// What a proof depends on. Evidence counts only while the parts that its kind depends on are
/// unchanged.
struct EvidenceContext {
    std::string config_hash;
    std::string plan_hash;
    std::string lineage;      ///< the data lineage: new at each fill from nothing
    std::string schema_hash;  ///< Inspector::fingerprint of both sides
    std::string tool_version;
};

enum class EvidenceVerdict : uint8_t { pass, fail, warn, inconclusive };
std::string_view to_string(EvidenceVerdict verdict);

/// What was measured; immutable, never deleted. Kinds and their JSON fields: workflow/evidence.h.
struct EvidenceRow {
    int64_t id = 0;
    int attempt = 1;
    std::string kind;  ///< "compare.data"
    EvidenceVerdict verdict = EvidenceVerdict::fail;
    std::string data = "{}";  ///< JSON object
    EvidenceContext context;
    int64_t at_ms = 0;
};

/// Who decided what and why; immutable.
struct DecisionRow {
    int64_t id = 0;
    int attempt = 1;
    std::string kind;     ///< "approve" | "deny" | "skip" | "ack" | "confirm" | "override"
    std::string subject;  ///< a gate ("switch", "compare") or a check id
    std::string reason;
    Owner owner;
    std::string config_hash;
    uint64_t epoch = 0;
    int64_t at_ms = 0;
};

/// One run of a phase, or one cutover ("cutover.switch", "cutover.rollback").
struct RunRow {
    int64_t id = 0;
    int attempt = 1;
    std::string phase;
    std::string status;  ///< "running" | "aborting" | "done" | "failed" | "stopped" | "aborted"
    Owner owner;
    int64_t started_ms = 0;
    int64_t ended_ms = 0;       ///< 0: not ended
    std::string detail = "{}";  ///< JSON object
};

/// One step of the cutover journal. Intent is durable before the effect, done after it.
struct StepRow {
    std::string step;  ///< "C3"
    bool done = false;
    std::string note = "{}";  ///< JSON object: what a resume needs (positions, owners of the work)
    int64_t intent_us = 0;    ///< Unix microseconds
    int64_t done_us = 0;
};

/// What lifts a fence again; written before it is raised, kept until it is lifted.
struct FenceRow {
    Side side = Side::source;
    std::string prepared;  ///< the family's own text
    int64_t run_id = 0;
    int64_t at_ms = 0;
};

struct EventRow {
    int64_t id = 0;  ///< grows; the id of the event stream
    int64_t at_ms = 0;
    std::string severity;  ///< "info" | "warn" | "critical"
    std::string code;      ///< stable: "state.changed", "worker.dropped"
    std::string text;
    std::string data = "{}";  ///< JSON object
};

/// One that is to be written.
struct NewEvent {
    std::string severity;
    std::string code;
    std::string text;
    std::string data = "{}";
    int64_t at_ms = 0;  ///< 0: when it is written
};

struct EpochRow {
    uint64_t epoch = 0;
    int64_t at_ms = 0;
    MigrationState from = MigrationState::created;
    MigrationState to = MigrationState::created;
    Side authority = Side::source;
    Side writes = Side::source;
    Side reads = Side::source;
    bool hold = false;
    std::string command;
    std::string reason;
    std::string by;  ///< "mira@ops1"
};

struct EndpointRow {
    Side side = Side::source;
    std::string family;
    std::string address;  ///< Endpoint::address(), never a URI
    std::string user;
    bool tls = false;
    std::string version;  ///< as seen last, "redis 7.0.15"
};

struct FindingRow {
    std::string phase;
    Finding finding;
    int64_t at_ms = 0;
};

/// A difference in the data which a verify run confirmed and nothing has repaired since.
struct DataDivergenceRow {
    int64_t id = 0;
    Divergence divergence;
    int64_t found_ms = 0;
    int64_t resolved_ms = 0;  ///< 0: open
};

struct CommandRow {
    int64_t id = 0;
    std::string command;  ///< "migrate --switch"; no value of a secret is ever on a command line
    Owner owner;
    int64_t started_ms = 0;
    int64_t ended_ms = 0;
    int exit_code = -1;
    std::string headline;
};

}  // namespace exodus
