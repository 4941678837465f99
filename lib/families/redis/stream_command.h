// One command of a replication stream: where it ends, which keys it touches, and what role it plays
// when a stream is applied (redis.md 4.5). Pure: works on bytes. Only verbs that servers put into a
// stream are known here; client commands are in wire/resp/command_table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "wire/resp/writer.h"

namespace exodus::redis {

/// Names that exodus itself uses on servers; never copied.
inline constexpr std::string_view kOwnPrefix = "exodus:";
inline constexpr std::string_view kCheckpointPrefix = "exodus:cp:";

/// Digest of a key within a database; what watermarks are kept by.
Digest128 key_hash(int db, std::string_view name);

struct KeyRef {
    int db = 0;
    std::string_view name;
    Digest128 hash;
    bool written_whole = false;  ///< replaced whatever it was: needs no presence check (destination
                                 ///< of RENAME, *STORE)
};

enum class StreamRole : uint8_t {
    reset,    ///< independent of earlier state, key by key: SET, DEL, MSET, RESTORE
    op,       ///< depends on the state of its keys
    global,   ///< FLUSHDB, FLUSHALL, SWAPDB, FUNCTION
    ignored,  ///< not data: PING, SELECT, MULTI, EXEC, PUBLISH
    unknown,  ///< a verb whose keys are not known
};

enum class GlobalKind : uint8_t { none, flush_db, flush_all, swap_db, function };

/// A parsed command. Views point into the buffer it was parsed from.
struct StreamCommand {
    uint64_t end = 0;   ///< offset in the stream behind its last byte
    int db = 0;         ///< its keys' database (SWAPDB: the first one)
    int stream_db = 0;  ///< the stream's database behind it
    std::string_view raw;
    std::string owned;  ///< what `raw` views when the command was rewritten
    std::vector<std::string_view> args;
    std::vector<KeyRef> keys;
    StreamRole role = StreamRole::ignored;
    GlobalKind global = GlobalKind::none;
    int swap_with = 0;       ///< SWAPDB: databases `db` and `swap_with`
    bool gives_ttl = false;  ///< may give any of its keys an expiry, even one in the past
    bool by_state = false;   ///< not reproducible on the destination (reads keys it does not name):
                             ///< copy its keys
    bool own = false;        ///< touches an exodus: key
    uint64_t group =
        0;  ///< end offset of the last command of its MULTI group; its own end when alone
};

/// Upper-cased verb.
std::string verb_of(const StreamCommand& command);
bool verb_is(const StreamCommand& command, std::string_view upper);
bool word_is(std::string_view word, std::string_view upper);

/// Fills role, keys and flags from args and db.
void classify(StreamCommand& command);

/// Splits one RESP array of bulk strings. Returns the bytes used, 0 when it is not complete; error
/// when it is not RESP.
Result<std::size_t> split_command(std::string_view bytes, std::vector<std::string_view>& args);

using resp::append_command;

std::optional<int64_t> to_number(std::string_view text);

}  // namespace exodus::redis
