// What every command of Redis 7.0/7.2 and Valkey 8.0 does: one row per command and subcommand,
// found by its upper-cased name without allocating. Facts (arity, flags, key specs) are generated
// from the servers' own COMMAND (command_facts.inc); what exodus does with a command (connection,
// compare, stream role) is decided in command_policy.h. Thread-safe: constant.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace exodus::resp {

/// As the server's own flags say: SORT, GETEX, BITFIELD, GEORADIUS are writes even when they only
/// read.
enum class Effect : uint8_t { read, write, may_write, connection, pubsub, admin };
std::string_view to_string(Effect effect);

enum class ConnectionClass : uint8_t {
    shared,             ///< stateless: may share a backend connection with other clients
    leased_until_done,  ///< needs a connection of its own until the reply came (blocking) or the
                        ///< state ended (MULTI, WATCH)
    pinned,   ///< keeps its connection for as long as the state lasts (SUBSCRIBE, MONITOR, CLIENT
              ///< TRACKING)
    session,  ///< answered or handled by the session itself: AUTH, HELLO, SELECT, CLIENT …, RESET,
              ///< QUIT
};

/// How two answers to the same request are compared (redis.md 7).
enum class CompareRule : uint8_t {
    never,
    exact,       ///< order counts
    multiset,    ///< order does not count
    pairs,       ///< field-value pairs in any order
    ttl,         ///< a remaining time in seconds or milliseconds
    expiretime,  ///< an absolute time: exact
    random,      ///< by type and size only
    score,       ///< exact, doubles by value
};
std::string_view to_string(CompareRule rule);

/// What the command is in a replication stream (redis.md 4.5).
enum class StreamRole : uint8_t {
    reset,    ///< result independent of earlier state: SET without KEEPTTL, DEL, UNLINK, MSET,
              ///< RESTORE REPLACE
    op,       ///< everything else with keys
    global,   ///< touches everything or something without keys: FLUSHALL, FLUSHDB, SWAPDB, FUNCTION
              ///< …, unknown commands
    ignored,  ///< changes no data: PING, REPLCONF, PUBLISH, SPUBLISH, scripts' LOAD
    control,  ///< SELECT, MULTI, EXEC: the reader's own business
};

enum class KeyAccess : uint8_t { read, write };

/// Command flags, as COMMAND prints them.
namespace flag {
inline constexpr uint32_t kWrite = 1U << 0;
inline constexpr uint32_t kReadonly = 1U << 1;
inline constexpr uint32_t kDenyoom = 1U << 2;
inline constexpr uint32_t kAdmin = 1U << 3;
inline constexpr uint32_t kPubsub = 1U << 4;
inline constexpr uint32_t kNoscript = 1U << 5;
inline constexpr uint32_t kBlocking = 1U << 6;
inline constexpr uint32_t kLoading = 1U << 7;
inline constexpr uint32_t kStale = 1U << 8;
inline constexpr uint32_t kSkipMonitor = 1U << 9;
inline constexpr uint32_t kSkipSlowlog = 1U << 10;
inline constexpr uint32_t kAsking = 1U << 11;
inline constexpr uint32_t kFast = 1U << 12;
inline constexpr uint32_t kNoAuth = 1U << 13;
inline constexpr uint32_t kMayReplicate = 1U << 14;
inline constexpr uint32_t kNoMandatoryKeys = 1U << 15;
inline constexpr uint32_t kNoAsyncLoading = 1U << 16;
inline constexpr uint32_t kNoMulti = 1U << 17;
inline constexpr uint32_t kMovableKeys = 1U << 18;
inline constexpr uint32_t kAllowBusy = 1U << 19;
inline constexpr uint32_t kModule = 1U << 20;
}  // namespace flag
/// The bit of a flag's name ("no_mandatory_keys"), 0 when unknown.
uint32_t flag_bit(std::string_view name);

/// Where keys are, in the servers' own terms (COMMAND's key specifications).
struct KeySpec {
    enum class Begin : uint8_t { index, keyword, unknown };
    enum class Find : uint8_t { range, keynum, unknown };
    Begin begin = Begin::index;
    Find find = Find::range;
    bool read_only = false;   ///< RO; everything else writes
    bool not_key = false;     ///< a shard channel or similar: has a slot, is no key
    bool incomplete = false;  ///< there may be more keys than this finds (SORT BY, MIGRATE)
    int16_t index = 0;  ///< begin index: first argument looked at. begin keyword: where the search
                        ///< starts (< 0: from the end, backwards)
    std::string_view keyword;
    int16_t last = 0;  ///< range: last key relative to the first, < 0 from the end. keynum:
                       ///< position of the number
    int16_t step = 1;
    int16_t limit = 0;  ///< range, last -1: divide what is left by this (2: XREAD STREAMS)
    int16_t first = 0;  ///< keynum: first key, relative to begin
};

struct CommandRow {
    std::string_view name;  ///< canonical: "GET", "CLIENT ID"
    uint16_t id =
        0;  ///< dense: 0 is the unknown command, built-in rows 1 … builtin_count(), overlays behind
    int16_t arity = 0;  ///< name included (and subcommand); negative: at least
    uint32_t flags = 0;
    Effect effect = Effect::write;
    ConnectionClass connection = ConnectionClass::leased_until_done;
    CompareRule compare = CompareRule::never;
    StreamRole stream = StreamRole::global;
    bool container = false;  ///< has subcommands
    bool known = true;       ///< false: the row of unknown commands
    bool keys_known = true;  ///< extract_keys() finds all keys
    bool refused_while_migrating =
        false;             ///< SHUTDOWN, REPLICAOF, FAILOVER, MODULE, SYNC, PSYNC, CLUSTER writes
    uint16_t engines = 0;  ///< those that have it: see namespace engine
    std::span<const KeySpec> keys;

