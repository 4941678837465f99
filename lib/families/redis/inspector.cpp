#include "families/redis/inspector.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.h"
#include "base/limits.h"
#include "families/redis/analyze_report.h"
#include "families/redis/checks.h"
#include "families/redis/fence.h"
#include "families/redis/plan.h"
#include "families/redis/profile.h"
#include "families/redis/server_set.h"
#include "families/redis/stream_command.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

std::string client_field(std::string_view line, std::string_view name) {
    const std::string wanted = std::string(name) + "=";
    std::size_t at = 0;
    while (at < line.size()) {
        const auto end = std::min(line.find(' ', at), line.size());
        const auto word = line.substr(at, end - at);
        if (word.starts_with(wanted)) return std::string(word.substr(wanted.size()));
        at = end + 1;
    }
    return {};
}

/// "10.0.0.9:4711" → "10.0.0.9"; "[::1]:4711" → "[::1]".
std::string_view host_of(std::string_view address) {
    const auto colon = address.rfind(':');
    return colon == std::string_view::npos ? address : address.substr(0, colon);
}

class RedisInspector final : public Inspector {
  public:
    explicit RedisInspector(const FamilyContext& context) : ends_(context) {}

    [[nodiscard]] std::vector<CheckInfo> checks() const override {
        std::vector<CheckInfo> list;
        for (const auto& check : all_checks()) list.push_back({check.id, check.title});
        return list;
    }

    std::vector<Finding> run(const std::string& check_id) override {
        for (const auto& check : all_checks()) {
            if (check_id == check.id) return check.run(check, ends_);
        }
        return {{check_id, Severity::fail, "both", "there is no check " + check_id,
                 "exodus pretest --list"}};
    }

    EndpointHealth health(Side side) override {
        EndpointHealth health;
        const auto failed = [&health](const Error& error) {
            health.error = error.message;
            health.silent =
                error.code == ErrorCode::unreachable || error.code == ErrorCode::timeout;
            return health;
        };
        auto client = ends_.client(side);
        if (!client) return failed(client.error());
        const int64_t began = steady_us();
        auto pong = (*client)->ask({"PING"});
        health.latency_us = steady_us() - began;
        auto info = pong ? (*client)->info() : Result<Info>(tl::unexpected<Error>(pong.error()));
        if (!info) return failed(info.error());
        health.reachable = true;
        health.version = ServerVersion::of(*info).text();
        health.role = info->get("role") == "slave" ? "replica" : info->get("role");
        health.memory_used_bytes = static_cast<uint64_t>(info->integer("used_memory"));
        health.memory_max_bytes = static_cast<uint64_t>(info->integer("maxmemory"));
        const Replicas replicas = replicas_behind(*info);
        health.replicas = replicas.count;
        health.replica_lag_bytes = replicas.lag_bytes;
        health.items = info->keys();
        return health;
    }

    /// What decides how commands behave. Not what a migration changes itself: users (fence),
    /// maxmemory-policy, functions that the copy brings to the target are in for the side only.
    Result<std::string> fingerprint(Side side) override {
        auto client = ends_.client(side);
        if (!client) return tl::unexpected<Error>(client.error());
        auto version = (*client)->server_version();
        if (!version) return tl::unexpected<Error>(std::move(version).error());
        std::string text = version->text() + "\n";
        for (const char* name :
             {"databases", "proto-max-bulk-len", "notify-keyspace-events", "maxmemory"}) {
            auto value = (*client)->config_get(name);
            if (!value) return tl::unexpected<Error>(std::move(value).error());
            text += std::string(name) + "=" + value->value_or("") + "\n";
        }
        auto modules = (*client)->command({"MODULE", "LIST"});
        if (!modules) return tl::unexpected<Error>(std::move(modules).error());
        std::set<std::string> lines;
        for (std::size_t i = 0; i < modules->size(); ++i) {
            lines.insert("module " + std::string((*modules)[i].field("name").text()) + " " +
                         std::to_string((*modules)[i].field("ver").integer()));
        }
        if (side == Side::source && version->at_least(7, 0)) {
            auto functions = (*client)->ask({"FUNCTION", "LIST", "WITHCODE"});
            if (!functions) return tl::unexpected<Error>(std::move(functions).error());
            for (std::size_t i = 0; i < functions->size(); ++i) {
                lines.insert("function " +
                             std::string((*functions)[i].field("library_name").text()) + " " +
                             sha256_hex((*functions)[i].field("library_code").text()));
            }
        }
        for (const auto& line : lines) text += line + "\n";
        return sha256_hex(text);
    }

    Result<nlohmann::json> profile_data(int64_t time_ms_max) override {
        auto client = ends_.client(Side::source);
        if (!client) return tl::unexpected<Error>(client.error());
        return profile_keys(**client, time_ms_max);
    }

    Status note_load() override {
        auto client = ends_.client(Side::source);
        if (!client) return tl::unexpected<Error>(client.error());
        auto now = server_load(**client);
        if (!now) return tl::unexpected<Error>(std::move(now).error());
        during_ = load_ ? load_between(*load_, *now) : ServerLoad{};
        load_ = std::move(*now);
        return {};
    }

