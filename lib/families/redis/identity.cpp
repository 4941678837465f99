#include "families/redis/identity.h"

#include "base/digest.h"
#include "base/limits.h"

namespace exodus::redis {

std::string name_of(const Identity& identity) {
    return identity.id != kAnonymous && identity.user.empty() ? "default" : identity.user;
}

Identities::Identities() : hmac_key_(random_bytes(32)) { rows_[kAnonymous] = Identity{}; }

/// The table is keyed by a keyed hash, so that no map node holds a password as plain text.
std::string Identities::hash_of(std::string_view user, std::string_view password) const {
    std::string text(user);
    text.push_back('\0');
    text.append(password);
    std::string hash = hmac_sha256_hex(hmac_key_, text);
    text.assign(text.size(), '\0');
    return hash;
}

std::optional<IdentityId> Identities::find(std::string_view user, std::string_view password) const {
    const std::string hash = hash_of(user, password);
    const std::lock_guard lock(mutex_);
    const auto found = by_hash_.find(hash);
    return found == by_hash_.end() ? std::nullopt : std::optional(found->second);
}

bool Identities::overflowed() const {
    const std::lock_guard lock(mutex_);
    return overflowed_;
}

std::optional<IdentityId> Identities::intern(std::string_view user, std::string_view password) {
    const std::string hash = hash_of(user, password);
    const std::lock_guard lock(mutex_);
    if (const auto found = by_hash_.find(hash); found != by_hash_.end()) return found->second;
    if (rows_.size() >= limits::kRedisIdentities_max) {
        overflowed_ = true;
        return std::nullopt;
    }
    const IdentityId id = next_++;
    by_hash_[hash] = id;
    rows_[id] = Identity{id, std::string(user), Secret(std::string(password)), {}, 0, false};
    return id;
}

Identity Identities::get(IdentityId id) const {
    const std::lock_guard lock(mutex_);
    const auto found = rows_.find(id);
    return found == rows_.end() ? Identity{} : found->second;
}

std::vector<Identity> Identities::all() const {
    const std::lock_guard lock(mutex_);
    std::vector<Identity> out;
    for (const auto& [id, row] : rows_) out.push_back(row);
    return out;
}

std::string Identities::name_of(IdentityId id) const {
    const std::lock_guard lock(mutex_);
    const auto found = rows_.find(id);
    return found == rows_.end() ? std::string() : redis::name_of(found->second);
}

bool Identities::saw_key(IdentityId id, std::string_view key, int database) {
    if (key.size() > limits::kRedisSampleKey_bytes_max) return false;
    const std::lock_guard lock(mutex_);
    const auto found = rows_.find(id);
    if (found == rows_.end()) return true;
    found->second.sample_key = key;
    found->second.sample_database = database;
    return true;
}

void Identities::saw_use(IdentityId id) {
    const std::lock_guard lock(mutex_);
    if (const auto found = rows_.find(id); found != rows_.end()) found->second.used = true;
}

void Identities::forget(IdentityId id) {
    if (id == kAnonymous) return;
    const std::lock_guard lock(mutex_);
    rows_.erase(id);
    std::erase_if(by_hash_, [id](const auto& entry) { return entry.second == id; });
}

}  // namespace exodus::redis
