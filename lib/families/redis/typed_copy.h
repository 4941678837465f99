// Level 2 of the version ladder (redis.md 4.9): a value rewritten by commands, from replies that
// were read in one transaction. Pure: replies in, RESP out.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "families/redis/client.h"
#include "families/redis/payload.h"

namespace exodus::redis {

/// The command that reads a whole value of this kind.
std::vector<std::string> typed_read(ValueKind kind, std::string_view name);

/// RESP commands one behind the other.
struct RespWriter {
    std::string bytes;
    int commands = 0;
    void add(const std::vector<std::string_view>& args);
};

/// Adds the elements of a list, set, zset or hash to the key `name`; `reply` as typed_read, HSCAN,
/// SSCAN, ZSCAN and LRANGE answer.
void write_elements(RespWriter& writer, ValueKind kind, std::string_view name, ReplyView reply);

/// Makes the new sorted set `name` a skip list that holds the first of `pairs` (member, score): as
/// a small one it would keep whole scores as integers, and -0 as 0 (t_zset.c, zzlInsertAt).
void begin_skip_list(RespWriter& writer, std::string_view name, ReplyView pairs);

/// (milliseconds, sequence) of a stream's entry.
using StreamId = std::pair<uint64_t, uint64_t>;
/// Of "<milliseconds>-<sequence>", as servers answer it; anything else is error `protocol`.
Result<StreamId> stream_id(std::string_view text);

/// Entries of a stream in the order of their ids, with empty ones in the places of messages that
/// are gone but pending: XCLAIM drops a pending entry without a message (redis 7.0 t_stream.c,
/// xclaimCommand). Those phantoms are deleted behind the groups.
using StreamIds = std::map<StreamId, std::string>;
void write_entries(RespWriter& writer, std::string_view name,
                   const std::map<StreamId, ReplyView>& messages, const StreamIds& phantoms);

/// One group as XINFO STREAM FULL or XINFO GROUPS, XINFO CONSUMERS and XPENDING tell it.
struct StreamGroup {
    ReplyView fields;
    ReplyView consumers;
    ReplyView pending;    ///< id, consumer, time of delivery or time since, delivery count
    int64_t now_ms = -1;  ///< with times since: the server's time
};
void write_group(RespWriter& writer, std::string_view name, const StreamGroup& group);
/// XSETID from XINFO STREAM.
void write_stream_end(RespWriter& writer, std::string_view name, ReplyView info);

struct TypedValue {
    std::string bytes;  ///< RESP: DEL, then the commands that build the value and its expiry
    int commands = 0;
    bool absent = false;
};

/// `reply` answers typed_read; `expiry_ms` is PEXPIRETIME's answer. Error data when the value is of
/// another kind by now.
Result<TypedValue> typed_write(ValueKind kind, std::string_view name, ReplyView reply,
                               int64_t expiry_ms);

}  // namespace exodus::redis
