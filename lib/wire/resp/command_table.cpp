// Builds the command table once from generated facts and the policy, and finds rows: names are
// folded to upper case eight bytes at a time and compared as words.
#include "wire/resp/command_table.h"

#include <array>
#include <cstring>

#include "wire/resp/command_index.h"
#include "wire/resp/command_policy.h"

namespace exodus::resp {

namespace {

struct Fact {
    std::string_view name;
    int16_t arity;
    uint32_t flags;
    uint16_t engines;
    bool container;
    uint16_t specs;
};

#include "wire/resp/command_facts.inc"

constexpr std::size_t kRows = std::size(kFacts);

CommandRow make_row(const Fact& fact, uint16_t id, std::span<const KeySpec> specs) {
    CommandRow row;
    row.name = fact.name;
    row.id = id;
    row.arity = fact.arity;
    row.flags = fact.flags;
    row.engines = fact.engines;
    row.container = fact.container;
    row.keys = specs;
    row.effect = policy::effect(row);
    row.connection = policy::connection(row);
    row.compare = policy::compare(row);
    row.stream = policy::stream(row);
    row.refused_while_migrating = policy::in(row.name, policy::kRefused) ||
                                  (row.name.starts_with("CLUSTER ") && row.effect == Effect::admin);
    return row;
}

struct Table {
    std::array<CommandRow, kRows> rows;
    CommandIndex<1024> names;  // at 380 rows two in three lookups hit at once
    CommandRow unknown;

    Table() {
        static_assert(kRows * 2 < 1024);
        std::size_t spec = 0;
        uint16_t parent = 0;
        for (std::size_t i = 0; i < kRows; ++i) {
            const Fact& fact = kFacts[i];
            const uint16_t id = static_cast<uint16_t>(i + 1);
            rows[i] = make_row(fact, id, {kSpecs + spec, fact.specs});
            spec += fact.specs;
            // Names are sorted: a container comes right before its subcommands.
            const std::size_t blank = fact.name.find(' ');
            if (blank == std::string_view::npos) {
                parent = id;
                names.put(fact.name, 0, id);
            } else {
                names.put(fact.name.substr(blank + 1), parent, id);
            }
        }
        unknown.known = false;
        unknown.keys_known = false;
        unknown.name = "(unknown)";
        unknown.flags = flag::kWrite;
    }
};

const Table& table() {
    static const Table instance;
    return instance;
}

}  // namespace

std::string_view to_string(Effect effect) {
    switch (effect) {
        case Effect::read:
            return "read";
        case Effect::write:
            return "write";
        case Effect::may_write:
            return "may_write";
        case Effect::connection:
            return "connection";
        case Effect::pubsub:
            return "pubsub";
        case Effect::admin:
            return "admin";
    }
    return "write";
}

std::string_view to_string(CompareRule rule) {
    switch (rule) {
        case CompareRule::never:
            return "never";
        case CompareRule::exact:
            return "exact";
        case CompareRule::multiset:
            return "multiset";
        case CompareRule::pairs:
            return "pairs";
        case CompareRule::ttl:
            return "ttl";
        case CompareRule::expiretime:
            return "expiretime";
        case CompareRule::random:
            return "random";
        case CompareRule::score:
            return "score";
    }
    return "never";
}

uint32_t flag_bit(std::string_view name) {
    constexpr std::string_view kNames[] = {"write",
                                           "readonly",
                                           "denyoom",
                                           "admin",
                                           "pubsub",
                                           "noscript",
                                           "blocking",
                                           "loading",
                                           "stale",
                                           "skip_monitor",
                                           "skip_slowlog",
                                           "asking",
                                           "fast",
                                           "no_auth",
                                           "may_replicate",
                                           "no_mandatory_keys",
                                           "no_async_loading",
                                           "no_multi",
                                           "movablekeys",
                                           "allow_busy",
                                           "module"};
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
        if (kNames[i] == name) return 1U << i;
    }
    return 0;
}

bool is_word(std::string_view argument, std::string_view upper) {
    if (argument.size() != upper.size()) return false;
    for (std::size_t i = 0; i < upper.size(); ++i) {
        const char c = argument[i];
        if ((c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c) != upper[i]) return false;
    }
    return true;
}

const CommandRow* find_command(std::string_view name, std::string_view sub) {
    const Table& t = table();
    const uint16_t id = t.names.find(name, 0);
    if (id == 0) return nullptr;
    const CommandRow& row = t.rows[id - 1U];
    if (!row.container || sub.empty()) return &row;
    const uint16_t inner = t.names.find(sub, id);
    return inner == 0 ? nullptr : &t.rows[inner - 1U];
}

const CommandRow& classify(std::span<const std::string_view> arguments) {
    if (arguments.empty()) return table().unknown;
    const CommandRow* row =
        find_command(arguments[0], arguments.size() > 1 ? arguments[1] : std::string_view{});
    return row == nullptr ? table().unknown : *row;
}

const CommandRow& unknown_command() { return table().unknown; }
std::span<const CommandRow> builtin_rows() { return table().rows; }

bool may_block(const CommandRow& row, std::span<const std::string_view> arguments) {
    if (!row.has(flag::kBlocking)) return false;
    if (row.name != "XREAD" && row.name != "XREADGROUP") return true;
    // Options end at STREAMS; behind it a key may be called BLOCK.
    for (std::size_t i = row.name == "XREAD" ? 1 : 4; i < arguments.size(); ++i) {
        if (is_word(arguments[i], "STREAMS")) return false;
        if (is_word(arguments[i], "BLOCK")) return true;
        if (is_word(arguments[i], "COUNT")) ++i;
    }
    return false;
}

CompareRule compare_rule(const CommandRow& row, std::span<const std::string_view> arguments) {
    if (row.compare != CompareRule::exact) return row.compare;
    if (row.name == "XREAD")
        return may_block(row, arguments) ? CompareRule::never : CompareRule::exact;
    if (row.name == "SORT_RO") {
        for (std::size_t i = 2; i < arguments.size(); ++i) {
            if (is_word(arguments[i], "BY")) return CompareRule::multiset;
        }
    }
    return row.compare;
}

StreamRole stream_role(const CommandRow& row, std::span<const std::string_view> arguments) {
    if (row.stream != StreamRole::reset) return row.stream;
    if (row.name == "SET") {
        for (std::size_t i = 3; i < arguments.size(); ++i) {
            const std::string_view option = arguments[i];
            if (is_word(option, "KEEPTTL") || is_word(option, "GET") || is_word(option, "NX") ||
                is_word(option, "XX")) {
                return StreamRole::op;
            }
        }
    } else if (row.name == "RESTORE" || row.name == "RESTORE-ASKING") {
        for (std::size_t i = 4; i < arguments.size(); ++i) {
            if (is_word(arguments[i], "REPLACE")) return StreamRole::reset;
        }
        return StreamRole::op;
    }
    return row.stream;
}

}  // namespace exodus::resp
