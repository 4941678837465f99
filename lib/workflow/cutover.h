// The cutover journal C0–C8 (workflow.md): hands the authority from one side to the other. Switch
// and rollback are the same code with the sides exchanged. Durable are: the fence's rules before
// the hold, the hold (C1), all proofs at once (C6), the switch (C7), the release. Run again after a
// crash it aborts what was not proven and goes on with what was. Owns no connection: traffic,
// movement, fence and final check come in as ports.
//
// What stands when a call returns: either the authority moved and everything is released, or it did
// not move, the fence is lifted and everything is released, or (a crash, a sick endpoint) what is
// left to do is durable and recover() does it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "core/compare.h"
#include "core/control.h"
#include "core/fence.h"
#include "core/movement.h"
#include "core/settings.h"
#include "store/workflow_store.h"

namespace exodus {

/// The world of a cutover.
struct CutoverPorts {
    WorkflowStore& store;
    /// A connection to the control socket of a registered worker; null when the path cannot be
    /// used.
    std::function<std::unique_ptr<ControlPort>(const std::string& path)> control;
    /// The fence of a side; made once per side and call.
    std::function<std::unique_ptr<Fence>(Side side)> fence;
    /// Verifier::final_check of the direction that is ending, with the keys touched last. Clean, or
    /// the cutover aborts.
    std::function<Result<VerifyResult>(Direction direction, const std::vector<std::string>& touched,
                                       Deadline deadline)>
        final_check;
    /// What the operator sees: ("C5", "waiting for position …"). May be empty.
    std::function<void(std::string_view step, std::string_view text)> progress;
    /// Called around every effect and durable write: "C4.before-effect", "C4.after-effect" (nothing
    /// of it is durable yet), "C6.after-done", and the finer ones of cutover_points(). Tests and
    /// EXODUS_CRASH_AT end the process there; an exception thrown by it leaves what a killed
    /// process leaves. May be empty.
    std::function<void(std::string_view point)> fault;
};

enum class CutoverKind : uint8_t {
    hand_to_target,  ///< switch: source loses the authority
    hand_to_source,  ///< rollback: target loses it
};

struct CutoverRequest {
    CutoverKind kind = CutoverKind::hand_to_target;
    int64_t hold_timeout_ms = 3'000;
    /// C0–C6, then a deliberate abort: everything is proven and measured, the authority never moves
    /// (test's rehearsal).
    bool rehearse_only = false;
    /// The state after success; none: `switched` or `rolled_back`. test's full rehearsal returns to
    /// the state it came from.
    std::optional<MigrationState> success_state;
    std::string command;  ///< for the epoch log, "migrate --switch"
    std::string reason;
    Owner owner;
    std::optional<DecisionRow> decision;  ///< the typed confirmation; durable together with C1
    std::string tool_version;             ///< stored as context of the evidence; empty: unchanged
};

enum class CutoverOutcome : uint8_t {
    done,       ///< the authority is where it was asked to be
    rehearsed,  ///< rehearse_only: aborted on purpose after C6
    aborted,    ///< a step failed or the hold's deadline passed: authority unchanged, fence lifted,
                ///< writes released
};

struct CutoverReport {
    CutoverOutcome outcome = CutoverOutcome::aborted;
    bool resumed = false;                    ///< an earlier process began it
    MigrationRow row;                        ///< as it stands now
    int64_t hold_us = 0;                     ///< C1 durable → release published
    std::map<std::string, int64_t> step_us;  ///< "C1" … "C8"
    std::string end_position;                ///< of the side that lost the authority
    std::string failed_step;                 ///< when aborted: "C2"
    Error why;                               ///< when aborted
};

class Cutover {
  public:
    /// `settings` and what `ports` refers to outlive it.
    Cutover(const Settings& settings, CutoverPorts ports);

    /// Performs or resumes the cutover. The caller holds the lock and has asked gates G6 (or G8)
    /// and the operator. When one is open, recover() comes first; an operation of the same kind
    /// that was not aborted thereby is the answer. Errors: not_allowed (state), unreachable (no
    /// worker with a mover; nothing was changed), store errors. An abort is a report, not an Error.
    Result<CutoverReport> run(const MigrationRow& row, const CutoverRequest& request);

    /// Ends what a dead process left open: before C7 aborts it (resumes it when the hold still has
    /// time), from C7 on completes it. Also lifts a fence that stands on the authority without a
    /// hold. Nothing open: none. Call it at the start of every phase command that may change
    /// traffic.
    Result<std::optional<CutoverReport>> recover(const MigrationRow& row, const Owner& owner);

  private:
    const Settings& settings_;
    CutoverPorts ports_;
};

/// Every name that `fault` is called with: those of a cutover in their order, then those of an
/// abort.
std::vector<std::string> cutover_points();

}  // namespace exodus
