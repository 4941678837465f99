// Keys of a request by the servers' key specifications (db.c, getKeysUsingKeySpecs in Redis 7.0),
// and by hand for the three commands whose specifications are incomplete.
#include <algorithm>

#include "wire/resp/command_table.h"
#include "wire/resp/value.h"

namespace exodus::resp {

namespace {

using Arguments = std::span<const std::string_view>;

struct Range {
    int64_t first = 0;
    int64_t last = -1;
    int64_t step = 1;
};

enum class Found : uint8_t { yes, none, invalid };

Found resolve(const KeySpec& spec, Arguments arguments, Range& range) {
    const int64_t argc = static_cast<int64_t>(arguments.size());
    int64_t begin = 0;
    if (spec.begin == KeySpec::Begin::unknown || spec.find == KeySpec::Find::unknown)
        return Found::invalid;
    if (spec.begin == KeySpec::Begin::index) {
        begin = spec.index;
    } else {
        const int64_t from = spec.index > 0 ? spec.index : argc + spec.index;
        const int64_t end = spec.index > 0 ? argc - 1 : 1;
        const int64_t step = from <= end ? 1 : -1;
        for (int64_t i = from; i != end; i += step) {
            if (i >= argc || i < 1) break;
            if (is_word(arguments[static_cast<std::size_t>(i)], spec.keyword)) {
                begin = i + 1;
                break;
            }
        }
        if (begin == 0) return Found::none;
    }
    range.first = begin;
    range.step = std::max<int64_t>(1, spec.step);
    if (spec.find == KeySpec::Find::range) {
        if (spec.last >= 0) {
            range.last = begin + spec.last;
        } else if (spec.limit == 0) {
            range.last = argc + spec.last;
        } else {
            range.last = begin + (argc - begin) / spec.limit + spec.last;
        }
        return begin < argc ? Found::yes : Found::invalid;
    }
    const int64_t at = begin + spec.last;
    int64_t count = 0;
    if (at >= argc || !parse_int(arguments[static_cast<std::size_t>(at)], count) || count < 0 ||
        count > argc) {
        return Found::invalid;
    }
    range.first = begin + spec.first;
    range.last = range.first + (count - 1) * range.step;
    return Found::yes;
}

/// Calls `take(argument index, access)` for each key until it returns false. False: the keys cannot
/// be told.
template <class Take>
bool each_key(const CommandRow& row, Arguments arguments, Take&& take) {
    const int64_t argc = static_cast<int64_t>(arguments.size());
    const auto at = [&](std::size_t i) { return arguments[i]; };
    if (row.name == "SORT" || row.name == "SORT_RO") {
        if (argc < 2) return false;
        if (!take(1, KeyAccess::read)) return true;
        std::size_t store = 0;
        for (std::size_t i = 2; i < arguments.size();
             ++i) {  // sortGetKeys: the last STORE counts, options are skipped whole
            if (is_word(at(i), "LIMIT")) {
                i += 2;
            } else if (is_word(at(i), "GET") || is_word(at(i), "BY")) {
                i += 1;
            } else if (row.name == "SORT" && is_word(at(i), "STORE") && i + 1 < arguments.size()) {
                store = ++i;
            }
        }
        if (store != 0) take(store, KeyAccess::write);
        return true;
    }
    if (row.name == "MIGRATE") {
        if (argc < 6) return false;
        if (!at(3).empty()) {
            take(3, KeyAccess::write);
            return true;
        }
        for (std::size_t i = 6; i < arguments.size();
             ++i) {  // migrateGetKeys: KEYS takes all that is left
            if (is_word(at(i), "AUTH")) {
                i += 1;
            } else if (is_word(at(i), "AUTH2")) {
                i += 2;
            } else if (is_word(at(i), "KEYS")) {
                for (std::size_t key = i + 1; key < arguments.size(); ++key) {
                    if (!take(key, KeyAccess::write)) return true;
                }
                return true;
            }
        }
        return false;
    }
    for (const KeySpec& spec : row.keys) {
        Range range;
        const Found found = resolve(spec, arguments, range);
        if (found == Found::none) continue;
        if (found == Found::invalid) return false;
        if (spec.not_key) continue;
        for (int64_t i = range.first; i <= range.last; i += range.step) {
            if (i >= argc) {
                if (row.arity < 0) break;
                return false;
            }
            if (!take(static_cast<std::size_t>(i),
                      spec.read_only ? KeyAccess::read : KeyAccess::write))
                return true;
        }
    }
    return true;
}

/// Database of the second key of MOVE and COPY … DB; -1: the current one.
int other_database(const CommandRow& row, Arguments arguments) {
    int64_t database = -1;
    if (row.name == "MOVE" && arguments.size() == 3) {
        if (!parse_int(arguments[2], database)) return -1;
    } else if (row.name == "COPY") {
        for (std::size_t i = 3; i + 1 < arguments.size(); ++i) {
            if (is_word(arguments[i], "DB") && !parse_int(arguments[++i], database)) return -1;
        }
    }
    return database >= 0 && database <= INT16_MAX ? static_cast<int>(database) : -1;
}

}  // namespace

bool extract_keys(const CommandRow& row, Arguments arguments, std::vector<KeyRef>& keys) {
    keys.clear();
    if (!row.keys_known || !row.arity_ok(arguments.size())) return false;
    const bool told = each_key(row, arguments, [&](std::size_t i, KeyAccess access) {
        keys.push_back({arguments[i], access, -1, i});
        return true;
    });
    if (!told) {
        keys.clear();
        return false;
    }
    if (const int database = other_database(row, arguments); database >= 0) {
        if (row.name == "MOVE") {
            KeyRef there = keys.front();
            there.database = database;
            keys.push_back(there);
        } else if (keys.size() == 2) {
            keys[1].database = database;
        }
    }
    return true;
}

std::string_view first_key(const CommandRow& row, Arguments arguments) {
    if (!row.keys_known || arguments.empty()) return {};
    // One key at a fixed place: nearly every request.
    if (!row.has(flag::kMovableKeys) && !row.keys.empty() &&
        row.keys[0].begin == KeySpec::Begin::index && row.keys[0].find == KeySpec::Find::range &&
        !row.keys[0].not_key) {
        const std::size_t at = static_cast<std::size_t>(row.keys[0].index);
        return at < arguments.size() ? arguments[at] : std::string_view{};
    }
    std::string_view key;
    each_key(row, arguments, [&](std::size_t i, KeyAccess) {
        key = arguments[i];
        return false;
    });
    return key;
}

}  // namespace exodus::resp
