// What every phase gets and what it gives back. cli fills a PhaseContext, calls one run_*() of
// workflow/phases, and renders the PhaseOutcome; phases themselves never print, prompt, or exit.
// They block until done, stopped or refused.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/limits.h"
#include "core/control.h"
#include "core/family.h"
#include "core/state.h"
#include "store/workflow_store.h"
#include "workflow/gates.h"

namespace exodus {

/// What a phase is doing now. Sent often; cli shows it at its own pace.
struct Progress {
    std::string phase;  ///< "migrate"
    std::string step;   ///< "copying", "checking redis.psync", "C5 catching up"
    uint64_t done = 0;
    uint64_t total = 0;  ///< 0: unknown
    bool total_is_estimate = false;
    std::string unit;  ///< "keys", "requests", "checks", "ms"
    double rate = 0;   ///< units per second, 0: unknown
    double bytes_per_s = 0;
    std::optional<int64_t> lag_ms;
    std::optional<int64_t> eta_ms;  ///< an estimate, always
    std::string waiting_for;        ///< empty when it moves
    std::string throttled;
};

/// Something worth a line of its own while the phase runs.
struct Note {
    Severity severity = Severity::info;
    std::string text;
};

/// The typed confirmation of a switch, a rollback after the switch, and a commit; or a question.
struct ConfirmRequest {
    std::string action;       ///< "switch", "rollback", "commit", "give-up"
    std::string migration;    ///< what must be typed
    std::string consequence;  ///< one sentence: what happens now
    bool by_name = true;      ///< false: an ordinary question, for which --yes is enough
    /// Asked while nobody answers; its error (a stop, --timeout) ends the wait. Null: waits.
    std::function<Status()> may_go_on = nullptr;
};

/// The way to the interlay of this migration. cli implements it over the control socket and child
/// processes.
class InterlayAccess {
  public:
    virtual ~InterlayAccess() = default;
    /// The interlay that runs; error `unreachable` when none answers. The port stays valid until
    /// the next call.
    virtual Result<ControlPort*> connect() = 0;
    /// The same, but spawns one in the foreground when none runs, and waits until it answers.
    virtual Result<ControlPort*> ensure(const std::stop_token& stop) = 0;
    /// A connection of its own to the control socket at `path` (of any registered worker); null
    /// when it cannot be used.
    virtual std::unique_ptr<ControlPort> open(const std::string& path) = 0;
};

/// What pretest and analyze read traffic from: packets, a capture file, MONITOR, a log. cli
/// implements it with lib/capture.
struct TapReport {
    uint64_t connections = 0;
    uint64_t packets = 0;
    uint64_t bytes = 0;
    uint64_t lost = 0;        ///< packets or lines that were dropped or could not be read
    bool unreadable = false;  ///< encrypted, or not this protocol
    int64_t span_ms = 0;      ///< from the first request to the last one; 0: unknown
    double loss = 0;          ///< share of what was to be read, 0 … 1
};
class TapSource {
  public:
    virtual ~TapSource() = default;
    [[nodiscard]] virtual std::string describe() const = 0;  ///< "packets on eth0, port 6379"
    /// Feeds sessions made by `make` until `duration` passed, the input ends, or a stop; adds what
    /// they saw to `stats`.
    virtual Result<TapReport> run(const std::function<std::unique_ptr<TapSession>()>& make,
                                  milliseconds duration, const std::stop_token& stop,
                                  TrafficStats& stats) = 0;
};

/// References outlive the phase.
struct PhaseContext {
    const Settings& settings;
    Family& family;
    Dialer& dialer;
    WorkflowStore& store;
    Journal& journal;
    DivergenceLog* divergences = nullptr;  ///< samples file, read-only here; may be null
    InterlayAccess& interlay;
    std::string directory;               ///< as FamilyContext::directory
    Owner owner;                         ///< who decides: uid, host, terminal or CI
    std::string reason;                  ///< --reason
    std::vector<std::string> skip_gate;  ///< --skip-gate PHASE, may be given twice; needs a reason
    std::string tool_version;  ///< of this binary: evidence of another version does not count
    std::vector<std::string> command_line;  ///< for command_log; no secrets are ever on it
    milliseconds lock_timeout{0};
    milliseconds timeout{0};  ///< --timeout of the whole phase, 0: none
    /// How long a switch, a rollback or a commit waits for a side that is away or takes nothing;
    /// tests lower it.
    milliseconds side_away{limits::kSideAway_ms};
    bool dry_run = false;  ///< says what it would do; changes nothing
    std::stop_token stop;  ///< first SIGINT: stop at the next safe point
    std::function<void(const Progress&)> progress;
    std::function<void(const Note&)> note;
    /// Success, or `approval_missing`. Never called with dry_run.
    std::function<Status(const ConfirmRequest&)> confirm;
    /// Called at every point of the cutover journal (Cutover's `fault`): EXODUS_CRASH_AT and tests
    /// end the process there.
    std::function<void(std::string_view point)> fault;

    /// The same with other settings (what the command line changed for one run). `changed` outlives
    /// the result.
    [[nodiscard]] PhaseContext with(const Settings& changed) const {
        return PhaseContext{changed,      family,       dialer,  store,     journal,   divergences,
                            interlay,     directory,    owner,   reason,    skip_gate, tool_version,
                            command_line, lock_timeout, timeout, side_away, dry_run,   stop,
                            progress,     note,         confirm, fault};
    }
    [[nodiscard]] FamilyContext family_context() const {
        return FamilyContext{settings, dialer, journal, directory};
    }
};

/// How a phase ended. All text is for people; `numbers` and the fields are for --json.
struct PhaseOutcome {
    int exit_code = 0;  ///< cli.md, "Exit codes"
    std::string phase;
    std::string headline;              ///< one sentence: what was reached, or why not
    std::vector<std::string> details;  ///< lines with the numbers, in reading order
    std::string stands;  ///< what stands now: "compared; source answers everything; …"
    MigrationState state = MigrationState::created;
    Side authority = Side::source;
    uint64_t epoch = 0;
    std::vector<std::string> next;  ///< commands, most likely first
    std::vector<GateReport> gates;
    std::vector<Finding> findings;
    std::optional<Error> error;  ///< when exit_code is not 0 and not a gate
    nlohmann::json numbers = nlohmann::json::object();
};

}  // namespace exodus
