#include "tests/support/ledger_books.h"

#include <cstdlib>
#include <fmt/format.h>
#include <set>

namespace exodus::test {

int64_t number_of(const std::string& text) {
    return text == "(nil)" ? 0 : std::strtoll(text.c_str(), nullptr, 10);
}

std::vector<std::string> list_of(redisContext* context, const std::string& key) {
    std::vector<std::string> ids;
    const auto reply = send_command(context, {"LRANGE", key, "0", "-1"});
    for (size_t i = 0; reply && i < reply->elements; ++i) ids.push_back(to_text(reply->element[i]));
    return ids;
}

void IdLog::check(const std::string& key, const std::vector<std::string>& found, bool ordered,
                  const LedgerNote& note) const {
    std::map<uint64_t, bool> known;
    for (const auto& [id, acknowledged] : ids) known.emplace(id, acknowledged);
    std::set<uint64_t> seen;
    uint64_t previous = 0;
    for (const auto& text : found) {
        const uint64_t id = std::strtoull(text.c_str(), nullptr, 10);
        if (!known.contains(id))
            note(fmt::format("{}: id {} was never sent or was refused", key, text));
        if (!seen.insert(id).second) note(fmt::format("{}: id {} applied twice", key, id));
        if (ordered && id < previous) note(fmt::format("{}: id {} after {}", key, id, previous));
        previous = id;
    }
    uint64_t missing = 0;
    for (const auto& [id, acknowledged] : known) {
        if (acknowledged && !seen.contains(id) && missing++ < 3)
            note(fmt::format("{}: acknowledged id {} is missing", key, id));
    }
    if (missing > 3)
        note(fmt::format("{}: {} acknowledged ids are missing of {}", key, missing, known.size()));
}

bool Counter::add(int64_t value) {
    ++acknowledged;
    const bool possible = value >= last + 1 && value <= last + 1 + unknown_since;
    last = value;
    unknown_since = 0;
    return possible;
}

void Counter::add_unknown() {
    ++unknown;
    ++unknown_since;
}

void Counter::check(const std::string& name, const std::string& found,
                    const LedgerNote& note) const {
    const int64_t value = number_of(found);
    if (value >= acknowledged && value <= acknowledged + unknown) return;
    note(fmt::format("{}: {} but {} acknowledged, {} unknown", name, found, acknowledged, unknown));
}

void AtomicLog::check(redisContext* context, const std::string& what, const std::string& counter,
                      const LedgerNote& note) const {
    std::size_t elements = 0;
    for (const auto& [key, log] : lists) {
        const auto found = list_of(context, key);
        log.check(key, found, true, note);
        elements += found.size();
    }
    if (static_cast<std::size_t>(number_of(counter)) != elements)
        note(fmt::format("{} was torn: counter {}, {} list elements", what, counter, elements));
}

void Expiring::check(redisContext* context, const std::string& key, const LedgerNote& note) const {
    if (!certain) return;
    const std::string found = to_text(send_command(context, {"GET", key}).get());
    if (found != value) note(fmt::format("{}: value {} instead of {}", key, found, value));
    const int64_t expiry = number_of(to_text(send_command(context, {"PEXPIRETIME", key}).get()));
    if (expiry < expire_ms_min || expiry > expire_ms_max) {
        note(fmt::format("{}: expiry {} instead of {} to {}", key, expiry, expire_ms_min,
                         expire_ms_max));
    }
}

}  // namespace exodus::test
