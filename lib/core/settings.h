// The settings of a migration as values. config reads them from TOML, environment and flags, with
// every error and its line; everybody else only reads these structs. Defaults are here, each the
// value an operator would choose without thinking.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/endpoint.h"

namespace exodus {

enum class Strategy { big_bang, canary, blue_green };
constexpr std::string_view to_string(Strategy strategy) {
    switch (strategy) {
        case Strategy::big_bang:
            return "big-bang";
        case Strategy::canary:
            return "canary";
        case Strategy::blue_green:
            return "blue-green";
    }
    return "big-bang";
}
enum class ConflictPolicy { fail, skip, overwrite, newer };
enum class DataMovement { copy, repair };
enum class WriteConsistency { source, target, either, both };

/// As whom a client of the interlay is known to one server.
struct ClientLogin {
    std::string user;  ///< empty: AUTH with the password only
    Secret password;
};

/// The name of the one user that stands for all clients on the target (target.auth = service).
inline constexpr const char* kEverybody = "*";

/// Who may log in to the interlay, where it checks clients itself (target.auth = map); or who
/// everybody is on the target.
struct ClientUser {
    std::string name;
    std::string password_sha256;  ///< hexadecimal; else `password`; neither: by certificate only
    Secret password;
    std::string certificate;  ///< subject of a verified client certificate; empty: none
    ClientLogin source;
    ClientLogin target;
};

struct InterlaySettings {
    std::vector<std::string> listen = {"127.0.0.1:6400"};  ///< host:port, [v6]:port or unix:/path
    std::string http;                                      ///< telemetry address; empty: off
    std::string http_token_file;
    Secret http_token;           ///< what the file holds
    std::string http_cert_file;  ///< TLS of the telemetry server; with http_key_file
    std::string http_key_file;
    int threads = 1;
    std::string control;  ///< control socket; empty: <state>.sock
    int64_t drain_timeout_ms = 30'000;
    TlsSettings tls;  ///< of the listener; cert_file and key_file required when enabled
    bool require_client_cert = false;
    std::vector<ClientUser> users;
};

struct CompareSettings {
    double mirror_percent = 100;
    double aa_percent = 1;
    double budget = 1e-5;  ///< tolerated share of confirmed divergences
    double confidence = 0.99;
    struct Rule {
        std::vector<std::string> commands;
        std::string action;  ///< "exact" | "unordered" | "ignore"
    };
    std::vector<Rule> rules;
};

struct CutoverSettings {
    int64_t max_lag_ms = 200;         ///< more lag than this: the switch is not started
    int64_t hold_timeout_ms = 3'000;  ///< clients wait no longer; then abort and release
    int64_t watch_ms = 24LL * 3600 * 1000;
};

/// Steps of the canary strategy.
struct CanarySettings {
    std::vector<double> steps = {5, 25, 50, 100};  ///< percent of reads on the target
    int64_t hold_ms = 600'000;                     ///< observation of each step
    double abort_error_rate = 0.001;
    double abort_p99_ratio = 1.5;
};

struct MigrateSettings {
    Strategy strategy = Strategy::big_bang;
    ConflictPolicy conflict = ConflictPolicy::fail;
    DataMovement data_movement = DataMovement::copy;
    WriteConsistency write_consistency = WriteConsistency::source;
    bool manual_approval = true;
    std::map<std::string, std::string> throttle;  ///< as Movement::set_throttle
    CanarySettings canary;
};

struct ScopeSettings {
    std::vector<std::string> include;  ///< glob patterns; empty: everything
    std::vector<std::string> exclude;
};

/// The gates' numbers (workflow.md). Examples and tests lower durations, never the rules.
struct GateSettings {
    int64_t evidence_age_ms = 24LL * 3600 * 1000;
    int64_t analyze_duration_ms = 60'000;
    uint64_t analyze_requests_min = 1'000;
    uint64_t compare_samples_min = 299'572;  ///< 1e-5 at 95 % with none seen
    int64_t ready_lag_ms = 1'000;
    int64_t ready_lag_for_ms = 60'000;
};

struct Settings {
    std::string migration = "migration";
    std::string family;
    std::string state_path = "exodus.db";
    Endpoint source;
    Endpoint target;
    InterlaySettings interlay;
    CompareSettings compare;
    CutoverSettings cutover;
    MigrateSettings migrate;
    ScopeSettings scope;
    GateSettings gates;
    /// The family's own table of the file ([redis], [postgres], …), flattened: "spool.max" ->
    /// "64GiB". The family checks it.
    std::map<std::string, std::string> family_options;
    std::string config_hash;  ///< SHA-256 over everything above without secrets

    [[nodiscard]] const Endpoint& endpoint(Side side) const {
        return side == Side::source ? source : target;
    }
    /// A configuration named an endpoint; else what is here are defaults that nobody chose.
    [[nodiscard]] bool given() const { return !source.host.empty() || !source.unix_path.empty(); }
};

}  // namespace exodus