    std::vector<Finding> judge_traffic(const TrafficStats& stats) override {
        auto findings = judge_redis_traffic(ends_, stats);
        auto client = ends_.client(Side::source);
        auto writes = client ? acl_category(**client, "write")
                             : Result<std::set<std::string>>(tl::unexpected<Error>(client.error()));
        // Said already: without the source's answer the commands themselves cannot be judged.
        if (!writes) return findings;
        for (Finding& finding : judge_beside(during_, *writes, stats))
            findings.push_back(std::move(finding));
        return findings;
    }

    Result<nlohmann::json> plan(const TrafficStats& stats,
                                const nlohmann::json& data_profile) override {
        return make_redis_plan(ends_, stats, during_, data_profile);
    }

    std::vector<std::string> report(const TrafficStats& stats, const nlohmann::json& data_profile,
                                    const nlohmann::json& plan) override {
        return analyze_report(stats, data_profile, plan);
    }

    /// `interlay_addresses`: of the interlay's backend connections, "host:port" (one connection) or
    /// "host" (all of it).
    Result<std::vector<std::string>> stray_writers(
        const std::vector<std::string>& interlay_addresses) override {
        auto client = ends_.client(Side::source);
        if (!client) return tl::unexpected<Error>(client.error());
        auto writes = acl_category(**client, "write");
        if (!writes) return tl::unexpected<Error>(std::move(writes).error());
        auto list = (*client)->ask({"CLIENT", "LIST"});
        if (!list) return tl::unexpected<Error>(std::move(list).error());
        const std::set<std::string, std::less<>> known(interlay_addresses.begin(),
                                                       interlay_addresses.end());
        std::vector<std::string> strays;
        std::string_view text = list->text();
        while (!text.empty() && strays.size() < limits::kListedNames_max) {
            const auto end = std::min(text.find('\n'), text.size());
            const auto line = text.substr(0, end);
            text.remove_prefix(std::min(end + 1, text.size()));
            const std::string address = client_field(line, "addr");
            const std::string flags = client_field(line, "flags");
            const std::string command = client_field(line, "cmd");
            if (address.empty() || flags.find_first_of("SM") != std::string::npos) continue;
            if (client_field(line, "name").starts_with("exodus")) continue;
            if (known.contains(address) || known.contains(host_of(address))) continue;
            const bool may_write = writes->contains(command) || command.starts_with("eval") ||
                                   command.starts_with("fcall") || command == "exec";
            if (!may_write) continue;
            strays.push_back(
                fmt::format("{} (user {}, cmd {})", address, client_field(line, "user"), command));
        }
        return strays;
    }

    Result<Secret> missing_users() override { return redis::missing_users(ends_); }

    Result<std::vector<std::string>> residue(Side side) override {
        auto client = ends_.client(side);
        if (!client) return tl::unexpected<Error>(client.error());
        auto keyspace = (*client)->info("keyspace");
        if (!keyspace) return tl::unexpected<Error>(std::move(keyspace).error());
        std::set<std::string> found;
        for (const auto& [db, keys] : keyspace->keyspace()) {
            EXODUS_TRY((*client)->select(db));
            std::string cursor = "0";
            do {
                auto reply = (*client)->ask({"SCAN", cursor, "MATCH", "exodus:*", "COUNT", "1000"});
                if (!reply) return tl::unexpected<Error>(std::move(reply).error());
                const auto names = (*reply)[1];
                for (std::size_t i = 0; i < names.size(); ++i) {
                    found.insert(fmt::format("db{} key {}", db, escape_key(names[i].text())));
                }
                cursor = (*reply)[0].text();
            } while (cursor != "0" && found.size() < limits::kListedNames_max);
        }
        return std::vector<std::string>(found.begin(), found.end());
    }

    Result<std::string> execute(Side side, const std::string& request) override {
        // "[1 42] GET key" is of database 1 (and of connection 42), as a capture writes it.
        int database = 0;
        std::string_view text = request;
        if (text.starts_with('[')) {
            const auto end = text.find("] ");
            const auto number = to_number(text.substr(1, text.find_first_of(" ]") - 1));
            if (end == std::string_view::npos || !number || *number < 0)
                return fail(ErrorCode::data, "not a request of a capture: " + request);
            database = static_cast<int>(*number);
            text.remove_prefix(end + 2);
        }
        auto words = split_line(text);
        if (!words) return tl::unexpected<Error>(std::move(words).error());
        if (words->empty()) return fail(ErrorCode::usage, "an empty request");
        // Each request on a connection of its own: SELECT, MULTI or SUBSCRIBE of one must not reach
        // the next.
        auto client = Client::connect(ends_.dialer(), ends_.settings().endpoint(side));
        if (!client) return tl::unexpected<Error>(std::move(client).error());
        if (database != 0) EXODUS_TRY((*client)->select(database));
        auto reply = (*client)->command(*words);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        return print_reply(*reply);
    }

  private:
    Endpoints ends_;
    std::optional<ServerLoad> load_;  ///< as noted last
    ServerLoad during_;               ///< between the last two notes
};

}  // namespace

std::unique_ptr<Inspector> make_redis_inspector(const FamilyContext& context) {
    return std::make_unique<RedisInspector>(context);
}

}  // namespace exodus::redis
