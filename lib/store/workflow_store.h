// The state file for phase commands: typed functions over its tables. One object has one connection
// and may be used by several threads (calls are serialised). Every writing call is durable when it
// returns; transactions are BEGIN IMMEDIATE.
//
// Errors of all calls: locked (another process writes longer than the busy timeout), cannot_create
// (disk full, read-only), data (the file is damaged), not_allowed (compare-and-set lost), internal.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "core/settings.h"
#include "core/state.h"
#include "store/records.h"

namespace exodus {

class Database;

enum class OpenMode : uint8_t {
    create,     ///< makes the file (0600) and its schema when absent
    existing,   ///< error no_input when absent
    read_only,  ///< for --dry-run and status; changes nothing that was committed
};

/// A step that becomes durable together with something else.
struct StepMark {
    int64_t run_id = 0;
    std::string step;
    bool done = false;
    std::string note = "{}";
};

/// What a transition changes. Everything in it becomes durable in ONE transaction, with the epoch
/// log and an event.
struct Transition {
    MigrationRow row;  ///< state, route (its epoch is ignored), modes, attempt, flags, switched_ms
    std::string command;  ///< "migrate --switch"
    std::string reason;
    Owner owner;
    std::optional<DecisionRow> decision;
    std::vector<StepMark> steps;
    std::optional<RunRow>
        run;  ///< id, status, detail (and ended_ms when it ended) of an existing run
};

class WorkflowStore {
  public:
    /// `busy`: how long each call waits for the transaction of another process.
    static Result<std::unique_ptr<WorkflowStore>> open(
        const std::string& path, OpenMode mode,
        milliseconds busy = milliseconds(limits::kStoreBusy_ms));
    ~WorkflowStore();
    WorkflowStore(const WorkflowStore&) = delete;
    WorkflowStore& operator=(const WorkflowStore&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }
    /// Another `busy` from here on.
    void set_busy(milliseconds busy);

    // --- migration
    // ---------------------------------------------------------------------------------------------------
    /// Creates the row in state `new` with source as authority, and both endpoint rows (no secret
    /// of them). When a row of that name exists, returns it unchanged. Error not_allowed when it
    /// belongs to another family.
    Result<MigrationRow> create_migration(const Settings& settings, const Owner& owner);
    /// Error no_input when there is none of that name.
    Result<MigrationRow> find_migration(std::string_view name);
    Result<std::vector<MigrationRow>> migrations();
    /// Compare-and-set on (id, state, epoch) of `expected`; the new row has epoch+1. Error
    /// not_allowed, with what stands now, when somebody else was faster: nothing is changed then. A
    /// forward movement that goes from off to on begins a new lineage.
    Result<MigrationRow> transition(const MigrationRow& expected, const Transition& transition);
    /// Flags beside the state; no epoch, no route. Empty text clears.
    Status set_paused(int64_t migration, std::string_view why, const Owner& owner);
    Status set_flags(int64_t migration, Direction direction, const MovementFlags& flags);
    /// The share of reads that are mirrored: changes neither who answers nor who may write, so it
    /// counts no epoch and a phase that runs meanwhile keeps its row. Compare-and-set on (id,
    /// state, epoch) of `expected`, as transition().
    Status set_mirror(const MigrationRow& expected, double percent, const Owner& owner);
    Result<std::vector<EpochRow>> epochs(int64_t migration, std::size_t limit);  ///< newest first

    /// What evidence depends on as it is now. Lineage is the store's own; the rest is what
    /// set_context() got last.
    Result<EvidenceContext> context(int64_t migration);
    /// Stores the parts that are not empty (lineage is ignored).
    Status set_context(int64_t migration, const EvidenceContext& context);
    Status put_endpoint(int64_t migration, const EndpointRow& row);
    Result<std::vector<EndpointRow>> endpoints(int64_t migration);

    // --- phase runs and the cutover journal
    // --------------------------------------------------------------------------
    /// `event`: durable together with it; so in end_command().
    Result<int64_t> begin_run(int64_t migration, int attempt, std::string_view phase,
                              const Owner& owner, std::string_view detail = "{}",
                              const std::optional<NewEvent>& event = std::nullopt);
    /// The run's status and detail, what was measured, and its event: all or none, so that a
    /// cutover which is ended again after a kill is told once.
    Status end_cutover(int64_t migration, const RunRow& ended, EvidenceRow row,
                       const std::optional<NewEvent>& event);
    Status end_run(int64_t run, std::string_view status,
                   std::string_view detail = {});  ///< empty: detail unchanged
    Status update_run(int64_t run, std::string_view status,
                      std::string_view detail);  ///< without ending it
    /// The newest run of a phase that has not ended. `phase_prefix` "cutover." finds both kinds.
    Result<std::optional<RunRow>> open_run(int64_t migration, std::string_view phase_prefix);
    Result<std::vector<RunRow>> runs(int64_t migration, std::size_t limit);  ///< newest first
    /// All marks in one transaction. An intent of a step that has a row keeps its time; done keeps
    /// the first time.
    Status mark_steps(const std::vector<StepMark>& marks);
    Result<std::vector<StepRow>> steps(int64_t run);  ///< in order of step
    /// One row per side. Prepared text is never overwritten while the row stands (it would hold the
    /// fenced state). Marks given become durable in the same transaction.
    Status put_fence(int64_t migration, const FenceRow& row,
                     const std::vector<StepMark>& marks = {});
    Result<std::optional<FenceRow>> fence(int64_t migration, Side side);
    Status erase_fence(int64_t migration, Side side, const std::vector<StepMark>& marks = {});

