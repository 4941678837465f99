// The books of the ledger: what was written to one key, and what the authority must therefore hold.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/redis_server.h"

namespace exodus::test {

/// Where a check says what does not fit.
using LedgerNote = std::function<void(const std::string&)>;

/// Ids written to a key that keeps them, e.g. a list.
struct IdLog {
    std::vector<std::pair<uint64_t, bool>> ids;  ///< id, acknowledged (else unknown)
    void add(uint64_t id, bool acknowledged) { ids.emplace_back(id, acknowledged); }
    /// Acknowledged ids are there once, unknown ones at most once, no others; `ordered`: as sent.
    void check(const std::string& key, const std::vector<std::string>& found, bool ordered,
               const LedgerNote& note) const;
};

/// A counter with one writer, by 1.
struct Counter {
    int64_t acknowledged = 0;
    int64_t unknown = 0;
    int64_t last = 0;           ///< last value that a reply showed
    int64_t unknown_since = 0;  ///< unknown increments since then

    /// An increment whose reply showed `value`; `unknown`: that had none. False: it cannot be.
    bool add(int64_t value);
    void add_unknown();
    [[nodiscard]] bool may_be(int64_t value) const {
        return value >= last && value <= last + unknown_since;
    }
    void check(const std::string& name, const std::string& found, const LedgerNote& note) const;
};

/// The same ids on lists, beside a counter in the same transaction or script: both or neither.
struct AtomicLog {
    std::map<std::string, IdLog> lists;
    void check(redisContext* context, const std::string& what, const std::string& counter,
               const LedgerNote& note) const;
};

/// A string with an expiry, of which the client knows all that it wrote; `certain` ends with a
/// write whose outcome it does not know.
struct Expiring {
    bool certain = false;
    uint64_t written_by = 0;  ///< id of the last request
    std::string value;
    int64_t expire_ms_min = -1;  ///< -1: none
    int64_t expire_ms_max = -1;
    void check(redisContext* context, const std::string& key, const LedgerNote& note) const;
};

std::vector<std::string> list_of(redisContext* context, const std::string& key);
int64_t number_of(const std::string& text);

}  // namespace exodus::test
