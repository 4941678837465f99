#include "families/redis/plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/limits.h"
#include "families/redis/command_catalog.h"
#include "families/redis/text.h"
#include "families/redis/traffic_profile.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

struct CommandFacts {
    bool known = false;
    int64_t arity = 0;
    std::set<std::string> flags;
};

Result<std::vector<CommandFacts>> facts_of(Client& client, const std::vector<std::string>& names) {
    std::vector<CommandFacts> facts(names.size());
    if (names.empty()) return facts;
    std::vector<std::string> command{"COMMAND", "INFO"};
    command.insert(command.end(), names.begin(), names.end());
    auto reply = client.ask(command);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto entry = (*reply)[i];
        if (!entry.is_array() || entry.size() == 0) continue;
        facts[i].known = true;
        facts[i].arity = entry[1].integer();
        for (std::size_t f = 0; f < entry[2].size(); ++f)
            facts[i].flags.emplace(entry[2][f].text());
    }
    return facts;
}

uint64_t number(const json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_number() ? it->get<uint64_t>() : 0;
}

/// Hot keys that the finding names; the profile has all.
constexpr std::size_t kHotKeysNamed = 5;

Finding note(std::string id, Severity severity, std::string text, std::string hint = {}) {
    return {std::move(id), severity, "traffic", std::move(text), std::move(hint)};
}

void judge_features(const json& profile, std::vector<Finding>& out) {
    const json features = profile.contains("features") && profile["features"].is_object()
                              ? profile["features"]
                              : json::object();
    const auto used = [&](const char* name) { return number(features, name); };
    const auto tell = [&](const char* name, const char* id, Severity severity, const char* what,
                          const char* hint) {
        if (const auto count = used(name))
            out.push_back(note(id, severity, std::to_string(count) + " " + what, hint));
    };
    tell("scripts_without_keys", "redis.traffic.scripts", Severity::info,
         "script calls that declare no keys",
         "they run on the authority only and their effects are moved; on a cluster they could not "
         "run");
    tell("waits", "redis.traffic.wait", Severity::info, "WAIT calls",
         "after the switch they are answered by the target's own replicas: give it as many");
    tell("monitors", "redis.traffic.monitor", Severity::info, "MONITOR connections", "");
    tell("keys_command", "redis.traffic.keys", Severity::info, "KEYS calls",
         "each one blocks the server; SCAN does not");
    tell("flushes", "redis.traffic.flush", Severity::info, "FLUSHDB or FLUSHALL calls",
         "they are moved too");
    tell("admin", "redis.traffic.admin", Severity::info, "administrative commands",
         "SHUTDOWN, REPLICAOF, FAILOVER, MODULE and CLUSTER writes are refused from migrate on");
    if (profile.contains("cross_slot") && profile["cross_slot"].is_object() &&
        !profile["cross_slot"].empty()) {
        std::string names;
        for (const auto& [name, count] : profile["cross_slot"].items())
            names += (names.empty() ? "" : ", ") + name;
        out.push_back(note("redis.traffic.cross-slot", Severity::info,
                           "commands with keys of several slots: " + names,
                           "no matter here; a cluster would refuse them"));
    }
    if (profile.contains("hot_keys") && profile["hot_keys"].is_array()) {
        std::string names;
        std::size_t hot = 0;
        for (const auto& key : profile["hot_keys"]) {
            if (!key.is_object() || !key.contains("share") || !key["share"].is_number() ||
                key["share"].get<double>() < 0.01)
                continue;
            if (++hot > kHotKeysNamed) continue;
            names += (names.empty() ? "" : ", ") + key.value("key", std::string("?")) + " " +
                     std::to_string(static_cast<int>(key["share"].get<double>() * 100)) + " %";
        }
        if (hot > kHotKeysNamed) names += " and " + std::to_string(hot - kHotKeysNamed) + " more";
        if (hot > 0) {
            out.push_back(
                note("redis.traffic.hot-key", Severity::info,
                     std::to_string(hot) + " keys with more than 1 % of the requests: " + names));
        }
    }
}

uint64_t counter(const TrafficStats& stats, const char* name) {
    const auto it = stats.counters.find(name);
    return it == stats.counters.end() ? 0 : it->second;
}

struct Mix {
    uint64_t requests = 0;
    uint64_t writes = 0;
    uint64_t bytes_in = 0;
    uint64_t bytes_out = 0;
    uint64_t written_bytes = 0;
};

Mix mix_of(const TrafficStats& stats) {
    Mix mix;
    for (const auto& [name, command] : stats.commands) {
        mix.requests += command.requests;
        mix.bytes_in += command.bytes_in;
        mix.bytes_out += command.bytes_out;
        if (!command.is_write) continue;
        mix.writes += command.requests;
        mix.written_bytes += command.bytes_in;
    }
    return mix;
}

