// What a server has done, by its own counters (INFO commandstats and cpu): what analyze holds the
// traffic of the interlay against. Counters of another server run, or after CONFIG RESETSTAT, count
// from zero.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/finding.h"
#include "core/traffic_stats.h"
#include "families/redis/client.h"

namespace exodus::redis {

struct ServerLoad {
    struct Command {
        uint64_t calls = 0;  ///< executed, by whomever: those of scripts and transactions too
        uint64_t busy_us = 0;
    };
    std::map<std::string, Command, std::less<>> commands;  ///< by table_name()
    double cpu_s = 0;                                      ///< of all its threads
    int64_t at_us = 0;                                     ///< steady_us()
};

/// "CLIENT ID" → "client|id", as the server itself names commands.
std::string table_name(std::string_view command);

Result<ServerLoad> server_load(Client& client);

/// `end` minus `start`; at_us is the span.
ServerLoad load_between(const ServerLoad& start, const ServerLoad& end);

/// Commands of `writes` that the server ran more often than `stats` tells; empty when scripts ran,
/// whose own writes stand in the same counters. `during` lies within what `stats` was counted over.
std::vector<Finding> judge_beside(const ServerLoad& during, const std::set<std::string>& writes,
                                  const TrafficStats& stats);

}  // namespace exodus::redis
