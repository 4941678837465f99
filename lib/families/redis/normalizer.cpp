// The rules of redis.md 7 on parsed replies. Reasons are bounded words; a reply is never quoted.
#include "families/redis/normalizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "wire/resp/command_table.h"
#include "wire/resp/request_scanner.h"
#include "wire/resp/value.h"

namespace exodus::redis {

namespace {

using resp::CompareRule;
using resp::Type;
using resp::Value;

enum class Shape : uint8_t { null, string, status, integer, error, list };

Shape shape_of(const Value& value) {
    switch (value.type) {
        case Type::null:
            return Shape::null;
        case Type::integer:
        case Type::boolean:
            return Shape::integer;
        case Type::simple:
            return Shape::status;
        case Type::error:
            return Shape::error;
        case Type::bulk:
        case Type::verbatim:
        case Type::number:
        case Type::big_number:
            return Shape::string;
        default:
            return Shape::list;
    }
}

bool equal_numbers(std::string_view left, std::string_view right) {
    double a = 0;
    double b = 0;
    if (!resp::parse_double(left, a) || !resp::parse_double(right, b)) return false;
    return a == b || (std::isnan(a) && std::isnan(b));
}

/// Values alike whatever the protocol version. `scores`: strings that are equal numbers are equal.
bool alike(const Value& left, const Value& right, bool scores);

bool alike_scalars(const Value& left, const Value& right, bool scores) {
    const Shape shape = shape_of(left);
    if (shape != shape_of(right)) return false;
    if (shape == Shape::null) return true;
    if (shape == Shape::integer) return left.integer == right.integer;
    if (left.text == right.text) return true;
    if (shape == Shape::error) return left.error_code() == right.error_code();
    const bool number = left.type == Type::number || right.type == Type::number;
    return shape == Shape::string && (scores || number) && equal_numbers(left.text, right.text);
}

/// [[member, score], …] of RESP3 against the flat [member, score, …] of RESP2.
bool alike_flattened(const Value& nested, const Value& flat, bool scores) {
    std::size_t at = 0;
    for (const Value& row : nested.items) {
        if (row.type != Type::array || row.items.size() != 2 || at + 2 > flat.items.size())
            return false;
        if (!alike(row.items[0], flat.items[at], false) ||
            !alike(row.items[1], flat.items[at + 1], scores))
            return false;
        at += 2;
    }
    return at == flat.items.size();
}

bool is_nested_pairs(const Value& value) {
    return !value.items.empty() &&
           std::all_of(value.items.begin(), value.items.end(), [](const Value& item) {
               return item.type == Type::array && item.items.size() == 2;
           });
}

bool alike(const Value& left, const Value& right, bool scores) {
    if (!left.is_aggregate() || !right.is_aggregate())
        return !left.is_aggregate() && !right.is_aggregate() && alike_scalars(left, right, scores);
    if (left.items.size() == right.items.size()) {
        return std::equal(left.items.begin(), left.items.end(), right.items.begin(),
                          [scores](const Value& a, const Value& b) { return alike(a, b, scores); });
    }
    if (left.items.size() * 2 == right.items.size() && is_nested_pairs(left))
        return alike_flattened(left, right, scores);
    if (right.items.size() * 2 == left.items.size() && is_nested_pairs(right))
        return alike_flattened(right, left, scores);
    return false;
}

/// A text by which elements are sorted; equal for alike elements of either protocol version.
std::string sort_key(const Value& value) {
    if (!value.is_aggregate()) {
        if (value.type == Type::boolean) return "i" + std::to_string(value.integer);
        return std::string(1, static_cast<char>('a' + static_cast<int>(shape_of(value)))) +
               std::string(value.text);
    }
    std::string key = "[";
    for (const Value& item : value.items)
        key += std::to_string(sort_key(item).size()) + ":" + sort_key(item);
    return key;
}

std::vector<std::string> sorted(const Value& value, std::size_t group) {
    std::vector<std::string> keys;
    keys.reserve(value.items.size() / group);
    for (std::size_t i = 0; i + group <= value.items.size(); i += group) {
        std::string key;
        for (std::size_t j = 0; j < group; ++j) {
            const std::string part = sort_key(value.items[i + j]);
            key += std::to_string(part.size()) + ":" + part;
        }
        keys.push_back(std::move(key));
    }
    std::sort(keys.begin(), keys.end());
    return keys;
}

/// Elements in any order, `group` of them belonging together.
bool alike_unordered(const Value& left, const Value& right, std::size_t group) {
    return left.items.size() == right.items.size() && left.items.size() % group == 0 &&
           sorted(left, group) == sorted(right, group);
}

bool not_comparable_error(std::string_view code) {
    return code == "NOSCRIPT" || code == "LOADING" || code == "BUSY" || code == "TRYAGAIN" ||
           code == "CLUSTERDOWN" || code == "MASTERDOWN";
}

Verdict candidate(std::string& reason, std::string_view why) {
    reason = why;
    return Verdict::candidate;
}

/// Absolute expiry by each answer, ± one unit of the command and the time between the answers.
Verdict judge_ttl(const ExchangePair& pair, const Value& left, const Value& right,
                  bool milliseconds_unit, std::string& reason) {
    if (left.integer < 0 || right.integer < 0) {  // -1 no expiry, -2 no key
        if (left.integer == right.integer) return Verdict::equal;
        // About to expire on one side and gone on the other: the answers were not given at the same
        // moment.
        const int64_t unit_us = milliseconds_unit ? 1'000 : 1'000'000;
        const int64_t other_us = std::max(left.integer, right.integer) * unit_us;
        const bool gone = left.integer == -2 || right.integer == -2;
        if (gone && other_us >= 0 && other_us <= std::abs(pair.right_us - pair.left_us) + unit_us)
            return Verdict::equal;
        return candidate(reason, "ttl");
    }
    const int64_t unit_us = milliseconds_unit ? 1'000 : 1'000'000;
    const int64_t span_us =
        std::max(pair.left_us, pair.right_us) - std::min(pair.left_us, pair.right_us);
    // Each answer is true for some moment between the request and its arrival.
    const int64_t slack_us =
        unit_us + span_us +
        std::max<int64_t>(0, std::max(pair.left_us, pair.right_us) - pair.sent_us);
    const int64_t difference_us = std::abs(left.integer - right.integer);
    if (difference_us > (INT64_MAX / unit_us) - 1) return candidate(reason, "ttl");
    return difference_us * unit_us <= slack_us ? Verdict::equal : candidate(reason, "ttl");
}

/// Random reads: the same kind and number of things.
Verdict judge_random(const Value& left, const Value& right, std::string& reason) {
    if (shape_of(left) != shape_of(right)) return candidate(reason, "type_mismatch");
    const auto leaves = [](const Value& value) {
        std::size_t count = 0;
        for (const Value& item : value.items) count += item.is_aggregate() ? item.items.size() : 1;
        return count;
    };
    return leaves(left) == leaves(right) ? Verdict::equal : candidate(reason, "size");
}

class RedisNormalizer final : public Normalizer {
  public:
    explicit RedisNormalizer(const CompareSettings& settings) {
        for (const CompareSettings::Rule& rule : settings.rules) {
            for (const std::string& command : rule.commands) {
                std::string name = command;
                std::transform(name.begin(), name.end(), name.begin(), [](char c) {
                    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
                });
                actions_[name] = rule.action;
            }
        }
    }

