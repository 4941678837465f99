// Checks about what the data need on the other side: modules, functions, settings.
#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/limits.h"
#include "families/redis/checks.h"

namespace exodus::redis {

namespace {

/// Names of MODULE LIST or FUNCTION LIST with what identifies them.
Result<std::map<std::string, std::string>> listed(Client& client, Client::Args command,
                                                  std::string_view name,
                                                  std::string_view identity) {
    auto reply = client.command(command);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    std::map<std::string, std::string> items;
    if (reply->is_error()) {
        // Before 7.0 there are no functions.
        if (error_word(*reply) == "ERR") return items;
        return tl::unexpected<Error>(error_of(*reply, *command.begin()));
    }
    for (std::size_t i = 0; i < reply->size(); ++i) {
        const auto value = (*reply)[i].field(identity);
        items[std::string((*reply)[i].field(name).text())] = value.type() == ReplyType::integer
                                                                 ? std::to_string(value.integer())
                                                                 : std::string(value.text());
    }
    return items;
}

struct BothLists {
    std::map<std::string, std::string> source;
    std::map<std::string, std::string> target;
};

std::optional<BothLists> both_listed(const Check& check, Endpoints& ends, Client::Args command,
                                     std::string_view name, std::string_view identity,
                                     Findings& out) {
    BothLists lists;
    for (const Side side : {Side::source, Side::target}) {
        auto client = ends.client(side);
        if (!client) {
            out.push_back(failed(check, std::string(to_string(side)), client.error()));
            return std::nullopt;
        }
        auto items = listed(**client, command, name, identity);
        if (!items) {
            out.push_back(failed(check, std::string(to_string(side)), items.error()));
            return std::nullopt;
        }
        (side == Side::source ? lists.source : lists.target) = std::move(*items);
    }
    return lists;
}

}  // namespace

Findings check_modules(const Check& check, Endpoints& ends) {
    Findings out;
    const auto lists = both_listed(check, ends, {"MODULE", "LIST"}, "name", "ver", out);
    if (!lists) return out;
    std::vector<std::string> missing;
    for (const auto& [name, version] : lists->source) {
        if (!lists->target.contains(name)) missing.push_back(fmt::format("{} {}", name, version));
    }
    if (!missing.empty()) {
        return {finding(check, Severity::fail, "target",
                        "modules of the source that the target lacks: " + joined(missing),
                        "MODULE LOAD on the target")};
    }
    return {finding(
        check, Severity::pass, "both",
        std::to_string(lists->source.size()) + " modules on the source, all on the target")};
}

Findings check_functions(const Check& check, Endpoints& ends) {
    Findings out;
    const auto lists = both_listed(check, ends, {"FUNCTION", "LIST", "WITHCODE"}, "library_name",
                                   "library_code", out);
    if (!lists) return out;
    std::vector<std::string> differ;
    std::vector<std::string> extra;
    std::size_t copied = 0;
    for (const auto& [name, code] : lists->source) {
        const auto it = lists->target.find(name);
        if (it == lists->target.end()) ++copied;
        if (it != lists->target.end() && it->second != code) differ.push_back(name);
    }
    for (const auto& [name, code] : lists->target) {
        if (!lists->source.contains(name)) extra.push_back(name);
    }
    auto client = ends.client(Side::target);
    if (!lists->source.empty() && client) {
        auto version = (*client)->server_version();
        if (version && !version->at_least(7, 0)) {
            return {finding(check, Severity::fail, "target",
                            std::to_string(lists->source.size()) +
                                " function libraries, but the target knows none",
                            "a target of 7.0 or later")};
        }
    }
    if (!differ.empty()) {
        out.push_back(finding(
            check, Severity::warn, "target", "other code under the same name: " + joined(differ),
            "migrate.conflict says whose stays; FUNCTION DELETE NAME on the target to be sure"));
    }
    if (!extra.empty())
        out.push_back(finding(check, Severity::info, "target",
                              "libraries that only the target has: " + joined(extra)));
    if (differ.empty()) {
        out.push_back(finding(check, Severity::pass, "both",
                              std::to_string(lists->source.size()) +
                                  " function libraries on the source, " + std::to_string(copied) +
                                  " to copy"));
    }
    return out;
}

Findings check_settings(const Check& check, Endpoints& ends) {
    // Those that change what an application gets are worth a warning; those that change encodings
    // only are told.
    static constexpr std::pair<const char*, Severity> kNames[] = {
        {"proto-max-bulk-len", Severity::warn},
        {"notify-keyspace-events", Severity::warn},
        {"timeout", Severity::info},
        {"maxclients", Severity::info},
        {"lua-time-limit", Severity::info},
        {"busy-reply-threshold", Severity::info},
        {"maxmemory-policy", Severity::info},
        {"lazyfree-lazy-user-del", Severity::info},
        {"lazyfree-lazy-user-flush", Severity::info},
        {"lazyfree-lazy-server-del", Severity::info},
        {"lazyfree-lazy-eviction", Severity::info},
        {"lazyfree-lazy-expire", Severity::info},
        {"hash-max-listpack-entries", Severity::info},
        {"hash-max-listpack-value", Severity::info},
        {"list-max-listpack-size", Severity::info},
        {"set-max-intset-entries", Severity::info},
        {"set-max-listpack-entries", Severity::info},
        {"set-max-listpack-value", Severity::info},
        {"zset-max-listpack-entries", Severity::info},
        {"zset-max-listpack-value", Severity::info},
        {"stream-node-max-bytes", Severity::info},
        {"stream-node-max-entries", Severity::info},
        {"appendonly", Severity::info},
        {"save", Severity::info},
    };
    Findings out;
    for (const Side side : {Side::source, Side::target}) {
        auto client = ends.client(side);
        if (!client) return {failed(check, std::string(to_string(side)), client.error())};
        auto readable = (*client)->config_get("databases");
        if (!readable) {
            return {finding(check, Severity::info, std::string(to_string(side)),
                            "settings cannot be read: " + readable.error().message)};
        }
    }
    std::size_t equal = 0;
    for (const auto& [name, severity] : kNames) {
        const auto source = config_of(ends, Side::source, name);
        const auto target = config_of(ends, Side::target, name);
        if (!source || !target) continue;  // one side does not know it
        if (*source == *target) {
            ++equal;
            continue;
        }
        out.push_back(finding(check, severity, "both",
                              std::string(name) + " is \"" + *source + "\" on the source and \"" +
                                  *target + "\" on the target",
                              severity == Severity::warn ? "CONFIG SET " + std::string(name) +
                                                               " \"" + *source + "\" on the target"
                                                         : ""));
    }
    if (out.empty())
        out.push_back(finding(check, Severity::pass, "both",
                              std::to_string(equal) + " settings compared, all equal"));
    return out;
}

}  // namespace exodus::redis