    // --- evidence, decisions, findings
    // -------------------------------------------------------------------------------
    /// Fills id, at_ms (when 0) and the context (when its config_hash is empty) itself. `marks`: of
    /// the journal, durable together with it.
    Result<int64_t> add_evidence(int64_t migration, EvidenceRow row,
                                 const std::vector<StepMark>& marks = {});
    Result<std::optional<EvidenceRow>> latest_evidence(int64_t migration, std::string_view kind);
    /// Of one kind, newest first.
    Result<std::vector<EvidenceRow>> evidence(int64_t migration, std::string_view kind,
                                              std::size_t limit);
    Result<uint64_t> count_evidence(int64_t migration, std::string_view kind);
    Result<int64_t> add_decision(int64_t migration, DecisionRow row);
    /// The newest of these kinds about a subject in an attempt (0: in any), e.g.
    /// ({"approve","deny"}, "switch").
    Result<std::optional<DecisionRow>> latest_decision(int64_t migration, int attempt,
                                                       const std::vector<std::string>& kinds,
                                                       std::string_view subject);
    Result<std::vector<DecisionRow>> decisions(int64_t migration,
                                               std::size_t limit);  ///< newest first
    /// Those of one kind, newest first.
    Result<std::vector<DecisionRow>> decisions_of(int64_t migration, std::string_view kind,
                                                  std::size_t limit);
    /// Replaces the findings of a phase.
    Status put_findings(int64_t migration, std::string_view phase,
                        const std::vector<Finding>& findings);
    Result<std::vector<FindingRow>> findings(int64_t migration);

    // --- data divergences
    // --------------------------------------------------------------------------------------------
    /// A verify run's result: new rows are added, open rows that it no longer found are resolved.
    Status put_divergences(int64_t migration, const std::vector<Divergence>& found);
    /// Oldest first; only those found until then.
    Result<std::vector<DataDivergenceRow>> divergences(int64_t migration, bool open_only,
                                                       std::size_t limit,
                                                       int64_t found_until_ms = INT64_MAX);
    Result<uint64_t> count_open_divergences(int64_t migration, int64_t found_until_ms = INT64_MAX);

    // --- what happened
    // -----------------------------------------------------------------------------------------------
    Result<int64_t> add_event(int64_t migration, std::string_view severity, std::string_view code,
                              std::string_view text, std::string_view data = "{}");
    /// All or none.
    Status add_events(int64_t migration, const std::vector<NewEvent>& events);
    Result<int64_t> newest_event(int64_t migration);  ///< its id, 0 when there is none
    Result<std::vector<EventRow>> events_since(int64_t migration, int64_t id,
                                               std::size_t limit);  ///< oldest first
    /// The newest of each of `codes` and of what it is about ("about" in its data), oldest first;
    /// looks no further back than so many events.
    Result<std::vector<EventRow>> last_events(int64_t migration,
                                              const std::vector<std::string>& codes,
                                              std::size_t look_back);
    Result<int64_t> begin_command(int64_t migration, std::string_view command, const Owner& owner);
    Status end_command(int64_t migration, int64_t id, int exit_code, std::string_view headline,
                       const std::optional<NewEvent>& event = std::nullopt);
    Result<std::vector<CommandRow>> commands(int64_t migration,
                                             std::size_t limit);  ///< newest first
    Result<std::vector<WorkerRow>> workers(int64_t migration);
    Status remove_worker(int64_t migration, std::string_view id);
    Result<std::vector<ItemError>> item_errors(int64_t migration, std::string_view direction,
                                               std::size_t limit);
    /// `direction` empty: both.
    Result<uint64_t> count_item_errors(int64_t migration, std::string_view direction = {});
    /// Oldest first; `action` empty: all.
    Result<std::vector<ItemChange>> item_changes(int64_t migration, std::string_view action,
                                                 std::size_t limit);
    /// Rows by action.
    Result<std::map<std::string, uint64_t>> count_item_changes(int64_t migration);

  private:
    WorkflowStore(std::string path, std::unique_ptr<Database> database);
    /// Its context, when none was given: what is in force now.
    Status complete(int64_t migration, EvidenceRow& row);
    std::string path_;
    std::unique_ptr<Database> database_;
};

}  // namespace exodus
