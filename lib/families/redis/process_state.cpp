#include "families/redis/process_state.h"

#include <algorithm>

#include "base/digest.h"
#include "families/redis/canary_limits.h"

namespace exodus::redis {

namespace {

std::string option(const Settings& settings, const std::string& name, const char* fallback) {
    const auto found = settings.family_options.find(name);
    return found == settings.family_options.end() ? fallback : found->second;
}

bool has_password(const ClientUser& user, std::string_view password) {
    // Compared in constant time, hashes as well.
    if (!user.password_sha256.empty())
        return Secret(sha256_hex(password)) == Secret(user.password_sha256);
    return !user.password.empty() && Secret(std::string(password)) == user.password;
}

}  // namespace

ProcessState::ProcessState(const Settings& settings_in)
    : settings(settings_in),
      sharing(option(settings_in, "interlay.sharing", "on") != "off"),
      maps(option(settings_in, "target.auth", "same") == "map"),
      target_service(option(settings_in, "target.auth", "same") == "service"),
      canary_lag_us(1000 * std::max(settings_in.cutover.max_lag_ms, limits::kCanaryLag_ms_min)) {}

std::optional<IdentityId> ProcessState::judge(std::string_view user, std::string_view password) {
    const std::string_view name = user.empty() ? "default" : user;
    for (const ClientUser& known : settings.interlay.users) {
        if (known.name == name && has_password(known, password))
            return identities.intern(known.name, {});
    }
    return std::nullopt;
}

std::optional<IdentityId> ProcessState::judge_certificate(std::string_view subject) {
    for (const ClientUser& known : settings.interlay.users) {
        if (!subject.empty() && known.certificate == subject)
            return identities.intern(known.name, {});
    }
    return std::nullopt;
}

std::optional<ClientLogin> ProcessState::login_for(Side side, IdentityId identity) const {
    if (identity == kAnonymous) return ClientLogin{};
    if (identity == kService) {
        const Endpoint& endpoint = settings.endpoint(side);
        return ClientLogin{endpoint.user, endpoint.password};
    }
    if (side == Side::target && target_service) return configured_login(side, {});
    Identity known = identities.get(identity);
    if (known.id != identity) return std::nullopt;
    if (!maps) return ClientLogin{known.user, std::move(known.password)};
    return configured_login(side, known.user);
}

std::optional<ClientLogin> ProcessState::configured_login(Side side, std::string_view user) const {
    // Never our own user: a fence could not stop it without stopping us.
    const bool everybody = side == Side::target && target_service;
    if (!everybody && !maps) return std::nullopt;
    for (const ClientUser& known : settings.interlay.users) {
        if (everybody || known.name == user)
            return side == Side::source ? known.source : known.target;
    }
    return std::nullopt;
}

void ProcessState::saw_use(IdentityId identity, Side side, int64_t now_ms) {
    identities.saw_use(identity);
    const std::string name = identities.name_of(identity);
    seen.saw(name, now_ms);
    if (identity != kAnonymous) seen.tried(name, side, true, now_ms);
}

}  // namespace exodus::redis
