// Who clients are: user and password as they logged in with, known to all workers of the process by
// a small number, so that further connections can be opened for them and the fence be proven as
// them (redis.md 3.2). Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret.h"

namespace exodus::redis {

/// 0: not logged in (the server's default user, if that needs no password).
using IdentityId = uint32_t;
inline constexpr IdentityId kAnonymous = 0;
/// Our own connections: the endpoint's credentials of the settings.
inline constexpr IdentityId kService = 1;

struct Identity {
    IdentityId id = kAnonymous;
    std::string user;  ///< empty: AUTH with a password only
    Secret password;
    std::string sample_key;  ///< a key that it really used; empty until one was seen
    int sample_database = 0;
    bool used = false;  ///< a client sent requests as this identity, besides AUTH and the like
};

/// The user as a server knows it; empty: who has not logged in.
std::string name_of(const Identity& identity);

class Identities {
  public:
    Identities();
    /// The identity of these credentials, new or known; nullopt when the table is full (then
    /// nothing is shared for it).
    std::optional<IdentityId> intern(std::string_view user, std::string_view password);
    /// A copy; the anonymous one for an unknown id.
    [[nodiscard]] Identity get(IdentityId id) const;
    [[nodiscard]] std::vector<Identity> all() const;
    [[nodiscard]] std::string name_of(IdentityId id) const;
    /// Who has logged in with exactly these before; nullopt: nobody.
    [[nodiscard]] std::optional<IdentityId> find(std::string_view user,
                                                 std::string_view password) const;
    /// False when the key is too long to be kept: a later one is wanted.
    bool saw_key(IdentityId id, std::string_view key, int database);
    void saw_use(IdentityId id);
    /// Its login was refused: forgotten unless it logs in again.
    void forget(IdentityId id);
    /// Somebody logged in who could not be remembered: not every identity can be proven any more.
    [[nodiscard]] bool overflowed() const;

  private:
    [[nodiscard]] std::string hash_of(std::string_view user, std::string_view password) const;

    mutable std::mutex mutex_;
    std::string hmac_key_;
    std::map<std::string, IdentityId> by_hash_;
    std::map<IdentityId, Identity> rows_;
    IdentityId next_ = 2;
    bool overflowed_ = false;
};

}  // namespace exodus::redis
