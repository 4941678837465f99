// The frame around every phase: lock, command log, recovery of what a dead process left open,
// permission of the state, the run row, stop and time-out, and the outcome with what stands now. A
// phase is a function that gets a PhaseRun.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "workflow/cutover.h"
#include "workflow/evidence.h"
#include "workflow/machine.h"
#include "workflow/mover.h"
#include "workflow/next_step.h"
#include "workflow/phase_context.h"

namespace exodus {

class PhaseRun {
  public:
    PhaseRun(PhaseContext& context, std::string phase) : context_(context) {
        outcome.phase = std::move(phase);
    }

    PhaseOutcome outcome;

    [[nodiscard]] PhaseContext& context() { return context_; }
    [[nodiscard]] const Settings& settings() const { return context_.settings; }
    [[nodiscard]] WorkflowStore& store() { return context_.store; }
    /// The row as this phase knows it; refresh() reads it again.
    [[nodiscard]] const MigrationRow& row() const { return row_; }
    Status refresh();

    /// Error cancelled after a stop was asked for, timeout after --timeout. Ask it between steps
    /// and in every wait.
    Status may_go_on() const;
    /// Waits a poll interval unless stopped; then may_go_on().
    Status pause(milliseconds span = milliseconds(limits_poll()));
    /// While one of these lives, a stop and --timeout are put off: a safe point has not been
    /// reached.
    class Uninterruptible {
      public:
        explicit Uninterruptible(PhaseRun& run) : run_(run) { ++run_.uninterruptible_; }
        ~Uninterruptible() { --run_.uninterruptible_; }
        Uninterruptible(const Uninterruptible&) = delete;
        Uninterruptible& operator=(const Uninterruptible&) = delete;

      private:
        PhaseRun& run_;
    };

    void progress(Progress progress);
    void note(Severity severity, std::string text);
    void detail(std::string line) { outcome.details.push_back(std::move(line)); }

    /// Asks the operator. Errors: approval_missing; those of may_go_on() end the wait for an
    /// answer.
    Status confirm(ConfirmRequest request);

    /// Makes `next` durable (epoch+1) and tells the interlay, when one runs, to look now.
    Status transition(MigrationRow next, std::string reason,
                      std::optional<DecisionRow> decision = std::nullopt);
    /// row_for(row, to) and transition().
    Status enter(MigrationState to, std::string reason);
    /// Waits until all registered workers follow the row's epoch.
    Status wait_for_workers(milliseconds span);
    /// Tells the interlay to look now; silent when none runs.
    void look_now();

    /// The interlay, spawned when there is none.
    Result<ControlPort*> interlay();
    /// The same, but never spawns one.
    Result<ControlPort*> running_interlay() { return context_.interlay.connect(); }
    Result<TrafficStats> traffic();

    Status evidence(const char* kind, EvidenceVerdict verdict, const nlohmann::json& data);
    /// Evaluates a gate now and keeps the report in the outcome.
    Result<GateReport> judge(Gate gate);
    /// judge() and require().
    Status demand(Gate gate);
    /// The same for the gate behind the phase that runs, whatever decision skips it: a phase is
    /// judged by what it found.
    Status demand_own(Gate gate);

    /// Stores the fingerprint of both sides and the configuration: what new evidence will depend
    /// on.
    Status store_context();
    Inspector& inspector();

    /// The current run's detail, for what a resumed phase must know.
    Status save_detail(const nlohmann::json& detail);
    /// Detail of the run that did not end, if this one resumes it; an empty object else.
    [[nodiscard]] const nlohmann::json& resumed_detail() const { return resumed_detail_; }

    /// The cutover through the ports of this context. `fault` null: the context's.
    Result<CutoverReport> cutover(CutoverRequest request,
                                  std::function<void(std::string_view)> fault = nullptr);
    /// A full verify in one direction; findings become divergence rows. Stops as cancelled.
    Result<VerifyResult> verify(Direction direction, const std::string& step);
    /// Only the keys that either stream changed within `span`, as far back as the lanes remember.
    Result<VerifyResult> verify_touched(Direction direction, milliseconds span,
                                        const std::string& step);
    [[nodiscard]] DecisionRow decision(std::string kind, std::string subject) const;

  private:
    using VerifierWork =
        std::function<Result<VerifyResult>(Verifier& verifier, const Verifier::OnProgress&)>;
    Result<VerifyResult> with_verifier(Direction direction, const std::string& step,
                                       const VerifierWork& work);
    friend PhaseOutcome run_phase(PhaseContext&, std::optional<Command>, std::string,
                                  const struct PhaseFrame&,
                                  const std::function<Status(PhaseRun&)>&);
    static int64_t limits_poll();
    Status begin(std::optional<Command> command, const PhaseFrame& frame);
    Status take_lock();
    Result<Skips> wanted_skips();
    Status store_skips();
    Result<GateReport> judge_by(Gate gate,
                                Result<GateReport> (*rules)(Gate gate, const GateInput& input));
    Status recover();
    Status return_authority();
    CutoverPorts ports(std::function<void(std::string_view)> fault);
    void close(const Status& status);
    void explain_state();
    Obstacles obstacles();

    PhaseContext& context_;
    MigrationRow row_;
    std::shared_ptr<void> lock_;
    std::unique_ptr<Inspector> inspector_;
    std::optional<Deadline> deadline_;
    nlohmann::json resumed_detail_ = nlohmann::json::object();
    int uninterruptible_ = 0;
    int64_t run_id_ = 0;
    int64_t command_id_ = 0;
    std::string label_;
};

/// What a phase needs before its body runs.
struct PhaseFrame {
    bool takes_lock = true;
    bool recovers = true;  ///< ends what a dead cutover left open, gives back a rehearsed authority
    std::vector<std::string> plan;  ///< for --dry-run: what the phase would do, in order
    std::vector<Gate> gates;        ///< for --dry-run: which gates stand in the way
    /// For --dry-run: requirements whose evidence the phase makes before it asks the gate.
    std::vector<std::string> measures = {};
    /// What its options need of the state beyond the command itself; null: nothing.
    std::function<Status(const MigrationRow&)> allows;
};

/// Runs `body` in the frame. `command` none: allowed in every state (approve).
PhaseOutcome run_phase(PhaseContext& context, std::optional<Command> command, std::string phase,
                       const PhaseFrame& frame, const std::function<Status(PhaseRun&)>& body);

/// Waits until `condition` gives true, with progress between; its errors and a stop end the wait.
/// `span` 0: no limit.
Status wait_until(PhaseRun& run, milliseconds span, const std::string& what,
                  const std::function<Result<bool>()>& condition);

}  // namespace exodus
