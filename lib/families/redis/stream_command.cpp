#include "families/redis/stream_command.h"

#include <array>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include "base/limits.h"

namespace exodus::redis {

namespace {

enum class Kind : uint8_t {
    keys,   ///< operation; keys first..last by step
    set,    ///< SET: reset, with KEEPTTL an operation
    reset,  ///< keys first..last by step are overwritten or removed
    restore,
    numkeys,    ///< count at `first`, keys behind it
    store,      ///< destination, then numkeys
    copy,       ///< COPY a b [DB n]
    move,       ///< MOVE a n
    sort,       ///< key 1 and the word behind STORE
    georadius,  ///< key 1 and the word behind STORE or STOREDIST
    global,
    ignored,
};

struct Spec {
    Kind kind = Kind::keys;
    int first = 1;
    int last = 1;  ///< negative: counted from the end
    int step = 1;
    int written_whole = 0;  ///< argument index of a key that is replaced whole; 0 none
    bool gives_ttl = false;
    GlobalKind global = GlobalKind::none;
};

using Table = std::unordered_map<std::string_view, Spec>;

// Key positions: redis 7.0.15 and valkey 8.0.1 `COMMAND`, for the verbs that redis.md 4.1 found in
// streams and their kin.
const Table& table() {
    static const Table kTable = [] {
        Table t;
        for (const std::string_view verb : {"APPEND",
                                            "INCR",
                                            "DECR",
                                            "INCRBY",
                                            "DECRBY",
                                            "INCRBYFLOAT",
                                            "SETRANGE",
                                            "SETBIT",
                                            "BITFIELD",
                                            "PERSIST",
                                            "LPUSH",
                                            "RPUSH",
                                            "LPUSHX",
                                            "RPUSHX",
                                            "LPOP",
                                            "RPOP",
                                            "LREM",
                                            "LSET",
                                            "LTRIM",
                                            "LINSERT",
                                            "SADD",
                                            "SREM",
                                            "SPOP",
                                            "ZADD",
                                            "ZINCRBY",
                                            "ZREM",
                                            "ZREMRANGEBYSCORE",
                                            "ZREMRANGEBYRANK",
                                            "ZREMRANGEBYLEX",
                                            "ZPOPMIN",
                                            "ZPOPMAX",
                                            "HSET",
                                            "HMSET",
                                            "HSETNX",
                                            "HDEL",
                                            "HINCRBY",
                                            "HINCRBYFLOAT",
                                            "HPEXPIREAT",
                                            "HEXPIREAT",
                                            "HPEXPIRE",
                                            "HEXPIRE",
                                            "HPERSIST",
                                            "HGETDEL",
                                            "HSETEX",
                                            "HGETEX",
                                            "XADD",
                                            "XDEL",
                                            "XDELEX",
                                            "XACKDEL",
                                            "XTRIM",
                                            "XSETID",
                                            "XACK",
                                            "XCLAIM",
                                            "XAUTOCLAIM",
                                            "GEOADD",
                                            "PFADD",
                                            "DELIFEQ"}) {
            t[verb] = Spec{};
        }
        for (const std::string_view verb :
             {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "GETEX"}) {
            t[verb] = Spec{.gives_ttl = true};
        }
        t["XGROUP"] = Spec{.first = 2, .last = 2};
        t["SMOVE"] = t["LMOVE"] = t["RPOPLPUSH"] = t["BLMOVE"] = t["BRPOPLPUSH"] = Spec{.last = 2};
        t["RENAME"] = t["RENAMENX"] = Spec{.last = 2, .written_whole = 2, .gives_ttl = true};
        t["SINTERSTORE"] = t["SUNIONSTORE"] = t["SDIFFSTORE"] =
            Spec{.last = -1, .written_whole = 1};
        t["ZRANGESTORE"] = t["GEOSEARCHSTORE"] = Spec{.last = 2, .written_whole = 1};
        t["BITOP"] = Spec{.first = 2, .last = -1, .written_whole = 2};
        t["PFMERGE"] = t["PFCOUNT"] = Spec{.last = -1};
        t["PFDEBUG"] = Spec{.first = 2, .last = 2};
        t["LMPOP"] = t["ZMPOP"] = Spec{.kind = Kind::numkeys};
        t["ZUNIONSTORE"] = t["ZINTERSTORE"] = t["ZDIFFSTORE"] =
            Spec{.kind = Kind::store, .written_whole = 1};
        t["COPY"] = Spec{.kind = Kind::copy, .gives_ttl = true};
        t["MOVE"] = Spec{.kind = Kind::move, .gives_ttl = true};
        t["SORT"] = Spec{.kind = Kind::sort};
        t["GEORADIUS"] = t["GEORADIUSBYMEMBER"] = Spec{.kind = Kind::georadius};
        t["SET"] = Spec{.kind = Kind::set};
        t["SETNX"] = t["GETSET"] = Spec{.kind = Kind::reset};
        t["SETEX"] = t["PSETEX"] = Spec{.kind = Kind::reset, .gives_ttl = true};
        t["DEL"] = t["UNLINK"] = Spec{.kind = Kind::reset, .last = -1};
        t["GETDEL"] = Spec{.kind = Kind::reset};
        t["MSET"] = t["MSETNX"] = Spec{.kind = Kind::reset, .last = -1, .step = 2};
        t["RESTORE"] = t["RESTORE-ASKING"] = Spec{.kind = Kind::restore, .gives_ttl = true};
        t["FLUSHDB"] = Spec{.kind = Kind::global, .global = GlobalKind::flush_db};
        t["FLUSHALL"] = Spec{.kind = Kind::global, .global = GlobalKind::flush_all};
        t["SWAPDB"] = Spec{.kind = Kind::global, .global = GlobalKind::swap_db};
        t["FUNCTION"] = Spec{.kind = Kind::global, .global = GlobalKind::function};
        for (const std::string_view verb : {"PING", "REPLCONF", "PUBLISH", "SPUBLISH", "SELECT",
                                            "MULTI", "EXEC", "SCRIPT", "ACL", "CONFIG"}) {
            t[verb] = Spec{.kind = Kind::ignored};
        }
        return t;
    }();
    return kTable;
}

/// Upper-cases into `buffer`; an empty view when it is no verb that could be in the table.
std::string_view upper(std::string_view word, std::array<char, 32>& buffer) {
    if (word.empty() || word.size() > buffer.size()) return {};
    for (std::size_t i = 0; i < word.size(); ++i) {
        const char c = word[i];
        buffer[i] = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    }
    return {buffer.data(), word.size()};
}

void add_key(StreamCommand& command, int db, std::size_t index, int written_whole) {
    if (index >= command.args.size()) return;
    KeyRef key{db, command.args[index], key_hash(db, command.args[index]),
               static_cast<int>(index) == written_whole};
    for (auto& known : command.keys) {  // SUNIONSTORE a a b: also read, so not only written
        if (known.hash == key.hash) {
            known.written_whole = known.written_whole && key.written_whole;
            return;
        }
    }
    if (key.name.starts_with(kOwnPrefix)) command.own = true;
    command.keys.push_back(key);
}

void add_range(StreamCommand& command, const Spec& spec) {
    const int count = static_cast<int>(command.args.size());
    const int last = spec.last < 0 ? count + spec.last : spec.last;
    for (int i = spec.first; i <= last && i < count; i += spec.step) {
        add_key(command, command.db, static_cast<std::size_t>(i), spec.written_whole);
    }
}

void add_counted(StreamCommand& command, std::size_t count_at) {
    if (count_at >= command.args.size()) return;
    const int64_t count = to_number(command.args[count_at]).value_or(0);
    for (int64_t i = 0; i < count; ++i)
        add_key(command, command.db, count_at + 1 + static_cast<std::size_t>(i), 0);
}

void add_behind(StreamCommand& command, std::string_view word) {
    for (std::size_t i = 2; i + 1 < command.args.size(); ++i) {
        if (word_is(command.args[i], word))
            add_key(command, command.db, i + 1, static_cast<int>(i + 1));
    }
}

}  // namespace

Digest128 key_hash(int db, std::string_view name) {
    Digest128 hash = xxh3_128(name);
    hash.high ^= (static_cast<uint64_t>(db) + 1) * 0x9e3779b97f4a7c15ULL;
    return hash;
}

std::optional<int64_t> to_number(std::string_view text) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

bool word_is(std::string_view word, std::string_view upper_word) {
    if (word.size() != upper_word.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
        const char c = word[i] >= 'a' && word[i] <= 'z' ? static_cast<char>(word[i] - 32) : word[i];
        if (c != upper_word[i]) return false;
    }
    return true;
}

bool verb_is(const StreamCommand& command, std::string_view upper_word) {
    return !command.args.empty() && word_is(command.args[0], upper_word);
}

std::string verb_of(const StreamCommand& command) {
    std::string verb(command.args.empty() ? std::string_view{} : command.args[0].substr(0, 64));
    for (auto& c : verb) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    return verb;
}

void classify(StreamCommand& command) {
    command.keys.clear();
    command.role = StreamRole::unknown;
    command.group = command.group == 0 ? command.end : command.group;
    if (command.args.empty()) {
        command.role = StreamRole::ignored;
        return;
    }
    std::array<char, 32> buffer{};
    const auto found = table().find(upper(command.args[0], buffer));
    if (found == table().end()) return;
    const Spec& spec = found->second;
    command.gives_ttl = spec.gives_ttl;
    command.global = spec.global;
    const auto& args = command.args;
    switch (spec.kind) {
        case Kind::ignored:
            command.role = StreamRole::ignored;
            return;
        case Kind::global:
            command.role = StreamRole::global;
            if (spec.global == GlobalKind::swap_db && args.size() >= 3) {
                command.db = static_cast<int>(to_number(args[1]).value_or(0));
                command.swap_with = static_cast<int>(to_number(args[2]).value_or(0));
            }
            return;
        case Kind::keys:
            add_range(command, spec);
            break;
        case Kind::numkeys:
            add_counted(command, 1);
            break;
        case Kind::store:
            add_key(command, command.db, 1, 1);
            add_counted(command, 2);
            break;
        case Kind::set: {
            add_key(command, command.db, 1, 0);
            bool keep = false;
            for (std::size_t i = 3; i < args.size(); ++i) {
                if (word_is(args[i], "KEEPTTL")) keep = true;
                if (word_is(args[i], "PXAT") || word_is(args[i], "PX") || word_is(args[i], "EX") ||
                    word_is(args[i], "EXAT")) {
                    command.gives_ttl = true;
                }
            }
            command.role = keep ? StreamRole::op : StreamRole::reset;
            return;
        }
        case Kind::reset:
            add_range(command, spec);
            command.role = StreamRole::reset;
            return;
        case Kind::restore:
            add_key(command, command.db, 1, 0);
            command.role = StreamRole::reset;
            return;
        case Kind::copy: {
            int to = command.db;
            for (std::size_t i = 3; i + 1 < args.size(); ++i) {
                if (word_is(args[i], "DB"))
                    to = static_cast<int>(to_number(args[i + 1]).value_or(to));
            }
            add_key(command, command.db, 1, 0);
            add_key(command, to, 2, 2);
            break;
        }
        case Kind::move:
            add_key(command, command.db, 1, 0);
            if (args.size() > 2) {
                const int to = static_cast<int>(to_number(args[2]).value_or(command.db));
                command.keys.push_back({to, args[1], key_hash(to, args[1]), true});
            }
            break;
        case Kind::sort:  // BY and GET patterns read keys that the command does not name
            add_key(command, command.db, 1, 0);
            add_behind(command, "STORE");
            command.by_state = true;
            break;
        case Kind::georadius:
            add_key(command, command.db, 1, 0);
            add_behind(command, "STORE");
            add_behind(command, "STOREDIST");
            break;
    }
    command.role = StreamRole::op;
}

Result<std::size_t> split_command(std::string_view bytes, std::vector<std::string_view>& args) {
    args.clear();
    std::size_t at = 0;
    // Reads "<mark><number>\r\n"; 0 bytes used means not complete.
    const auto number = [&](char mark, int64_t limit, int64_t& value) -> Result<bool> {
        if (at >= bytes.size()) return false;
        if (bytes[at] != mark)
            return fail(ErrorCode::protocol,
                        "replication stream is not a RESP array of bulk strings");
        const auto* end =
            static_cast<const char*>(std::memchr(bytes.data() + at, '\r', bytes.size() - at));
        if (end == nullptr || end + 1 >= bytes.data() + bytes.size()) {
            if (bytes.size() - at > 32)
                return fail(ErrorCode::protocol, "replication stream: a length does not end");
            return false;
        }
        const auto parsed = to_number(
            {bytes.data() + at + 1, static_cast<std::size_t>(end - (bytes.data() + at + 1))});
        if (!parsed || *parsed < 0 || *parsed > limit) {
            return fail(ErrorCode::protocol, "replication stream: impossible length");
        }
        value = *parsed;
        at = static_cast<std::size_t>(end - bytes.data()) + 2;
        return true;
    };
    int64_t count = 0;
    if (auto got = number('*', INT32_MAX, count); !got || !*got) {
        if (!got) return tl::unexpected<Error>(std::move(got).error());
        return 0;
    }
    args.reserve(static_cast<std::size_t>(std::min<int64_t>(count, 1024)));
    for (int64_t i = 0; i < count; ++i) {
        int64_t length = 0;
        if (auto got = number('$', INT64_C(1) << 40, length); !got || !*got) {
            if (!got) return tl::unexpected<Error>(std::move(got).error());
            return 0;
        }
        const auto size = static_cast<std::size_t>(length);
        if (bytes.size() - at < size + 2) return 0;
        args.push_back(bytes.substr(at, size));
        at += size + 2;
    }
    return at;
}

}  // namespace exodus::redis
