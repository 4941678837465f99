// status: everything `exodus status` and `/status` show, in one value. Reads; changes nothing;
// takes no lock.
#pragma once

#include <array>
#include <optional>

#include "workflow/gate_text.h"
#include "workflow/lock.h"
#include "workflow/mover.h"
#include "workflow/phase_context.h"
#include "workflow/phases/status_record.h"

namespace exodus {

struct GateLine {
    std::string name;     ///< "pretest", "analyze", "compare", "test", "follow", "approval"; while
                          ///< it is ahead "switch" (at ready), "commit" (behind the switch)
    std::string verdict;  ///< "PASS", "FAIL", "MISSING", "STALE", "SKIPPED", "INCONCLUSIVE"
    std::string why;      ///< empty for PASS
};

struct StatusReport {
    MigrationRow row;
    int64_t hold_timeout_ms = 0;
    std::string explained;  ///< "switch waits for approval"
    EndpointHealth source;
    EndpointHealth target;
    std::string source_address;
    std::string target_address;
    bool endpoints_probed = false;
    double reads_source_percent = 100;
    double reads_target_percent = 0;
    Side writes = Side::source;
    bool interlay_reachable = false;
    /// Why the interlay and the commands do not work with the same configuration, with the command
    /// that helps; empty: they do, as far as it is known.
    std::string config_changed;
    MovementStatus forward;
    MovementStatus reverse;
    std::string data_flow;  ///< "source ──stream──▶ target  lag 0.08 s"
    std::string way_back;   ///< "armed, idle (checked 12 s ago)"
    WayBack way_back_now;
    std::vector<GateLine> gates;
    StatusRecord record;
    std::string compare_line;            ///< the numbers of the last compare; empty: none
    std::string data_line;               ///< of the last verify
    std::string items_line;              ///< kept and repaired items; empty: none
    std::vector<std::string> decisions;  ///< newest first
    std::vector<std::string> skipped;    ///< skip decisions: shown until commit
    std::vector<std::string> flags;      ///< "paused: …", "degraded: …", "blocked: …"
    std::vector<WorkerRow> workers;
    std::optional<LockHolder> running;  ///< the command that holds the lock now
    std::vector<std::string> next;
    nlohmann::json numbers = nlohmann::json::object();
};

struct StatusOptions {
    bool probe_endpoints = true;  ///< versions and health; one round trip per side
    /// Instead of a probe, what an earlier one found: source, target.
    std::optional<std::array<EndpointHealth, 2>> probed = std::nullopt;
    /// Where the configuration cannot be read as it stands now; empty: the settings are what
    /// commands read.
    std::string config_error{};
};

Result<StatusReport> read_status(PhaseContext& context, const StatusOptions& options);
nlohmann::json to_json(const StatusReport& report);

}  // namespace exodus