/// What keeps the source's core busy: its use of it, and the share of each command that matters.
/// `during` has a span.
json busy_of(const ServerLoad& during) {
    const double seconds = static_cast<double>(during.at_us) / 1e6;
    uint64_t all_us = 0;
    for (const auto& [name, command] : during.commands) all_us += command.busy_us;
    json shares = json::object();
    for (const auto& [name, command] : during.commands) {
        const double share = static_cast<double>(command.busy_us) /
                             static_cast<double>(std::max<uint64_t>(1, all_us));
        if (share >= 0.01) shares[name] = share;
    }
    return {{"cores", during.cpu_s / seconds},
            {"in_commands", static_cast<double>(all_us) / 1e6 / seconds},
            {"by_command", std::move(shares)}};
}

/// Commands that neither the built-in table nor a server knows: counted by name on the traffic
/// threads, taken for writes, never shared and never compared.
void judge_unknown(const TrafficStats& stats, std::vector<Finding>& out) {
    uint64_t requests = 0;
    std::string names;
    for (const auto& [name, count] : stats.counters) {
        if (!name.starts_with(kUnknownCommandCounter) || count == 0) continue;
        requests += count;
        names += (names.empty() ? "" : ", ") + name.substr(kUnknownCommandCounter.size());
    }
    if (requests == 0) return;
    out.push_back(
        note("redis.traffic.unknown-command", Severity::warn,
             std::to_string(requests) + " requests name commands that no side knows: " + names,
             "they are forwarded one connection each and never compared; the server's "
             "answer to them was an error unless the command is newer than exodus"));
}

}  // namespace

json traffic_profile_of(const TrafficStats& stats) {
    const auto it = stats.observations.find(kProfileObservation);
    if (it == stats.observations.end()) return json::object();
    auto value = json::parse(it->second, nullptr, false);
    return value.is_object() ? value : json::object();
}

std::vector<Finding> judge_redis_traffic(Endpoints& ends, const TrafficStats& stats) {
    std::vector<Finding> out;
    std::vector<std::string> names;
    std::vector<std::string> shown;
    for (const auto& [name, command] : stats.commands) {
        if (command.requests == 0) continue;
        names.push_back(table_name(name));
        shown.push_back(name);
    }
    std::vector<CommandFacts> facts[2];
    for (const Side side : {Side::source, Side::target}) {
        auto client = ends.client(side);
        auto found = client
                         ? facts_of(**client, names)
                         : Result<std::vector<CommandFacts>>(tl::unexpected<Error>(client.error()));
        if (!found) {
            // Without both tables nothing can be judged; that is not the same as nothing wrong.
            out.push_back(note("redis.traffic.commands", Severity::fail,
                               "the commands of the " + std::string(to_string(side)) +
                                   " cannot be listed: " + found.error().message,
                               found.error().hint));
            return out;
        }
        facts[side == Side::source ? 0 : 1] = std::move(*found);
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto& source = facts[0][i];
        const auto& target = facts[1][i];
        const auto& command = stats.commands.at(shown[i]);
        const std::string seen =
            shown[i] + " (seen " + std::to_string(command.requests) + " times)";
        if (source.known && !target.known) {
            out.push_back(
                note("redis.traffic.missing-command", Severity::fail,
                     seen + " does not exist on the target",
                     "a newer target, the module it comes from, or an application without it"));
        } else if (!source.known && command.errors < command.requests && shown[i] != "UNKNOWN" &&
                   shown[i] != "(unknown)") {
            out.push_back(note("redis.traffic.unknown-command", Severity::warn,
                               seen + " is in no command table of the source"));
        } else if (source.known && source.arity != target.arity) {
            out.push_back(note("redis.traffic.different-command", Severity::info,
                               seen + " takes other numbers of arguments on the target"));
        } else if (source.known &&
                   source.flags.contains("write") != target.flags.contains("write")) {
            out.push_back(note("redis.traffic.different-command", Severity::warn,
                               seen + " writes on one side only"));
        }
        static const std::set<std::string> random{"spop", "srandmember", "hrandfield",
                                                  "zrandmember", "randomkey"};
        if (random.contains(names[i])) {
            out.push_back(note("redis.traffic.random", Severity::info, seen + " answers at random",
                               names[i] == "spop" ? "its effect is moved exactly"
                                                  : "compared by type and size only"));
        }
    }
    judge_unknown(stats, out);
    judge_features(traffic_profile_of(stats), out);
    if (out.empty()) {
        out.push_back(
            note("redis.traffic.commands", Severity::pass,
                 std::to_string(names.size()) + " different commands, all known to both sides"));
    }
    return out;
}

