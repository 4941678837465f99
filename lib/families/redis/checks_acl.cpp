// The check about users, and the requests that give the target those that it lacks. ACLs are in no
// change stream, and exodus never writes them.
#include <algorithm>
#include <map>

#include "base/digest.h"
#include "families/redis/acl.h"
#include "families/redis/checks.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

struct ListedUser {
    AclUser user;
    std::vector<std::string> logins;  ///< "nopass", "#<SHA-256>"
};
using ListedUsers = std::map<std::string, ListedUser>;

/// A user of the source that the target has not, or not as it is on the source.
struct UserGap {
    std::string name;  ///< on the target
    AclUser user;      ///< on the source
    bool missing = false;
    bool disabled = false;  ///< there is one of this name, but it is off
    bool other_rules = false;
    std::vector<std::string> logins;  ///< that the target lacks
};

Result<ListedUsers> users_of(Endpoints& ends, Side side) {
    auto client = ends.client(side);
    if (!client) return tl::unexpected<Error>(client.error());
    auto list = (*client)->ask({"ACL", "LIST"});
    if (!list) return tl::unexpected<Error>(std::move(list).error());
    ListedUsers users;
    for (std::size_t i = 0; i < list->size(); ++i) {
        auto user = parse_acl_line((*list)[i].text());
        if (!user) return tl::unexpected<Error>(std::move(user).error());
        const std::string name = user->name;
        users[name] = {std::move(*user), acl_logins((*list)[i].text())};
    }
    return users;
}

/// Who the applications' user of the source is on the target; none: the same.
const ClientUser* mapped(const Settings& settings, const std::string& name) {
    for (const ClientUser& user : settings.interlay.users) {
        const std::string source = user.source.user.empty() ? "default" : user.source.user;
        if (source == name) return &user;
    }
    return nullptr;
}

/// Of `wanted` those with which the target would not let in.
std::vector<std::string> refused_logins(const std::vector<std::string>& wanted,
                                        const std::vector<std::string>& there) {
    std::vector<std::string> refused;
    const auto has = [&](const std::string& login) {
        return std::find(there.begin(), there.end(), login) != there.end();
    };
    if (has("nopass")) return refused;
    for (const std::string& login : wanted) {
        if (!has(login)) refused.push_back(login);
    }
    return refused;
}

Result<std::vector<UserGap>> user_gaps(Endpoints& ends) {
    auto source = users_of(ends, Side::source);
    if (!source) return fail(std::move(source).error(), "source");
    auto target = users_of(ends, Side::target);
    if (!target) return fail(std::move(target).error(), "target");
    std::string self;
    if (auto client = ends.client(Side::source)) {
        if (auto who = (*client)->ask({"ACL", "WHOAMI"})) self = who->text();
    }
    std::vector<UserGap> gaps;
    for (auto& [name, listed] : *source) {
        if (name == self || !listed.user.enabled) continue;
        UserGap gap{name, listed.user, false, false, false, {}};
        std::vector<std::string> logins = listed.logins;
        if (const ClientUser* there = mapped(ends.settings(), name)) {
            gap.name = there->target.user.empty() ? "default" : there->target.user;
            logins.clear();  // its own ones there
            if (!there->target.password.empty())
                logins.push_back("#" + sha256_hex(there->target.password.reveal()));
        }
        const auto it = target->find(gap.name);
        gap.disabled = it != target->end() && !it->second.user.enabled;
        gap.missing = it == target->end() || gap.disabled;
        gap.other_rules = !gap.missing && (it->second.user.rules != listed.user.rules ||
                                           it->second.user.selectors != listed.user.selectors);
        gap.logins = gap.missing ? logins : refused_logins(logins, it->second.logins);
        if (gap.missing || gap.other_rules || !gap.logins.empty()) gaps.push_back(std::move(gap));
    }
    return gaps;
}

std::string quoted(const std::string& word) {
    const std::string escaped = escape_key(word, word.size());
    const bool plain = escaped == word && word.find_first_of(" '") == std::string::npos;
    return plain ? word : '"' + escaped + '"';
}

/// Without `logins` nothing in it is secret.
std::string request_of(const UserGap& gap, const std::vector<std::string>& logins) {
    std::vector<std::string> words{"ACL", "SETUSER", gap.name};
    // What a disabled user of this name could do there must not come back with it.
    if (gap.disabled) words.emplace_back("reset");
    if (gap.missing) words.emplace_back("on");
    words.insert(words.end(), logins.begin(), logins.end());
    if (gap.missing || gap.other_rules) {
        const auto rules = restoring_arguments(gap.user);
        words.insert(words.end(), rules.begin(), rules.end());
    }
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + quoted(word);
    return line;
}

bool everybody_is_one(const Settings& settings) {
    const auto auth = settings.family_options.find("target.auth");
    return auth != settings.family_options.end() && auth->second == "service";
}

}  // namespace

Findings check_acl(const Check& check, Endpoints& ends) {
    if (everybody_is_one(ends.settings())) {
        return {finding(check, Severity::warn, "target",
                        "redis.target.auth = service: on the target everybody is one user, and "
                        "rights per user end there",
                        "set redis.target.auth = map to keep them")};
    }
    for (const Side side : {Side::source, Side::target}) {
        if (auto client = ends.client(side); !client)
            return {failed(check, std::string(to_string(side)), client.error())};
    }
    const auto gaps = user_gaps(ends);
    if (!gaps) {
        if (gaps.error().code != ErrorCode::permission)
            return {failed(check, "both", gaps.error())};
        return {finding(check, Severity::info, "both",
                        "users cannot be listed: " + gaps.error().message)};
    }
    Findings out;
    const std::string file = "; with the passwords' hashes: exodus pretest --acl-out FILE";
    for (const UserGap& gap : *gaps) {
        std::string text = "user " + gap.name;
        std::vector<std::string> logins;
        if (!gap.logins.empty())
            logins.emplace_back(gap.logins.front() == "nopass" ? "nopass" : ">PASSWORD");
        if (gap.missing) {
            text += " is missing on the target: its applications could not log in after the switch";
        } else if (!gap.logins.empty()) {
            text +=
                " has another password on the target: its applications could not log in after "
                "the switch";
            if (gap.other_rules) text += "; its rules are other ones too";
        } else {
            text += " has other rules on the target";
        }
        const bool locked_out = gap.missing || !gap.logins.empty();
        out.push_back(finding(check, locked_out ? Severity::warn : Severity::info, "target", text,
                              request_of(gap, logins) + (logins.empty() ? "" : file)));
    }
    if (out.empty())
        out.push_back(finding(check, Severity::pass, "both",
                              "every user of the source exists on the target with the same rules"));
    return out;
}

Result<Secret> missing_users(Endpoints& ends) {
    if (everybody_is_one(ends.settings()))
        return fail(ErrorCode::not_allowed,
                    "redis.target.auth = service: on the target everybody is one user",
                    "leave --acl-out out");
    const auto gaps = user_gaps(ends);
    if (!gaps) return tl::unexpected<Error>(gaps.error());
    std::string text;
    for (const UserGap& gap : *gaps) text += request_of(gap, gap.logins) + "\n";
    return Secret(std::move(text));
}

}  // namespace exodus::redis
