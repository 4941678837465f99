// One cutover operation: the steps C0–C8, the abort and its undo. Internal to cutover.cpp, which
// decides what to begin, resume or undo. Everything it knows is in the run's row and its steps, so
// that any process can go on.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "workflow/cutover.h"
#include "workflow/worker_group.h"

namespace exodus {

class CutoverOperation {
  public:
    /// Of a run in the state file; `row` as it stands now.
    CutoverOperation(const Settings& settings, CutoverPorts& ports, MigrationRow row, RunRow run);

    /// The detail of a run that begins.
    static nlohmann::json detail_of(const MigrationRow& row, const CutoverRequest& request);

    /// Waits for a moment with little lag and prepares the fence, then C1: begins the hold.
    Status hold(const CutoverRequest& request);
    /// C2–C6 of a standing hold. Any error means abort(), with failed_step().
    Status prove();
    /// C7 and C8. An error from C7 without a durable switch is told by switched().
    Status switch_over();
    /// C8 alone, until it is done.
    Status complete();
    /// Durable abort, then undo(). `why` none: a rehearsal that ends on purpose.
    Status abort(const std::optional<Error>& why);
    /// What a durable abort left to do. Also ends a run that died before its hold.
    Status undo();

    [[nodiscard]] CutoverReport report(bool resumed) const;
    [[nodiscard]] bool switched() const;
    /// All that C2 to C6 must find is durable: a dead process' hold can be carried on.
    [[nodiscard]] Result<bool> proven();
    [[nodiscard]] bool rehearsal() const { return detail_.value("rehearse", false); }
    /// Of test: without the switch, or one that is taken back. Its goal is the state it came from.
    [[nodiscard]] bool rehearsed() const;
    [[nodiscard]] CutoverKind kind() const { return kind_; }
    [[nodiscard]] milliseconds hold_left() const;
    [[nodiscard]] const MigrationRow& row() const { return row_; }

  private:
    // cutover_moves.cpp
    Status settle();
    void adopt();
    void way_back_runs();
    Status release();
    Status lift(Side side, const char* point);
    Status forget_fence(Side side);

    // cutover_proofs.cpp
    Status prepare_fence();
    Status drained();
    Status fence();
    Status end_position();
    Status catch_up();
    Status applied();
    Status check_last_keys();
    Status hand_over();
    Status way_back();
    Status prove_way_back();
    Status standstill();
    Status store_proofs();

    // cutover_ending.cpp
    Status finish(const char* status, const char* outcome);
    [[nodiscard]] NewEvent done_event() const;

    // cutover_operation.cpp: what all use
    static void nap();
    /// Begins a step, which ends the one before; the clock of the report.
    void enter(const char* step);
    Status load_steps();
    Status change(MigrationRow wanted, std::vector<StepMark> marks, const std::string& status,
                  const std::string& reason, std::optional<DecisionRow> decision = std::nullopt);
    /// Reads the row again after a transition whose outcome is not known.
    Status reread();
    Result<nlohmann::json> mover(const char* op, Direction direction,
                                 nlohmann::json request = nlohmann::json::object());
    [[nodiscard]] bool is_done(std::string_view step) const;
    [[nodiscard]] nlohmann::json note_of(std::string_view step) const;
    StepMark mark(const char* step, bool done,
                  const nlohmann::json& note = nlohmann::json::object()) const;
    [[nodiscard]] Deadline deadline() const;
    void point(std::string_view name) const;
    void progress(std::string_view step, const std::string& text) const;
    void event(const char* severity, const char* code, const std::string& text) const;

    const Settings& settings_;
    CutoverPorts& ports_;
    WorkflowStore& store_;
    MigrationRow row_;
    RunRow run_;
    nlohmann::json detail_;
    CutoverKind kind_;
    Side losing_;
    Side gaining_;
    Direction ending_;  ///< losing to gaining side: ends with this cutover
    Direction back_;    ///< gaining to losing side: keeps the way back
    WorkerGroup workers_;
    std::vector<StepRow> steps_;
    std::string step_ = "C0";  ///< where it is; the failed one after an error
    int64_t entered_us_ = 0;   ///< when step_ began
    std::string end_;
    std::string armed_;      ///< where the way back begins
    std::string handed_by_;  ///< the process whose mover handed over
    uint64_t unresolved_ = 0;
    std::unique_ptr<Fence> fence_;
    std::string fence_text_;
};

}  // namespace exodus