    [[nodiscard]] bool has(uint32_t bit) const { return (flags & bit) != 0; }
    /// Changes data, or may: stops under a hold. MIGRATE is admin and writes.
    [[nodiscard]] bool writes() const {
        return effect == Effect::write || effect == Effect::may_write || has(flag::kWrite);
    }
    [[nodiscard]] bool arity_ok(uint64_t argc) const {
        return arity >= 0 ? argc == static_cast<uint64_t>(arity)
                          : argc >= static_cast<uint64_t>(-arity);
    }
};

/// Bits of CommandRow::engines.
namespace engine {
inline constexpr uint16_t kRedis70 = 1;   ///< redis-server 7.0.15
inline constexpr uint16_t kValkey80 = 2;  ///< valkey-server 8.0.1; has all commands of Redis 7.2
}  // namespace engine

/// Rows of one name; nullptr when unknown. Any case. `sub` is looked at for containers only; an
/// unknown subcommand gives nullptr from find_command and the unknown row from classify.
const CommandRow* find_command(std::string_view name, std::string_view sub = {});
/// The row of a request by its first arguments; unknown_command() when there is none.
const CommandRow& classify(std::span<const std::string_view> arguments);
/// Unknown on both sides: write, leased, not comparable, keys unknown.
const CommandRow& unknown_command();
/// All built-in rows, containers and subcommands, ordered by id (rows()[0].id == 1).
std::span<const CommandRow> builtin_rows();
inline uint16_t builtin_count() { return static_cast<uint16_t>(builtin_rows().size()); }

/// A key of a request.
struct KeyRef {
    std::string_view key;
    KeyAccess access = KeyAccess::write;
    int database =
        -1;  ///< another database than the current one: destination of MOVE and COPY … DB
    std::size_t argument = 0;  ///< its position
};

/// All keys of a request, in the order of COMMAND GETKEYS; MOVE and COPY … DB name the key in the
/// other database as well. False when keys cannot be told (unknown command, malformed arguments:
/// the server will refuse it).
bool extract_keys(const CommandRow& row, std::span<const std::string_view> arguments,
                  std::vector<KeyRef>& keys);
/// The first key only, without allocating; empty data() when there is none.
std::string_view first_key(const CommandRow& row, std::span<const std::string_view> arguments);

// What only the arguments tell. `arguments` may be the indexed ones of a frame if all of the
// request is in them.
/// Waits on the server (BLPOP …, XREAD BLOCK, WAIT): such a request is leased until its reply came,
/// whatever row.connection says (XREAD and XREADGROUP are `shared` rows because they block by
/// argument only).
bool may_block(const CommandRow& row, std::span<const std::string_view> arguments);
/// row.compare refined: SORT_RO with BY is a multiset (nosort, or equal weights), XREAD with BLOCK
/// is never compared.
CompareRule compare_rule(const CommandRow& row, std::span<const std::string_view> arguments);
/// row.stream refined: SET with KEEPTTL, GET, NX or XX is an op, RESTORE without REPLACE too.
StreamRole stream_role(const CommandRow& row, std::span<const std::string_view> arguments);

/// Case-insensitive equality of an argument with an upper-case word.
bool is_word(std::string_view argument, std::string_view upper);

/// Facts about one command as a server prints them in COMMAND.
struct CommandFacts {
    std::string name;  ///< upper case; subcommands "PARENT SUB"
    int64_t arity = 0;
    uint32_t flags = 0;
    int64_t first_key = 0;
    int64_t last_key = 0;
    int64_t key_step = 0;
    struct Spec {
        KeySpec spec;
        std::string keyword;
    };
    std::vector<Spec> keys;  ///< servers ≥ 7.0; else made of first, last, step
    std::vector<CommandFacts> subcommands;
};

struct Value;
/// Reads the whole reply of COMMAND (RESP2 or RESP3, Redis ≥ 4). Entries that are not understood
/// are left out.
std::vector<CommandFacts> parse_command_reply(const Value& reply);

/// The built-in table with the commands of real servers laid over it (modules, renamed, newer
/// ones). A copy shares its rows with the original: rows are only ever added, so a row, its id and
/// its address are good as long as any copy that has it lives.
class CommandOverlay {
  public:
    CommandOverlay();
    ~CommandOverlay();
    CommandOverlay(const CommandOverlay&);
    CommandOverlay& operator=(const CommandOverlay&);

    /// Adds the commands of one server that the built-in table lacks. May be called for each side
    /// and again: a command that is a read so far and a write here becomes a write.
    void add(const std::vector<CommandFacts>& facts);
    [[nodiscard]] const CommandRow& classify(std::span<const std::string_view> arguments) const;
    [[nodiscard]] const CommandRow* find(std::string_view name, std::string_view sub = {}) const;
    /// Rows added, ids from builtin_count() + 1 on.
    [[nodiscard]] std::size_t added() const;
    /// The row of an id, built-in or added; the unknown row for anything else.
    [[nodiscard]] const CommandRow& row(uint16_t id) const;

  private:
    struct Entry;
    std::vector<std::shared_ptr<const Entry>> entries_;
    std::map<std::string, const CommandRow*, std::less<>> by_name_;
};

}  // namespace exodus::resp
