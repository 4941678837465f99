// What the Redis traffic workers of one process share: who clients are, scripts, ids, cursors, and
// the options that were read from the settings once. Every member is thread-safe or constant.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "core/family.h"
#include "families/redis/command_catalog.h"
#include "families/redis/cursor_book.h"
#include "families/redis/freshness.h"
#include "families/redis/identity.h"
#include "families/redis/request_capture.h"
#include "families/redis/script_cache.h"
#include "families/redis/seen_users.h"
#include "families/redis/virtual_id.h"

namespace exodus::redis {

struct ProcessState {
    explicit ProcessState(const Settings& settings_in);

    /// Who these credentials are, where the interlay checks clients itself; nullopt: nobody.
    std::optional<IdentityId> judge(std::string_view user, std::string_view password);
    /// The same for the subject of a verified client certificate.
    std::optional<IdentityId> judge_certificate(std::string_view subject);
    /// With what a connection to a side is logged in for an identity: nothing for one that is not
    /// logged in; nullopt when the identity is not valid any more.
    [[nodiscard]] std::optional<ClientLogin> login_for(Side side, IdentityId identity) const;
    /// The same for a user of the configuration, or whom the target knows as everybody; nullopt:
    /// only the client itself has the password.
    [[nodiscard]] std::optional<ClientLogin> configured_login(Side side,
                                                              std::string_view user) const;
    /// A client sends its first request as this identity, on a connection that `side` let in.
    void saw_use(IdentityId identity, Side side, int64_t now_ms);

    const Settings& settings;
    bool sharing = true;          ///< interlay.sharing
    bool maps = false;            ///< target.auth = map: clients are checked here
    bool target_service = false;  ///< target.auth = service: one user for everybody there
    /// CLIENT PAUSE by a client: until then a write on a shared connection would hold up what
    /// others ask behind it, the CLIENT UNPAUSE included. 0: not paused.
    std::atomic<int64_t> writes_paused_until_us{0};
    Identities identities;
    SeenUsers seen;
    /// Told by the forward movement; one that nobody tells anything is never current.
    std::shared_ptr<const Freshness> fresh = std::make_shared<Freshness>();
    const int64_t canary_lag_us;  ///< cutover.max_lag, as far as reads can be judged by it
    /// As of the newest route that a worker adopted.
    std::atomic<Side> authority{Side::source};
    ScriptCache scripts;
    VirtualIds ids;
    CursorBook cursors;
    CommandCatalog commands;
    /// Whether a server refuses clients that have not logged in, as its last answer to one said.
    std::array<std::atomic<bool>, 2> login_required{};
    RequestCapture capture;
};

}  // namespace exodus::redis
