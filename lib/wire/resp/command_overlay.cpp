// What a real server says about its commands, laid over the built-in table: modules, newer
// commands, renamed ones.
#include <algorithm>
#include <cctype>

#include "base/limits.h"
#include "wire/resp/command_table.h"
#include "wire/resp/value.h"

namespace exodus::resp {

namespace {

std::string upper(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return out;
}

/// The value of `key` in a map that RESP2 sends as a flat array.
const Value* field(const Value& map, std::string_view key) {
    for (std::size_t i = 0; i + 1 < map.items.size(); i += 2) {
        if (map.items[i].text == key) return &map.items[i + 1];
    }
    return nullptr;
}

int16_t number(const Value* map, std::string_view key, int16_t fallback) {
    const Value* found = map == nullptr ? nullptr : field(*map, key);
    if (found == nullptr || found->type != Type::integer || found->integer < INT16_MIN ||
        found->integer > INT16_MAX)
        return fallback;
    return static_cast<int16_t>(found->integer);
}

CommandFacts::Spec parse_spec(const Value& raw) {
    CommandFacts::Spec out;
    KeySpec& spec = out.spec;
    if (const Value* flags = field(raw, "flags")) {
        for (const Value& item : flags->items) {
            if (item.text == "RO") spec.read_only = true;
            if (item.text == "not_key") spec.not_key = true;
            if (item.text == "incomplete") spec.incomplete = true;
        }
    }
    spec.begin = KeySpec::Begin::unknown;
    spec.find = KeySpec::Find::unknown;
    if (const Value* begin = field(raw, "begin_search")) {
        const Value* type = field(*begin, "type");
        const Value* inner = field(*begin, "spec");
        if (type != nullptr && type->text == "index") {
            spec.begin = KeySpec::Begin::index;
            spec.index = number(inner, "index", 0);
        } else if (type != nullptr && type->text == "keyword" && inner != nullptr) {
            spec.begin = KeySpec::Begin::keyword;
            spec.index = number(inner, "startfrom", 1);
            if (const Value* word = field(*inner, "keyword")) out.keyword = upper(word->text);
        }
    }
    if (const Value* find = field(raw, "find_keys")) {
        const Value* type = field(*find, "type");
        const Value* inner = field(*find, "spec");
        if (type != nullptr && type->text == "range") {
            spec.find = KeySpec::Find::range;
            spec.last = number(inner, "lastkey", 0);
            spec.limit = number(inner, "limit", 0);
        } else if (type != nullptr && type->text == "keynum") {
            spec.find = KeySpec::Find::keynum;
            spec.last = number(inner, "keynumidx", 0);
            spec.first = number(inner, "firstkey", 1);
        }
        spec.step = number(inner, "keystep", 1);
    }
    return out;
}

bool parse_entry(const Value& raw, CommandFacts& facts) {
    // name, arity, flags, first key, last key, step (Redis 4); acl categories (6); tips, key specs,
    // subcommands (7)
    const auto& items = raw.items;
    if (items.size() < 6 || !items[0].is_string() || items[1].type != Type::integer) return false;
    facts.name = upper(items[0].text);
    std::replace(facts.name.begin(), facts.name.end(), '|', ' ');
    facts.arity = items[1].integer;
    for (const Value& name : items[2].items) facts.flags |= flag_bit(name.text);
    facts.first_key = items[3].integer;
    facts.last_key = items[4].integer;
    facts.key_step = items[5].integer;
    if (items.size() >= 9) {
        for (const Value& spec : items[8].items) facts.keys.push_back(parse_spec(spec));
    } else if (facts.first_key > 0 && facts.key_step > 0 && facts.first_key <= INT16_MAX) {
        CommandFacts::Spec spec;
        spec.spec.index = static_cast<int16_t>(facts.first_key);
        spec.spec.last = static_cast<int16_t>(
            facts.last_key < 0 ? facts.last_key : facts.last_key - facts.first_key);
        spec.spec.step = static_cast<int16_t>(facts.key_step);
        spec.spec.read_only = (facts.flags & flag::kReadonly) != 0;
        spec.spec.incomplete = (facts.flags & flag::kMovableKeys) != 0;
        facts.keys.push_back(spec);
    }
    if (items.size() >= 10) {
        for (const Value& sub : items[9].items) {
            CommandFacts inner;
            if (parse_entry(sub, inner)) facts.subcommands.push_back(std::move(inner));
        }
    }
    return true;
}

}  // namespace

std::vector<CommandFacts> parse_command_reply(const Value& reply) {
    std::vector<CommandFacts> all;
    all.reserve(reply.items.size());
    for (const Value& raw : reply.items) {
        CommandFacts facts;
        if (parse_entry(raw, facts)) all.push_back(std::move(facts));
    }
    return all;
}

struct CommandOverlay::Entry {
    std::string name;
    std::vector<CommandFacts::Spec> facts;
    std::vector<KeySpec> specs;
    CommandRow row;
};

CommandOverlay::CommandOverlay() = default;
CommandOverlay::~CommandOverlay() = default;
CommandOverlay::CommandOverlay(const CommandOverlay&) = default;
CommandOverlay& CommandOverlay::operator=(const CommandOverlay&) = default;

void CommandOverlay::add(const std::vector<CommandFacts>& all) {
    for (const CommandFacts& facts : all) {
        const std::size_t blank = facts.name.find(' ');
        const std::string_view name = std::string_view(facts.name).substr(0, blank);
        const std::string_view sub = blank == std::string::npos
                                         ? std::string_view{}
                                         : std::string_view(facts.name).substr(blank + 1);
        const auto known = by_name_.find(facts.name);
        const bool have = find_command(name, sub) != nullptr ||
                          (known != by_name_.end() &&
                           (known->second->writes() ||
                            (facts.flags & (flag::kWrite | flag::kMayReplicate)) == 0));
        if (!have && facts.arity >= INT16_MIN && facts.arity <= INT16_MAX &&
            entries_.size() < limits::kRespOverlay_max) {
            auto entry = std::make_shared<Entry>();
            entry->name = facts.name;
            entry->facts = facts.keys;
            CommandRow& row = entry->row;
            row.name = entry->name;
            row.id = static_cast<uint16_t>(builtin_count() + entries_.size() + 1);
            row.arity = static_cast<int16_t>(facts.arity);
            row.flags = facts.flags;
            row.container = !facts.subcommands.empty();
            for (const CommandFacts::Spec& spec : entry->facts) {
                entry->specs.push_back(spec.spec);
                entry->specs.back().keyword = spec.keyword;
                if (spec.spec.incomplete || spec.spec.begin == KeySpec::Begin::unknown ||
                    spec.spec.find == KeySpec::Find::unknown) {
                    row.keys_known = false;
                }
            }
            row.keys = entry->specs;
            if ((facts.flags & flag::kMovableKeys) != 0 && facts.keys.empty())
                row.keys_known = false;
            // A module's word is taken for what it writes, never for what may be compared or
            // shared.
            if (row.has(flag::kWrite)) {
                row.effect = Effect::write;
            } else if (row.has(flag::kMayReplicate)) {
                row.effect = Effect::may_write;
            } else {
                row.effect = row.has(flag::kAdmin)      ? Effect::admin
                             : row.has(flag::kReadonly) ? Effect::read
                                                        : Effect::may_write;
            }
            const bool stateless = row.effect == Effect::read && !row.has(flag::kBlocking) &&
                                   !row.has(flag::kNoscript);
            row.connection =
                stateless ? ConnectionClass::shared : ConnectionClass::leased_until_done;
            row.stream = !row.writes()                         ? StreamRole::ignored
                         : row.keys_known && !row.keys.empty() ? StreamRole::op
                                                               : StreamRole::global;
            by_name_[entry->name] = &row;
            entries_.push_back(std::move(entry));
        }
        add(facts.subcommands);
    }
}

const CommandRow* CommandOverlay::find(std::string_view name, std::string_view sub) const {
    if (const CommandRow* row = find_command(name, sub)) return row;
    if (by_name_.empty() || name.size() + sub.size() > 256) return nullptr;
    const auto outer = by_name_.find(upper(name));
    if (outer != by_name_.end() && (!outer->second->container || sub.empty())) return outer->second;
    const auto inner = by_name_.find(upper(name) + " " + upper(sub));
    return inner == by_name_.end() ? nullptr : inner->second;
}

const CommandRow& CommandOverlay::classify(std::span<const std::string_view> arguments) const {
    if (arguments.empty()) return unknown_command();
    const CommandRow* row =
        find(arguments[0], arguments.size() > 1 ? arguments[1] : std::string_view{});
    return row == nullptr ? unknown_command() : *row;
}

std::size_t CommandOverlay::added() const { return entries_.size(); }

const CommandRow& CommandOverlay::row(uint16_t id) const {
    if (id == 0) return unknown_command();
    if (id <= builtin_count()) return builtin_rows()[id - 1U];
    const std::size_t index = static_cast<std::size_t>(id) - builtin_count() - 1;
    return index < entries_.size() ? entries_[index]->row : unknown_command();
}

}  // namespace exodus::resp
