// What the session itself has to do for a command beyond forwarding it: one byte per row of the
// command table, so that the hot path decides with one load.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "wire/resp/command_table.h"

namespace exodus::redis {

enum class Kind : uint8_t {
    plain,  ///< forward; the row's connection class says how
    auth,
    hello,
    select,
    reset,
    quit,
    multi,
    exec,
    discard,
    watch,
    unwatch,
    subscribe,  ///< SUBSCRIBE PSUBSCRIBE SSUBSCRIBE
    unsubscribe,
    monitor,
    sync,  ///< SYNC PSYNC: an opaque tunnel
    wait,
    wait_aof,
    blocking,  ///< may block: what may_block() says of the arguments
    eval,      ///< EVAL EVAL_RO
    evalsha,
    script_load,
    script_flush,
    scan,      ///< SCAN
    key_scan,  ///< HSCAN SSCAN ZSCAN: the cursor is the second argument
    client_id,
    client_name,  ///< SETNAME
    client_getname,
    client_list,   ///< LIST INFO
    client_pause,  ///< PAUSE UNPAUSE
    client_kill,
    client_unblock,
    client_reply,
    client_tracking,
    client_flag,      ///< NO-EVICT NO-TOUCH, READONLY READWRITE: kept with the session
    client_redirect,  ///< GETREDIR TRACKINGINFO
    client_harmless,  ///< SETINFO, CLIENT CACHING …: on the session's own connection
};

Kind kind_of(const resp::CommandRow& row);

/// Which of the three sets of a session a (un)subscribe is about: 0 channels, 1 patterns, 2 shard
/// channels.
int channel_kind(std::string_view name);

/// A blocking request's timeout: where it is and what it says.
struct BlockingTimeout {
    std::size_t argument = 0;  ///< 0: none
    bool milliseconds = false;
    double value_s = 0;  ///< 0: for ever
};
BlockingTimeout blocking_timeout(const resp::CommandRow& row,
                                 std::span<const std::string_view> arguments);

}  // namespace exodus::redis
