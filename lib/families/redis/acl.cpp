#include "families/redis/acl.h"

#include <algorithm>

namespace exodus::redis {

namespace {

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    while (!text.empty()) {
        const auto end = text.find(' ');
        if (end != 0) words.push_back(text.substr(0, end));
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    return words;
}

bool is_user_flag(std::string_view word) {
    return word == "on" || word == "off" || word == "nopass" || word == "sanitize-payload" ||
           word == "skip-sanitize-payload" || word.front() == '#' || word.front() == '>';
}

std::string selector_argument(const std::vector<std::string>& rules, bool fenced) {
    // A selector starts without any right, so its own words are all it needs.
    std::string text = "(";
    for (const auto& rule : rules) {
        if (text.size() > 1) text += ' ';
        text += rule;
    }
    if (fenced) text += text.size() > 1 ? " -@write" : "-@write";
    return text + ")";
}

/// What one command rule does to the set of write commands that are allowed.
Status apply_rule(const std::string& rule, const std::set<std::string>& write,
                  const AclCategory& category, std::set<std::string>& allowed) {
    if (rule == "allcommands" || rule == "+@all") {
        allowed = write;
        return {};
    }
    if (rule == "nocommands" || rule == "-@all" || rule == "-@write") {
        allowed.clear();
        return {};
    }
    if (rule.size() < 2 || (rule[0] != '+' && rule[0] != '-')) return {};
    const bool add = rule[0] == '+';
    if (rule[1] == '@') {
        auto members = category(rule.substr(2));
        if (!members) return tl::unexpected<Error>(std::move(members).error());
        for (const auto& member : *members) {
            if (add && write.contains(member)) allowed.insert(member);
            if (!add) allowed.erase(member);
        }
        return {};
    }
    const std::string name = rule.substr(1);
    const auto matches = [&](const std::string& command) {
        // "+xgroup" means all its subcommands; "+set|x" (a first argument, before 7.0) still lets
        // the command run.
        return command == name || command.starts_with(name + "|") ||
               (add && name.starts_with(command + "|"));
    };
    for (const auto& command : write) {
        if (!matches(command)) continue;
        if (add) allowed.insert(command);
        if (!add) allowed.erase(command);
    }
    return {};
}

}  // namespace

Result<AclUser> parse_acl_line(std::string_view line) {
    const auto words = words_of(line);
    if (words.size() < 2 || words[0] != "user") {
        return fail(ErrorCode::protocol, "not a line of ACL LIST");
    }
    AclUser user;
    user.name = words[1];
    for (std::size_t i = 2; i < words.size(); ++i) {
        if (words[i].front() == '(') {
            std::vector<std::string> selector;
            while (i < words.size()) {
                auto word = words[i];
                const bool last = word.back() == ')';
                if (word.front() == '(' && selector.empty()) word.remove_prefix(1);
                if (last) word.remove_suffix(1);
                if (!word.empty()) selector.emplace_back(word);
                if (last) break;
                ++i;
            }
            user.selectors.push_back(std::move(selector));
            continue;
        }
        if (words[i] == "on") user.enabled = true;
        if (!is_user_flag(words[i])) user.rules.emplace_back(words[i]);
    }
    return user;
}

std::vector<std::string> acl_logins(std::string_view line) {
    std::vector<std::string> logins;
    const auto words = words_of(line);
    for (std::size_t i = 2; i < words.size() && words[i].front() != '('; ++i) {
        if (words[i] == "nopass" || words[i].front() == '#') logins.emplace_back(words[i]);
    }
    return logins;
}

std::vector<std::string> fenced_arguments(const AclUser& user) {
    std::vector<std::string> arguments{"-@write"};
    if (!user.selectors.empty()) arguments.emplace_back("clearselectors");
    for (const auto& selector : user.selectors) {
        arguments.push_back(selector_argument(selector, true));
    }
    return arguments;
}

std::vector<std::string> restoring_arguments(const AclUser& user) {
    std::vector<std::string> arguments{"resetkeys", "resetchannels", "-@all"};
    if (!user.selectors.empty()) arguments.emplace_back("clearselectors");
    arguments.insert(arguments.end(), user.rules.begin(), user.rules.end());
    for (const auto& selector : user.selectors) {
        arguments.push_back(selector_argument(selector, false));
    }
    return arguments;
}

Result<std::set<std::string>> writable_commands(const AclUser& user, const AclCategory& category) {
    auto write = category("write");
    if (!write) return tl::unexpected<Error>(std::move(write).error());
    std::set<std::string> all;
    const auto evaluate = [&](const std::vector<std::string>& rules) -> Status {
        std::set<std::string> allowed;
        for (const auto& rule : rules) EXODUS_TRY(apply_rule(rule, *write, category, allowed));
        all.insert(allowed.begin(), allowed.end());
        return {};
    };
    EXODUS_TRY(evaluate(user.rules));
    for (const auto& selector : user.selectors) EXODUS_TRY(evaluate(selector));
    return all;
}

std::string sample_key(const AclUser& user) {
    const auto from = [](const std::vector<std::string>& rules) -> std::string {
        for (std::string_view rule : rules) {
            if (rule == "allkeys") return "exodus-probe";
            if (rule.starts_with("%W~") || rule.starts_with("%RW~")) {
                rule.remove_prefix(rule.find('~'));
            }
            if (rule.front() != '~') continue;
            std::string key;
            for (std::size_t i = 1; i < rule.size(); ++i) {
                const char c = rule[i];
                if (c == '*' || c == '?') {
                    key += 'x';
                } else if (c == '[') {
                    // The first character of a class stands for it; a negated class gets a rare
                    // one.
                    const auto end = rule.find(']', i);
                    if (end == std::string_view::npos) break;
                    key += i + 1 < end && rule[i + 1] != '^' ? rule[i + 1] : '~';
                    i = end;
                } else if (c == '\\' && i + 1 < rule.size()) {
                    key += rule[++i];
                } else {
                    key += c;
                }
            }
            return key;
        }
        return {};
    };
    std::string key = from(user.rules);
    for (std::size_t i = 0; key.empty() && i < user.selectors.size(); ++i) {
        key = from(user.selectors[i]);
    }
    return key.empty() ? "exodus-probe" : key;
}

std::string own_user_rules() { return "~* &* +@all"; }

}  // namespace exodus::redis
