#include "families/redis/scope.h"

#include <algorithm>

namespace exodus::redis {

namespace {

/// Matches one character class at `at` (behind the bracket); moves `at` behind the class.
bool match_class(std::string_view pattern, std::size_t& at, char c) {
    const bool negated = at < pattern.size() && pattern[at] == '^';
    if (negated) ++at;
    bool hit = false;
    for (bool first = true; at < pattern.size() && (first || pattern[at] != ']'); first = false) {
        if (pattern[at] == ']') break;
        if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
        const auto from = static_cast<unsigned char>(pattern[at]);
        auto to = from;
        if (at + 2 < pattern.size() && pattern[at + 1] == '-' && pattern[at + 2] != ']') {
            to = static_cast<unsigned char>(pattern[at + 2]);
            at += 2;
        }
        const auto byte = static_cast<unsigned char>(c);
        hit = hit || (byte >= std::min(from, to) && byte <= std::max(from, to));
        ++at;
    }
    if (at < pattern.size()) ++at;  // the closing bracket
    return hit != negated;
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view name) {
    std::size_t p = 0;
    std::size_t n = 0;
    std::size_t star = std::string_view::npos;
    std::size_t star_name = 0;
    while (n < name.size()) {
        bool matched = false;
        std::size_t next = p;
        if (p < pattern.size()) {
            if (pattern[p] == '*') {
                star = p++;
                star_name = n;
                continue;
            }
            if (pattern[p] == '?') {
                matched = true;
                next = p + 1;
            } else if (pattern[p] == '[') {
                next = p + 1;
                matched = match_class(pattern, next, name[n]);
            } else {
                if (pattern[p] == '\\' && p + 1 < pattern.size()) ++next;
                matched = pattern[next] == name[n];
                ++next;
            }
        }
        if (matched) {
            p = next;
            ++n;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            n = ++star_name;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

bool Scope::contains(std::string_view name) const {
    if (name.starts_with(kOwnPrefix)) return false;
    const auto matches = [name](const std::string& pattern) { return glob_match(pattern, name); };
    if (!include_.empty() && std::none_of(include_.begin(), include_.end(), matches)) return false;
    return std::none_of(exclude_.begin(), exclude_.end(), matches);
}

}  // namespace exodus::redis