Result<json> make_redis_plan(Endpoints& ends, const TrafficStats& stats, const ServerLoad& during,
                             const json& data_profile) {
    ServerVersion versions[2];
    Info source_info;
    for (const Side side : {Side::source, Side::target}) {
        auto client = ends.client(side);
        if (!client) return tl::unexpected<Error>(client.error());
        auto info = (*client)->info();
        if (!info) return tl::unexpected<Error>(std::move(info).error());
        versions[side == Side::source ? 0 : 1] = ServerVersion::of(*info);
        if (side == Side::source) source_info = std::move(*info);
    }
    const uint64_t keys = number(data_profile, "keys");
    const uint64_t dataset = number(data_profile, "dataset_bytes");
    const uint64_t backlog =
        static_cast<uint64_t>(std::max<int64_t>(0, source_info.integer("repl_backlog_size")));
    const auto mix = mix_of(stats);
    // Measured on loopback (redis.md 4.4, 12): some 75,000 keys/s at 30 % of a source core; 1 GiB
    // links move 100 MiB/s.
    const double by_keys = static_cast<double>(keys) / limits::kPlanKeys_per_s;
    const double by_bytes = static_cast<double>(dataset) / limits::kPlanBytes_per_s;
    const double copy_s = std::max(by_keys, by_bytes);
    // What the stream carries is about what the writes weigh; both over the time that was observed.
    const double seconds = static_cast<double>(counter(stats, kObservedMs)) / 1000;
    const double input = seconds > 0 ? static_cast<double>(mix.written_bytes) / seconds : 0;
    const double per_s = seconds > 0 ? static_cast<double>(mix.requests) / seconds : 0;
    const double per_mb = dataset == 0 ? 0 : per_s / (static_cast<double>(dataset) / 1048576.0);
    json warnings = json::array();
    if (number(data_profile, "above_8mib") > 0) {
        warnings.push_back(std::to_string(number(data_profile, "above_8mib")) +
                           " keys above 8 MiB are copied in pieces");
    }
    if (input > 0 &&
        static_cast<double>(backlog) / input < static_cast<double>(limits::kPretestBacklog_s)) {
        warnings.push_back("the backlog lasts less than a minute: CONFIG SET repl-backlog-size");
    }
    const bool same_format =
        versions[1].at_least(versions[0].compat_major, versions[0].compat_minor);
    const bool back_same = versions[0].at_least(versions[1].compat_major, versions[1].compat_minor);
    const auto options = ends.settings().family_options;
    const auto option = [&](const char* name, const char* fallback) {
        const auto it = options.find(name);
        return it == options.end() ? std::string(fallback) : it->second;
    };
    json plan{{"family", "redis"},
              {"source", versions[0].text()},
              {"target", versions[1].text()},
              {"feed", "stream"},
              {"lanes", limits::kPlanLanes},
              {"payload_level", same_format ? 0 : 2},
              {"rollback_payload_level", back_same ? 0 : 2},
              {"big_key", option("copy.big_key", "dump")},
              {"keys", keys},
              {"dataset_bytes", dataset},
              {"copy_seconds_estimate", static_cast<uint64_t>(copy_s + 0.999)},
              {"limited_by", by_keys >= by_bytes ? "keys" : "bytes"},
              {"target_memory_bytes", dataset + dataset / 5},
              {"spool_bytes_estimate", static_cast<uint64_t>(input * copy_s)},
              {"backlog_bytes", backlog},
              {"write_bytes_per_s", static_cast<uint64_t>(input)},
              {"requests", mix.requests},
              {"requests_per_s", static_cast<uint64_t>(per_s)},
              {"write_share", mix.requests == 0 ? 0.0
                                                : static_cast<double>(mix.writes) /
                                                      static_cast<double>(mix.requests)},
              {"network_bytes_per_s",
               {{"in", seconds > 0 ? static_cast<double>(mix.bytes_in) / seconds : 0.0},
                {"out", seconds > 0 ? static_cast<double>(mix.bytes_out) / seconds : 0.0}}},
              {"ops_per_mb", per_mb},
              {"sizing", per_mb < 1     ? "memory-bound: size the target by memory"
                         : per_mb <= 50 ? "balanced"
                                        : "compute-bound: size the target by its core"},
              {"warnings", std::move(warnings)}};
    // Of a capture nobody knows it.
    if (during.at_us > 0) plan["source_busy"] = busy_of(during);
    return plan;
}

}  // namespace exodus::redis
