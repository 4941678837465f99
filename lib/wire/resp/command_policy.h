// What exodus does with commands, where the servers' flags do not decide it: connection class,
// compare rule, stream role (redis.md 2.3, 4.5, 7). Included by command_table.cpp only.
#pragma once

#include <algorithm>
#include <string_view>

#include "wire/resp/command_table.h"

namespace exodus::resp::policy {

template <std::size_t N>
constexpr bool in(std::string_view name, const std::string_view (&list)[N]) {
    return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

/// Handled by the session, or bound to the connection on which they arrive (redis.md 3.3). CLIENT
/// subcommands too.
inline constexpr std::string_view kSession[] = {"AUTH", "HELLO", "SELECT",   "RESET",     "QUIT",
                                                "PING", "ECHO",  "READONLY", "READWRITE", "ASKING"};
/// May change data or be replicated; COMMAND does not print the servers' own flag for it
/// (CMD_MAY_REPLICATE).
inline constexpr std::string_view kMayWrite[] = {"EVAL",    "EVALSHA", "FCALL",
                                                 "PFCOUNT", "PUBLISH", "SPUBLISH"};
/// State that ends with EXEC, DISCARD, UNWATCH.
inline constexpr std::string_view kTransaction[] = {"WATCH", "MULTI", "EXEC", "DISCARD", "UNWATCH"};
inline constexpr std::string_view kSubscription[] = {"SUBSCRIBE",   "PSUBSCRIBE",   "SSUBSCRIBE",
                                                     "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE",
                                                     "MONITOR"};
inline constexpr std::string_view kReplicaLink[] = {"SYNC", "PSYNC", "REPLCONF"};
/// Flagged admin (or not flagged at all) by the servers, but they only look.
inline constexpr std::string_view kLook[] = {"ACL CAT",
                                             "ACL DRYRUN",
                                             "ACL GENPASS",
                                             "ACL GETUSER",
                                             "ACL HELP",
                                             "ACL LIST",
                                             "ACL USERS",
                                             "ACL WHOAMI",
                                             "CLUSTER COUNT-FAILURE-REPORTS",
                                             "CLUSTER COUNTKEYSINSLOT",
                                             "CLUSTER GETKEYSINSLOT",
                                             "CLUSTER HELP",
                                             "CLUSTER INFO",
                                             "CLUSTER KEYSLOT",
                                             "CLUSTER LINKS",
                                             "CLUSTER MYID",
                                             "CLUSTER MYSHARDID",
                                             "CLUSTER NODES",
                                             "CLUSTER REPLICAS",
                                             "CLUSTER SHARDS",
                                             "CLUSTER SLAVES",
                                             "CLUSTER SLOT-STATS",
                                             "CLUSTER SLOTS",
                                             "COMMAND",
                                             "COMMAND COUNT",
                                             "COMMAND DOCS",
                                             "COMMAND GETKEYS",
                                             "COMMAND GETKEYSANDFLAGS",
                                             "COMMAND HELP",
                                             "COMMAND INFO",
                                             "COMMAND LIST",
                                             "CONFIG GET",
                                             "CONFIG HELP",
                                             "FUNCTION DUMP",
                                             "FUNCTION HELP",
                                             "FUNCTION LIST",
                                             "FUNCTION STATS",
                                             "INFO",
                                             "LASTSAVE",
                                             "LATENCY DOCTOR",
                                             "LATENCY GRAPH",
                                             "LATENCY HELP",
                                             "LATENCY HISTOGRAM",
                                             "LATENCY HISTORY",
                                             "LATENCY LATEST",
                                             "LOLWUT",
                                             "MEMORY DOCTOR",
                                             "MEMORY HELP",
                                             "MEMORY MALLOC-STATS",
                                             "MEMORY STATS",
                                             "MEMORY USAGE",
                                             "MODULE HELP",
                                             "MODULE LIST",
                                             "OBJECT HELP",
                                             "PUBSUB CHANNELS",
                                             "PUBSUB HELP",
                                             "PUBSUB NUMPAT",
                                             "PUBSUB NUMSUB",
                                             "PUBSUB SHARDCHANNELS",
                                             "PUBSUB SHARDNUMSUB",
                                             "ROLE",
                                             "SCRIPT EXISTS",
                                             "SCRIPT HELP",
                                             "SCRIPT LOAD",
                                             "SCRIPT SHOW",
                                             "SLOWLOG GET",
                                             "SLOWLOG HELP",
                                             "SLOWLOG LEN",
                                             "TIME",
                                             "XGROUP HELP",
                                             "XINFO HELP"};
/// Flagged otherwise, but they operate the server. CLIENT and DEBUG aside, everything with the flag
/// admin joins them.
inline constexpr std::string_view kAdmin[] = {
    "MIGRATE",      "DEBUG",         "FUNCTION KILL", "SCRIPT FLUSH", "SCRIPT KILL", "SCRIPT DEBUG",
    "MEMORY PURGE", "LATENCY RESET", "SLOWLOG RESET", "PFDEBUG",      "PFSELFTEST",  "ACL LOG"};
/// From `migrate` on these would break the migration (redis.md 2.3); admin subcommands of CLUSTER
/// join them.
inline constexpr std::string_view kRefused[] = {"SHUTDOWN",      "REPLICAOF",   "SLAVEOF",
                                                "FAILOVER",      "MODULE LOAD", "MODULE LOADEX",
                                                "MODULE UNLOAD", "SYNC",        "PSYNC"};
/// Block whatever their arguments are.
inline constexpr std::string_view kAlwaysBlocks[] = {"BLPOP",  "BRPOP",    "BRPOPLPUSH", "BLMOVE",
                                                     "BLMPOP", "BZPOPMIN", "BZPOPMAX",   "BZMPOP",
                                                     "WAIT",   "WAITAOF"};

/// Run for as long as they like while the server answers everybody else with BUSY: on a shared
/// connection others would wait behind them unanswered.
inline constexpr std::string_view kScripts[] = {"EVAL",       "EVAL_RO", "EVALSHA",
                                                "EVALSHA_RO", "FCALL",   "FCALL_RO"};
/// Answered while a script runs, when a connection to another database could not be made.
inline constexpr std::string_view kInterrupts[] = {"FUNCTION KILL", "SCRIPT KILL"};

/// Reads of server facts, cursors and positions: two servers never agree.
inline constexpr std::string_view kNeverCompared[] = {"DBSIZE",
                                                      "SCAN",
                                                      "SSCAN",
                                                      "HSCAN",
                                                      "ZSCAN",
                                                      "OBJECT ENCODING",
                                                      "OBJECT FREQ",
                                                      "OBJECT IDLETIME",
                                                      "OBJECT REFCOUNT",
                                                      "MEMORY USAGE",
                                                      "DUMP",
                                                      "TOUCH",
                                                      "XINFO CONSUMERS",
                                                      "XINFO GROUPS",
                                                      "XINFO STREAM",
                                                      "XPENDING",
                                                      "CLUSTER COUNTKEYSINSLOT",
                                                      "CLUSTER GETKEYSINSLOT"};
inline constexpr std::string_view kMultiset[] = {"SMEMBERS", "SINTER", "SUNION", "SDIFF",
                                                 "HKEYS",    "HVALS",  "KEYS"};
inline constexpr std::string_view kPairs[] = {"HGETALL"};
inline constexpr std::string_view kTtl[] = {"TTL", "PTTL"};
inline constexpr std::string_view kExpireTime[] = {"EXPIRETIME", "PEXPIRETIME"};
inline constexpr std::string_view kRandom[] = {"RANDOMKEY", "SRANDMEMBER", "HRANDFIELD",
                                               "ZRANDMEMBER"};
inline constexpr std::string_view kScore[] = {"ZSCORE",
                                              "ZMSCORE",
                                              "ZRANGE",
                                              "ZRANGEBYSCORE",
                                              "ZRANGEBYLEX",
                                              "ZREVRANGE",
                                              "ZREVRANGEBYSCORE",
                                              "ZREVRANGEBYLEX",
                                              "ZRANK",
                                              "ZREVRANK",
                                              "ZUNION",
                                              "ZINTER",
                                              "ZDIFF",
                                              "GEODIST",
                                              "GEOPOS",
                                              "GEOSEARCH",
                                              "GEORADIUS_RO",
                                              "GEORADIUSBYMEMBER_RO"};

/// The result does not depend on what was there before.
inline constexpr std::string_view kReset[] = {"SET",     "SETEX",         "PSETEX", "GETSET",
                                              "DEL",     "UNLINK",        "GETDEL", "MSET",
                                              "RESTORE", "RESTORE-ASKING"};
inline constexpr std::string_view kGlobal[] = {"FLUSHALL", "FLUSHDB", "SWAPDB",
                                               "EVAL",     "EVALSHA", "FCALL"};
inline constexpr std::string_view kControl[] = {"SELECT", "MULTI", "EXEC", "DISCARD"};

constexpr Effect effect(const CommandRow& row) {
    const std::string_view name = row.name;
    if (in(name, kMayWrite)) return Effect::may_write;
    if (in(name, kSession) || in(name, kTransaction) || name.starts_with("CLIENT"))
        return Effect::connection;
    if (in(name, kSubscription)) return Effect::pubsub;
    if (in(name, kLook)) return Effect::read;
    if (in(name, kAdmin)) return Effect::admin;
    if (row.has(flag::kWrite)) return Effect::write;
    if (row.has(flag::kAdmin)) return Effect::admin;
    if (row.has(flag::kReadonly)) return Effect::read;
    if (name == "WAIT" || name == "WAITAOF") return Effect::read;
    // Containers without a subcommand are refused by the server; what is left only operates it.
    return row.container ? Effect::read : Effect::admin;
}

constexpr ConnectionClass connection(const CommandRow& row) {
    if (in(row.name, kSession) || row.name.starts_with("CLIENT")) return ConnectionClass::session;
    if (in(row.name, kSubscription) || in(row.name, kReplicaLink)) return ConnectionClass::pinned;
    if (in(row.name, kTransaction) || in(row.name, kAlwaysBlocks) || in(row.name, kScripts))
        return ConnectionClass::leased_until_done;
    if (in(row.name, kInterrupts)) return ConnectionClass::shared;
    return row.effect == Effect::admin ? ConnectionClass::leased_until_done
                                       : ConnectionClass::shared;
}

constexpr CompareRule compare(const CommandRow& row) {
    if (row.effect != Effect::read || !row.has(flag::kReadonly) || in(row.name, kNeverCompared))
        return CompareRule::never;
    if (in(row.name, kLook)) return CompareRule::never;
    if (in(row.name, kMultiset)) return CompareRule::multiset;
    if (in(row.name, kPairs)) return CompareRule::pairs;
    if (in(row.name, kTtl)) return CompareRule::ttl;
    if (in(row.name, kExpireTime)) return CompareRule::expiretime;
    if (in(row.name, kRandom)) return CompareRule::random;
    if (in(row.name, kScore)) return CompareRule::score;
    return CompareRule::exact;
}

constexpr StreamRole stream(const CommandRow& row) {
    if (in(row.name, kControl)) return StreamRole::control;
    if (in(row.name, kReset)) return StreamRole::reset;
    if (in(row.name, kGlobal) || row.name.starts_with("FUNCTION "))
        return row.writes() ? StreamRole::global : StreamRole::ignored;
    if (row.name == "PUBLISH" || row.name == "SPUBLISH") return StreamRole::ignored;
    return row.writes() ? StreamRole::op : StreamRole::ignored;
}

}  // namespace exodus::resp::policy
