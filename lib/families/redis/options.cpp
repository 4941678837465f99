#include "families/redis/options.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/values.h"

namespace exodus::redis {

namespace {

enum class Kind { words, bytes, text };

struct Option {
    std::string_view name;
    Kind kind;
    std::string_view words;  ///< allowed ones, separated by '|'
};

constexpr std::array kOptions = {
    Option{"interlay.sharing", Kind::words, "on|off|true|false"},
    Option{"target.auth", Kind::words, "same|map|service"},
    Option{"source.feed", Kind::words, "auto|stream"},
    Option{"spool.max", Kind::bytes, ""},
    Option{"copy.big_key", Kind::words, "dump|fail"},
    Option{"stream.ack", Kind::words, "zero|durable"},
    Option{"fence.command", Kind::text, ""},
    Option{"canary.by", Kind::words, "session"},
    Option{"newer_by", Kind::text, ""},
    Option{"extra", Kind::words, "keep|delete"},
};

/// Of the design, but nothing of this version does them: said with the reason instead of ignored.
struct Refused {
    std::string_view name;
    std::string_view reason;
};
constexpr std::array kRefusedValues = {
    std::pair{Refused{"copy.big_key",
                      "the interlay cannot hold the writes of a single key: choose "
                      "dump (the key is read at once, up to 512 MiB) or fail"},
              std::string_view("hold")},
};
constexpr std::array kRefused = {
    Refused{"source.frozen",
            "a source that nobody writes is moved by the stream as well: leave it out"},
    Refused{"db_map", "databases keep their numbers"},
    Refused{"canary.max_lag", "use cutover.max_lag"},
    Refused{"canary.writes", "writes move only with the switch"},
    Refused{"both_ways",
            "the source stays in use, so it has the authority and a repair writes to the target "
            "only; both ways need both sides frozen, and exodus cannot prove that they are"},
    Refused{"split_writes", "it is for clusters, which this family does not move"},
};

bool one_of(std::string_view words, std::string_view value) {
    while (!words.empty()) {
        const auto end = words.find('|');
        if (words.substr(0, end) == value) return true;
        if (end == std::string_view::npos) break;
        words.remove_prefix(end + 1);
    }
    return false;
}

/// Levenshtein distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] =
                std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

Error unknown_option(std::string_view name) {
    const auto nearest =
        std::min_element(kOptions.begin(), kOptions.end(), [&](const Option& a, const Option& b) {
            return distance(a.name, name) < distance(b.name, name);
        });
    std::string hint = "known are:";
    for (const auto& option : kOptions) hint.append(" ").append(option.name);
    if (distance(nearest->name, name) <= 3) {
        hint = "did you mean redis." + std::string(nearest->name) + "?";
    }
    return {ErrorCode::config, "redis." + std::string(name) + " is not an option", hint};
}

void check_option(const std::string& name, const std::string& value, std::vector<Error>& errors) {
    for (const auto& refused : kRefused) {
        if (refused.name != name) continue;
        errors.push_back({ErrorCode::config, "redis." + name + " is not available",
                          std::string(refused.reason)});
        return;
    }
    for (const auto& [refused, refused_value] : kRefusedValues) {
        if (refused.name != name || refused_value != value) continue;
        errors.push_back({ErrorCode::config, "redis." + name + " cannot be " + value,
                          std::string(refused.reason)});
        return;
    }
    const auto option = std::find_if(kOptions.begin(), kOptions.end(),
                                     [&](const Option& o) { return o.name == name; });
    if (option == kOptions.end()) {
        errors.push_back(unknown_option(name));
        return;
    }
    const std::string full = "redis." + name;
    switch (option->kind) {
        case Kind::words:
            if (!one_of(option->words, value)) {
                errors.push_back({ErrorCode::config, full + " cannot be " + value,
                                  "one of " + std::string(option->words)});
            }
            break;
        case Kind::bytes:
            if (const auto bytes = parse_size_bytes(value); !bytes)
                errors.push_back({ErrorCode::config, full + " is not a size: " + value,
                                  "write it as 64GiB, 512MB or bytes"});
            else if (name == "spool.max" && *bytes < limits::kSpool_bytes_min)
                errors.push_back({ErrorCode::config, full + " cannot be " + value,
                                  "at least " + format_bytes(limits::kSpool_bytes_min)});
            break;
        case Kind::text:
            if (value.empty())
                errors.push_back({ErrorCode::config, full + " is empty", "leave it out"});
            break;
    }
}

/// The target has one writer, the source's change stream; no value is taken for another in silence.
void check_consistency(WriteConsistency wanted, std::vector<Error>& errors) {
    const auto refuse = [&](const char* value, const char* reason) {
        errors.push_back(
            {ErrorCode::config,
             std::string("migrate.write_consistency cannot be ") + value + " for redis: use source",
             reason});
    };
    switch (wanted) {
        case WriteConsistency::source:
            break;
        case WriteConsistency::target:
            refuse("target",
                   "before the switch the target takes no writes of applications, and after it "
                   "their answers are the target's anyway");
            break;
        case WriteConsistency::either:
            refuse("either",
                   "a write that the source never saw has no place in the order of its change "
                   "stream, which is all that the target is written by");
            break;
        case WriteConsistency::both:
            refuse("both",
                   "the target is written by the source's change stream, and this version does not "
                   "let an answer wait until the stream has passed its write");
            break;
    }
}

/// A repair makes the target equal to the authority; what would keep something of the target is a
/// contradiction.
void check_repair(const Settings& settings, std::vector<Error>& errors) {
    const auto conflict = settings.migrate.conflict;
    if (conflict == ConflictPolicy::skip || conflict == ConflictPolicy::newer) {
        errors.push_back({ErrorCode::config,
                          std::string("migrate.conflict = ") +
                              (conflict == ConflictPolicy::skip ? "skip" : "newer") +
                              " contradicts migrate.data_movement = repair",
                          "a repair makes the target equal to the source, which has the authority; "
                          "leave migrate.conflict out, or set data_movement = copy"});
    }
    const auto extra = settings.family_options.find("extra");
    if (extra != settings.family_options.end() && extra->second == "keep") {
        errors.push_back({ErrorCode::config,
                          "redis.extra = keep contradicts migrate.data_movement = repair",
                          "a repair removes (and lists) what only the target has; to keep it, set "
                          "data_movement = copy and conflict = overwrite"});
    }
}

}  // namespace

bool acknowledges_durable(const Settings& settings) {
    const auto found = settings.family_options.find("stream.ack");
    return found != settings.family_options.end() && found->second == "durable";
}

uint64_t spool_bytes_max(const Settings& settings, uint64_t free_bytes) {
    const auto it = settings.family_options.find("spool.max");
    if (it != settings.family_options.end()) {
        if (const auto configured = parse_size_bytes(it->second)) return *configured;
    }
    return std::min<uint64_t>(limits::kSpool_bytes_max, free_bytes / 2);
}

std::vector<Error> validate_settings(const Settings& settings) {
    std::vector<Error> errors;
    const auto add = [&](std::string message, std::string hint) {
        errors.push_back({ErrorCode::config, std::move(message), std::move(hint)});
    };
    for (const auto& [name, value] : settings.family_options) check_option(name, value, errors);
    const auto option = [&](const char* name) {
        const auto it = settings.family_options.find(name);
        return it == settings.family_options.end() ? std::string() : it->second;
    };
    const auto& source = settings.source;
    const auto& target = settings.target;
    const bool same_place = source.unix_path.empty() && target.unix_path.empty()
                                ? source.host == target.host && source.port == target.port
                                : source.unix_path == target.unix_path;
    if (same_place && !(source.host.empty() && source.unix_path.empty())) {
        add("source and target are the same server", "name two servers");
    }
    check_consistency(settings.migrate.write_consistency, errors);
    if (settings.migrate.data_movement == DataMovement::repair) check_repair(settings, errors);
    const std::string newer_by = option("newer_by");
    if (settings.migrate.conflict == ConflictPolicy::newer && newer_by.empty()) {
        add("migrate.conflict = newer needs redis.newer_by",
            "Redis stores no time of modification: say expiry, stream_id or field:NAME");
    }
    if (!newer_by.empty() && newer_by != "expiry" && newer_by != "stream_id" &&
        !(newer_by.starts_with("field:") && newer_by.size() > 6)) {
        add("redis.newer_by cannot be " + newer_by, "one of expiry, stream_id, field:NAME");
    }
    if (!newer_by.empty() && settings.migrate.conflict != ConflictPolicy::newer) {
        add("redis.newer_by has no effect with this migrate.conflict",
            "set migrate.conflict = newer, or leave it out");
    }
    const bool maps = option("target.auth") == "map";
    if (maps && settings.interlay.users.empty()) {
        add("redis.target.auth = map needs users",
            "write one [[interlay.user]] for each user of the applications");
    }
    const bool service = option("target.auth") == "service";
    const auto everybody =
        std::count_if(settings.interlay.users.begin(), settings.interlay.users.end(),
                      [](const ClientUser& user) { return user.name == kEverybody; });
    if (service && (everybody != 1 || settings.interlay.users.size() != 1)) {
        add("redis.target.auth = service needs the user that everybody is on the target",
            "write one [[interlay.user]] with name = \"*\", target_user and its password");
    }
    if (maps && everybody != 0) {
        add("[[interlay.user]] * has no effect with redis.target.auth = map",
            "name each user of the applications");
    }
    if (!maps && !service && !settings.interlay.users.empty()) {
        add("[[interlay.user]] has no effect with this redis.target.auth",
            "set redis.target.auth = \"map\" or \"service\", or leave the users out");
    }
    for (const ClientUser& user : settings.interlay.users) {
        // The fence takes writing from application users and never from exodus itself.
        for (const Side side : {Side::source, Side::target}) {
            const ClientLogin& login = side == Side::source ? user.source : user.target;
            const bool used = maps || (service && side == Side::target);
            if (!used || login.user != settings.endpoint(side).user) continue;
            add("[[interlay.user]] " + user.name + " is exodus' own user on the " +
                    std::string(to_string(side)),
                "a switch could not stop its writes: give applications users of their own");
        }
    }
    const bool extra_is_decided = settings.migrate.conflict == ConflictPolicy::overwrite ||
                                  settings.migrate.data_movement == DataMovement::repair;
    if (option("extra") == "delete" && !extra_is_decided) {
        add("redis.extra = delete needs migrate.conflict = overwrite",
            "with skip and newer the target's own keys stay; with fail there are none");
    }
    for (const auto& rule : settings.compare.rules) {
        if (!one_of("exact|unordered|ignore", rule.action)) {
            add("compare.rule action cannot be " + rule.action, "one of exact|unordered|ignore");
        }
    }
    return errors;
}

}  // namespace exodus::redis
