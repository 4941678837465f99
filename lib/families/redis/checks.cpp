#include "families/redis/checks.h"

namespace exodus::redis {

Result<Client*> Endpoints::client(Side side) {
    auto& client = clients_[side == Side::source ? 0 : 1];
    if (!client || client->broken() || client->pending_replies() != 0) {
        ConnectOptions options;
        options.database = 0;
        auto fresh = Client::connect(context_.dialer, context_.settings.endpoint(side), options);
        if (!fresh) return tl::unexpected<Error>(std::move(fresh).error());
        client = std::move(*fresh);
    }
    EXODUS_TRY(client->select(0));
    return client.get();
}

Finding finding(const Check& check, Severity severity, std::string subject, std::string text,
                std::string hint) {
    return {check.id, severity, std::move(subject), std::move(text), std::move(hint)};
}

Finding failed(const Check& check, std::string subject, const Error& error) {
    return {check.id, Severity::fail, std::move(subject), error.message, error.hint};
}

std::optional<Info> info_of(const Check& check, Endpoints& ends, Side side,
                            std::string_view section, Findings& out) {
    auto client = ends.client(side);
    if (!client) {
        out.push_back(failed(check, std::string(to_string(side)), client.error()));
        return std::nullopt;
    }
    auto info = (*client)->info(section);
    if (!info) {
        out.push_back(failed(check, std::string(to_string(side)), info.error()));
        return std::nullopt;
    }
    return std::move(*info);
}

std::optional<std::string> config_of(Endpoints& ends, Side side, std::string_view name) {
    auto client = ends.client(side);
    if (!client) return std::nullopt;
    auto value = (*client)->config_get(name);
    return value ? *value : std::nullopt;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

const std::vector<Check>& all_checks() {
    static const std::vector<Check> checks = {
        {"redis.reach.source", "the source answers: login, version, round trip",
         check_reach_source},
        {"redis.reach.target", "the target answers: login, version, round trip",
         check_reach_target},
        {"redis.resp3", "clients can speak RESP3 on both sides", check_resp3},
        {"redis.role", "both endpoints are primaries and no cluster nodes", check_role},
        {"redis.rights", "exodus' user may run what a migration needs", check_rights},
        {"redis.fence",
         "both sides can be fenced: own user, reachable replicas, rules kept over a restart",
         check_fence},
        {"redis.psync", "the source gives its change stream (PSYNC)", check_psync},
        {"redis.backlog", "the source's backlog covers a minute of writes", check_backlog},
        {"redis.min-replicas", "nothing counts or watches replicas in a way that exodus disturbs",
         check_min_replicas},
        {"redis.clock-skew", "both clocks agree, so expiries mean the same", check_clock},
        {"redis.target-empty", "the target is as the conflict policy needs it", check_target_empty},
        {"redis.databases", "the target has every database that the source uses", check_databases},
        {"redis.maxmemory", "the data fit into the target's memory", check_maxmemory},
        {"redis.eviction", "the target does not evict while it is filled", check_eviction},
        {"redis.aof-user", "an append-only file keeps what exodus writes over a restart",
         check_aof_user},
        {"redis.payload-ladder", "the target loads the source's payloads", check_payloads},
        {"redis.rollback-fidelity", "what the way back can carry", check_way_back},
        {"redis.modules", "modules of the source exist on the target", check_modules},
        {"redis.functions", "functions are the same, or will be copied", check_functions},
        {"redis.settings", "settings that applications notice are equal", check_settings},
        {"redis.acl", "users of the source exist on the target", check_acl},
        {"redis.spool-room", "disk for four hours of change stream", check_spool_room},
    };
    return checks;
}

}  // namespace exodus::redis
