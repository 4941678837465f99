// Reads keys so that two servers can be compared: type, exact expiry and digests that do not depend
// on encoding, hash seeds or versions, each read at a known offset of the replication stream
// (redis.md 7, 8).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "families/redis/client.h"

namespace exodus::redis {

struct KeyState {
    bool present = false;
    bool readable = true;  ///< false: it changed its type while it was read, or the server refused
    bool typed =
        false;  ///< digests are of values; else `value` is of the DUMP payload without its footer
    bool exact_expiry = true;  ///< false: from PTTL and TIME, ± 2 ms
    std::string type;          ///< of TYPE: "string", "hash", …
    int64_t expire_ms = -1;    ///< Unix ms; -1 none
    Digest128 value;           ///< ordered where order is part of the value
    Digest128 members;         ///< without order; differs from `value` in meaning for lists only
    Digest128
        groups;  ///< streams: groups, last ids, pending entries with consumer and delivery count
};

/// All states belong to this place of the server's stream and to this time of its clock.
struct Snapshot {
    std::vector<KeyState> states;
    StreamPosition position;
    int64_t time_ms = 0;
    bool touched = false;  ///< WATCH was broken: nothing was read
};

enum class Difference : uint8_t {
    none,
    undecided,
    missing,
    extra,
    type,
    expiry,
    value,
    order,
    groups
};
std::string_view to_string(Difference difference);

/// "hash 1f… expiry none" or "absent", for people; never a value.
std::string describe(const KeyState& state);

/// Compares what the authority has with what the other side has; a key past its expiry at `now_ms`
/// is absent. undecided: payloads differ (read typed), or one of them was not readable.
Difference compare_states(const KeyState& authority, const KeyState& other, int64_t now_ms);

/// Reads over one connection. Every function reads one database; SELECT is done here.
class CanonicalReader {
  public:
    CanonicalReader(Client& client, const ServerVersion& version)
        : client_(client), exact_(version.at_least(7, 0)) {}

    using Names = std::span<const std::string_view>;

    /// TYPE, DUMP, expiry of each key in one MULTI with INFO. request() and take() let two servers
    /// work at the same time.
    Status request_payloads(int db, Names names);
    Result<Snapshot> take_payloads(std::size_t count);
    /// Typed values in one MULTI; `types` from an earlier read, "none" or empty for absent ones.
    Status request_typed(int db, Names names, std::span<const std::string> types);
    Result<Snapshot> take_typed(std::size_t count, std::span<const std::string> types);
    Result<Snapshot> read_typed(int db, Names names, std::span<const std::string> types);
    /// Values element by element with WATCH around, so that nothing large is in one reply.
    /// Unreadable when it keeps changing.
    Result<Snapshot> read_big(int db, std::string_view name);
    /// Types now, then typed values; big keys by read_big. For re-checks, where a second trip does
    /// not matter.
    Result<Snapshot> read_values(int db, Names names);
    /// MEMORY USAGE of each key; 0 for absent ones.
    Result<std::vector<uint64_t>> sizes(int db, Names names);
    /// WATCH for the keys; the next read_typed returns `touched` when one of them was written
    /// since.
    Status watch(int db, Names names);
    Status unwatch();

  private:
    void append_meta(std::string_view name);
    void append_tail();
    Result<Snapshot> take_exec(std::size_t count, std::size_t commands_per_key, std::size_t queued,
                               std::span<const std::string> types);
    Result<bool> read_pages(std::string_view name, KeyState& state);

    Client& client_;
    bool exact_;
};

}  // namespace exodus::redis