    Verdict judge(const ExchangePair& pair, std::string& reason) override {
        reason.clear();
        const std::string_view action = action_of(pair.command);
        if (action == "ignore") return Verdict::not_comparable;
        auto left = resp::parse_reply(pair.left);
        auto right = resp::parse_reply(pair.right);
        if (!left || !right) return candidate(reason, "malformed");
        if (left->is_error() || right->is_error()) return judge_errors(*left, *right, reason);

        CompareRule rule = rule_of(pair);
        if (action == "exact") rule = CompareRule::score;
        if (action == "unordered") rule = CompareRule::multiset;
        if (rule == CompareRule::never) return Verdict::not_comparable;
        if (rule == CompareRule::random) return judge_random(*left, *right, reason);
        if (alike(*left, *right, rule == CompareRule::score)) return Verdict::equal;
        if (shape_of(*left) != shape_of(*right)) {
            const bool missing = left->is_null() != right->is_null();
            return candidate(reason, missing ? "missing" : "type_mismatch");
        }
        switch (rule) {
            case CompareRule::multiset:
                return alike_unordered(*left, *right, 1) ? Verdict::equal
                                                         : candidate(reason, "value");
            case CompareRule::pairs:
                return alike_unordered(*left, *right, 2) ? Verdict::equal
                                                         : candidate(reason, "value");
            case CompareRule::ttl:
                if (shape_of(*left) != Shape::integer) return candidate(reason, "value");
                return judge_ttl(pair, *left, *right, pair.command == "PTTL", reason);
            case CompareRule::expiretime:
                return candidate(reason, "ttl");
            default:
                break;
        }
        if (!left->is_aggregate()) return candidate(reason, "value");
        if (left->items.size() != right->items.size()) return candidate(reason, "size");
        return candidate(reason, alike_unordered(*left, *right, 1) ? "order" : "value");
    }

  private:
    std::string_view action_of(const std::string& command) const {
        auto found = actions_.find(command);
        if (found == actions_.end()) found = actions_.find(command.substr(0, command.find(' ')));
        return found == actions_.end() ? std::string_view{} : std::string_view(found->second);
    }

    static CompareRule rule_of(const ExchangePair& pair) {
        std::vector<std::string_view> arguments;
        if (resp::split_arguments(pair.request, arguments))
            return resp::compare_rule(resp::classify(arguments), arguments);
        const std::size_t blank = pair.command.find(' ');
        const std::string_view name = pair.command;
        const resp::CommandRow* row = resp::find_command(
            name.substr(0, blank),
            blank == std::string::npos ? std::string_view{} : name.substr(blank + 1));
        return row == nullptr ? CompareRule::never : row->compare;
    }

    static Verdict judge_errors(const Value& left, const Value& right, std::string& reason) {
        if (not_comparable_error(left.error_code()) || not_comparable_error(right.error_code()))
            return Verdict::not_comparable;
        if (left.is_error() != right.is_error()) return candidate(reason, "error_one_side");
        if (left.text == right.text) return Verdict::equal;
        if (left.error_code() != right.error_code()) return candidate(reason, "error_code");
        // The same class in other words is how two engines or versions say the same: told, but no
        // difference of data.
        reason = "error_text";
        return Verdict::equal;
    }

    std::map<std::string, std::string, std::less<>> actions_;
};

}  // namespace

std::unique_ptr<Normalizer> make_redis_normalizer(const CompareSettings& settings) {
    return std::make_unique<RedisNormalizer>(settings);
}

}  // namespace exodus::redis
