// Checks about what the data need on the other side: payload formats, modules, functions,
// settings, users.
#include <algorithm>
#include <map>
#include <set>

#include "base/limits.h"
#include "families/redis/acl.h"
#include "families/redis/checks.h"
#include "families/redis/text.h"

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

struct Sample {
    std::string kind;  ///< "set/listpack"
    std::string payload;
};

/// One small payload per (type, encoding) among the first keys of a SCAN.
Result<std::vector<Sample>> take_samples(Client& client, const Findings&) {
    std::map<std::string, std::string> samples;
    std::string cursor = "0";
    std::size_t looked = 0;
    do {
        auto reply = client.ask({"SCAN", cursor, "COUNT", "256"});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        cursor = (*reply)[0].text();
        const auto names = (*reply)[1];
        for (std::size_t i = 0; i < names.size(); ++i) {
            client.append({"TYPE", names[i].text()});
            client.append({"OBJECT", "ENCODING", names[i].text()});
            client.append({"MEMORY", "USAGE", names[i].text(), "SAMPLES", "5"});
        }
        if (names.size() > 0) {
            auto facts = client.read_all(names.size() * 3);
            if (!facts) return tl::unexpected<Error>(std::move(facts).error());
            for (std::size_t i = 0; i < names.size(); ++i) {
                const std::string kind = std::string((*facts)[3 * i].text()) + "/" +
                                         std::string((*facts)[3 * i + 1].text());
                const auto bytes = (*facts)[3 * i + 2].integer();
                if (samples.contains(kind) || bytes <= 0 || bytes > limits::kPretestSample_bytes)
                    continue;
                auto dump = client.ask({"DUMP", names[i].text()});
                if (!dump) return tl::unexpected<Error>(std::move(dump).error());
                if (!dump->is_nil()) samples[kind] = dump->text();
            }
        }
        looked += names.size();
    } while (cursor != "0" && looked < limits::kPretestSample_keys);
    std::vector<Sample> list;
    for (auto& [kind, payload] : samples) list.push_back({kind, std::move(payload)});
    return list;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

}  // namespace

Findings check_payloads(const Check& check, Endpoints& ends) {
    Findings out;
    auto source = ends.client(Side::source);
    if (!source) return {failed(check, "source", source.error())};
    auto target = ends.client(Side::target);
    if (!target) return {failed(check, "target", target.error())};
    auto samples = take_samples(**source, out);
    if (!samples) return {failed(check, "source", samples.error())};
    if (samples->empty()) {
        return {finding(check, Severity::info, "both",
                        "the source has no keys in database 0 to take samples of")};
    }
    std::vector<std::string> raw;
    std::vector<std::string> rewritten;
    std::vector<std::string> refused;
    for (std::size_t i = 0; i < samples->size(); ++i) {
        const auto& sample = (*samples)[i];
        const std::string key = "exodus:pretest:" + std::to_string(i);
        auto reply = (*target)->command({"RESTORE", key, "60000", sample.payload, "REPLACE"});
        if (!reply) return {failed(check, "target", reply.error())};
        // Removed at once; the expiry is for the case that exodus is killed in between.
        auto removed = (*target)->command({"DEL", key});
        if (!removed) return {failed(check, "target", removed.error())};
        const auto text = reply->text();
        if (!reply->is_error()) {
            raw.push_back(sample.kind);
        } else if (error_word(*reply) == "NOPERM" || error_word(*reply) == "OOM") {
            return {finding(check, Severity::fail, "target", "RESTORE: " + std::string(text),
                            "give exodus the right to write, and memory")};
        } else if (sample.kind.starts_with("string/") || sample.kind.starts_with("list/") ||
                   sample.kind.starts_with("set/") || sample.kind.starts_with("zset/") ||
                   sample.kind.starts_with("hash/") || sample.kind.starts_with("stream/")) {
            rewritten.push_back(sample.kind);
        } else {
            refused.push_back(sample.kind);
        }
    }
    if (!raw.empty())
        out.push_back(finding(check, Severity::pass, "both", "loaded as they are: " + joined(raw)));
    if (!rewritten.empty()) {
        out.push_back(
            finding(check, Severity::info, "both",
                    "not loaded as they are, written by commands instead: " + joined(rewritten)));
    }
    if (!refused.empty()) {
        out.push_back(finding(check, Severity::fail, "target",
                              "of a module that the target lacks: " + joined(refused),
                              "load the module on the target, or exclude these keys ([scope])"));
    }
    return out;
}

