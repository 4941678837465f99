// The state of a migration as values, and what the interlay's process needs of it. store implements
// the interfaces on the state file; cli hands them over, because interlay and store do not know
// each other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "core/movement.h"
#include "core/protocol_worker.h"
#include "core/route.h"

namespace exodus {

/// workflow.md, "State of a migration".
enum class MigrationState : uint8_t {
    created,  ///< "new"
    pretested,
    analyzed,
    compared,
    tested,
    copying,
    following,
    ready,
    holding,
    switched,
    committed,
    rolled_back,
    aborted,
};
std::string_view to_string(MigrationState state);
std::optional<MigrationState> migration_state_from(std::string_view text);

/// What was wrong with the movement of one direction when a command asked last; empty: nothing.
struct MovementFlags {
    std::string degraded;
    std::string blocked;
    bool operator==(const MovementFlags&) const = default;
};

/// The one row that says how a migration stands. Everything else in the file explains how it came
/// to this.
struct MigrationRow {
    int64_t id = 0;
    std::string name;
    std::string family;
    MigrationState state = MigrationState::created;
    Route route;                               ///< epoch, authority, serving sides, mirror, hold
    MovementMode forward = MovementMode::off;  ///< what the mover shall do
    MovementMode reverse = MovementMode::off;
    std::string strategy;
    int attempt = 1;
    int64_t switched_ms = 0;  ///< Unix ms of the last switch, 0 never
    std::string flag_paused;  ///< non-empty: why
    MovementFlags forward_flags;
    MovementFlags reverse_flags;
    std::string config_hash;
    int64_t created_ms = 0;
    int64_t updated_ms = 0;
};

/// Read side for the interlay's process. Thread-safe.
class StateSource {
  public:
    virtual ~StateSource() = default;
    /// The row as it is durable now.
    virtual Result<MigrationRow> read() = 0;
    /// True when the file changed since the last read() of this object (PRAGMA data_version):
    /// cheap, for polling.
    virtual Result<bool> changed() = 0;
};

/// Registration of an interlay process ("worker" in workflow.md's words), so that a switch can wait
/// for it.
struct WorkerRow {
    std::string id;  ///< random
    int64_t pid = 0;
    int64_t pid_start =
        0;  ///< field 22 of /proc/PID/stat: tells a reused pid from the process itself
    std::string host;
    std::string control;  ///< path of its control socket
    std::string listen;   ///< comma-separated addresses
    uint64_t epoch = 0;   ///< all its loops follow this route
    uint64_t writes_in_flight = 0;
    uint64_t held = 0;
    std::string blocker;
    int64_t started_ms = 0;
    int64_t seen_ms = 0;
};

class WorkerRegistry {
  public:
    virtual ~WorkerRegistry() = default;
    virtual Status put(const WorkerRow& row) = 0;  ///< insert or update by id
    virtual Status remove(std::string_view id) = 0;
    virtual Result<std::vector<WorkerRow>> list() = 0;
};

/// Samples of differing answers, in a file of its own that only the interlay's process writes.
/// Bounded per class.
struct DivergenceSample {
    int64_t id = 0;
    int64_t at_ms = 0;
    std::string command;
    std::string reason;   ///< the normalizer's class name
    std::string outcome;  ///< "confirmed" | "timing_inflight" | "unresolved" | "not_comparable"
    bool aa = false;
    std::string request;  ///< first bytes, escaped; see --show
    std::string left;
    std::string right;
};

struct DivergenceCounts {
    std::string command;
    std::string reason;
    std::string outcome;
    bool aa = false;
    uint64_t count = 0;
};

class DivergenceLog {
  public:
    virtual ~DivergenceLog() = default;
    /// Counts always, keeps a bounded number of samples. All or none.
    virtual Status add(const std::vector<DivergenceSample>& samples) = 0;
    virtual Result<std::vector<DivergenceCounts>> counts() = 0;
    /// What certainly differs before what may and what is noise; the newest first.
    virtual Result<std::vector<DivergenceSample>> samples(std::size_t limit) = 0;
    virtual Status clear() = 0;  ///< a new compare run
};

}  // namespace exodus
