// Level 2 of the version ladder (redis.md 4.9): a value rewritten by commands, from replies that
// were read in one transaction. Pure: replies in, RESP out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "families/redis/client.h"
#include "families/redis/payload.h"

namespace exodus::redis {

/// The command that reads a whole value of this kind.
std::vector<std::string> typed_read(ValueKind kind, std::string_view name);

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