Findings check_modules(const Check& check, Endpoints& ends) {
    Findings out;
    const auto lists = both_listed(check, ends, {"MODULE", "LIST"}, "name", "ver", out);
    if (!lists) return out;
    std::vector<std::string> missing;
    for (const auto& [name, version] : lists->source) {
        if (!lists->target.contains(name)) missing.push_back(name + " " + version);
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
        {"lazyfree-lazy-user-del", Severity::info},
        {"lazyfree-lazy-expire", Severity::info},
        {"hash-max-listpack-entries", Severity::info},
        {"hash-max-listpack-value", Severity::info},
        {"list-max-listpack-size", Severity::info},
        {"set-max-intset-entries", Severity::info},
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
        if (!source || !target || *source == *target) {
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

/// The target's name of a user of the source: its own, or what the configuration says.
std::string name_on_target(const Settings& settings, const std::string& name) {
    for (const ClientUser& user : settings.interlay.users) {
        const std::string source = user.source.user.empty() ? "default" : user.source.user;
        if (source == name) return user.target.user.empty() ? "default" : user.target.user;
    }
    return name;
}

Findings check_acl(const Check& check, Endpoints& ends) {
    const auto& options = ends.settings().family_options;
    if (const auto auth = options.find("target.auth");
        auth != options.end() && auth->second == "service") {
        return {finding(check, Severity::warn, "target",
                        "redis.target.auth = service: on the target everybody is one user, and "
                        "rights per user end there",
                        "set redis.target.auth = map to keep them")};
    }
    std::map<std::string, AclUser> users[2];
    std::string self;
    for (const Side side : {Side::source, Side::target}) {
        auto client = ends.client(side);
        if (!client) return {failed(check, std::string(to_string(side)), client.error())};
        auto list = (*client)->ask({"ACL", "LIST"});
        if (!list)
            return {finding(check, Severity::info, std::string(to_string(side)),
                            "users cannot be listed: " + list.error().message)};
        if (side == Side::source) {
            if (auto who = (*client)->ask({"ACL", "WHOAMI"})) self = who->text();
        }
        for (std::size_t i = 0; i < list->size(); ++i) {
            if (auto user = parse_acl_line((*list)[i].text()))
                users[side == Side::source ? 0 : 1][user->name] = *user;
        }
    }
    Findings out;
    for (const auto& [name, user] : users[0]) {
        if (name == self || !user.enabled) continue;
        const std::string there_name = name_on_target(ends.settings(), name);
        const auto it = users[1].find(there_name);
        if (it != users[1].end() && it->second.enabled && it->second.rules == user.rules &&
            it->second.selectors == user.selectors)
            continue;
        std::string line = "ACL SETUSER " + there_name + " on >PASSWORD";
        for (const auto& argument : restoring_arguments(user))
            line +=
                argument.find(' ') == std::string::npos ? " " + argument : " \"" + argument + "\"";
        const bool there = it != users[1].end() && it->second.enabled;
        out.push_back(finding(check, there ? Severity::info : Severity::warn, "target",
                              "user " + there_name +
                                  (there ? " has other rules on the target"
                                         : " is missing on the target: its applications could not "
                                           "log in after the switch"),
                              line));
    }
    if (out.empty())
        out.push_back(finding(check, Severity::pass, "both",
                              "every user of the source exists on the target with the same rules"));
    return out;
}

}  // namespace exodus::redis
