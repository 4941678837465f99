// Looks at both endpoints without changing them: what pretest and analyze ask. Runs on a workflow
// thread; blocks.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "core/endpoint.h"
#include "core/finding.h"
#include "core/traffic_stats.h"

namespace exodus {

/// A probe of one side, for status and telemetry.
struct EndpointHealth {
    bool reachable = false;
    bool silent = false;     ///< not reachable, and not because it refuses us: nobody answers
    std::string version;     ///< "redis 7.0.15"
    std::string role;        ///< "master", "replica", ...
    int64_t latency_us = 0;  ///< of the probe
    uint64_t items = 0;      ///< keys, rows, documents (estimate)
    uint64_t memory_used_bytes = 0;
    uint64_t memory_max_bytes = 0;  ///< 0: no limit
    uint64_t replicas = 0;
    uint64_t replica_lag_bytes = 0;  ///< of its own slowest replica
    std::string error;               ///< why it is not reachable
};

class Inspector {
  public:
    virtual ~Inspector() = default;
    [[nodiscard]] virtual std::vector<CheckInfo> checks() const = 0;
    /// Runs one check of the list. A check that could not run is a finding of severity fail, never
    /// an Error.
    virtual std::vector<Finding> run(const std::string& check_id) = 0;
    virtual EndpointHealth health(Side side) = 0;
    /// Fingerprint of what must not change between evidence and switch (settings, functions,
    /// modules, versions).
    virtual Result<std::string> fingerprint(Side side) = 0;
    /// Data profile for analyze (sizes, types, TTLs, big keys) within the time given; a JSON
    /// object.
    virtual Result<nlohmann::json> profile_data(int64_t time_ms_max) = 0;
    /// Notes what the source has done until now. Twice, around what is observed: then judge_traffic
    /// and plan hold the traffic against what the source itself counted in between.
    virtual Status note_load() { return {}; }
    /// What the observed traffic means for this pair of endpoints: compatibility findings.
    virtual std::vector<Finding> judge_traffic(const TrafficStats& stats) = 0;
    /// The plan (how data will move, limits, estimates), a JSON object; made by analyze and used by
    /// migrate.
    virtual Result<nlohmann::json> plan(const TrafficStats& stats,
                                        const nlohmann::json& data_profile) = 0;
    /// Data, traffic and plan in lines for people, beside what the findings say.
    virtual std::vector<std::string> report(const TrafficStats& stats,
                                            const nlohmann::json& data_profile,
                                            const nlohmann::json& plan) {
        static_cast<void>(stats);
        static_cast<void>(data_profile);
        static_cast<void>(plan);
        return {};
    }
    /// Writers on the source that do not come from `interlay_addresses`: "10.0.0.9:4711 (user app,
    /// cmd set)".
    virtual Result<std::vector<std::string>> stray_writers(
        const std::vector<std::string>& interlay_addresses) = 0;
    /// Requests that make the users that the target lacks as they are on the source, a line each,
    /// with what they log in by; exodus never makes them itself. Error not_allowed where there is
    /// nothing to make.
    virtual Result<Secret> missing_users() {
        return fail(ErrorCode::not_allowed, "this family has no users to make on the target");
    }
    /// What exodus left behind on a side (must be nothing after commit).
    virtual Result<std::vector<std::string>> residue(Side side) = 0;
    /// Runs one request in the family's text form against a side and returns the reply as text
    /// (smoke tests).
    virtual Result<std::string> execute(Side side, const std::string& request) = 0;
    /// Whether execute_in() can work at all.
    [[nodiscard]] virtual bool has_namespaces() const { return false; }
    /// The same inside a scratch namespace (a database number, a schema) that holds nothing of the
    /// migration (replay). Error not_allowed when the family has none or this one is in use.
    virtual Result<std::string> execute_in(const std::string& name_space, Side side,
                                           const std::string& request) {
        static_cast<void>(side);
        static_cast<void>(request);
        return fail(ErrorCode::not_allowed, "this family has no scratch namespace " + name_space);
    }
};

}  // namespace exodus
