// What the Redis traffic workers of one process share: who clients are, scripts, ids, cursors, and
// the options that were read from the settings once. Every member is thread-safe or constant.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/family.h"
#include "families/redis/cursor_book.h"
#include "families/redis/identity.h"
#include "families/redis/script_cache.h"
#include "families/redis/virtual_id.h"

namespace exodus::redis {

struct ProcessState {
    explicit ProcessState(const Settings& settings_in);

    const Settings& settings;
    bool sharing = true;          ///< interlay.sharing
    bool target_service = false;  ///< target.auth = service: one user for everybody there
    int64_t canary_max_lag_us = 200'000;
    /// CLIENT PAUSE by a client: until then a write on a shared connection would hold up what
    /// others ask behind it, the CLIENT UNPAUSE included. 0: not paused.
    std::atomic<int64_t> writes_paused_until_us{0};
    Identities identities;
    /// As of the newest route that a worker adopted.
    std::atomic<Side> authority{Side::source};
    ScriptCache scripts;
    VirtualIds ids;
    CursorBook cursors;
};

}  // namespace exodus::redis
