#include "families/redis/script_cache.h"

#include <algorithm>
#include <cctype>

#include "base/digest.h"
#include "base/limits.h"

namespace exodus::redis {

void ScriptCache::remember(std::string_view body) {
    if (body.size() > limits::kRedisScripts_bytes / 64) return;
    std::string sha1 = sha1_hex(body);
    const std::lock_guard lock(mutex_);
    if (const auto found = by_sha1_.find(sha1); found != by_sha1_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return;
    }
    entries_.push_front({sha1, std::string(body)});
    by_sha1_[std::move(sha1)] = entries_.begin();
    bytes_ += body.size();
    while (entries_.size() > limits::kRedisScripts_max || bytes_ > limits::kRedisScripts_bytes) {
        bytes_ -= entries_.back().body.size();
        by_sha1_.erase(entries_.back().sha1);
        entries_.pop_back();
    }
}

std::optional<std::string> ScriptCache::body(std::string_view sha1) {
    std::string lower(sha1);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const std::lock_guard lock(mutex_);
    const auto found = by_sha1_.find(lower);
    if (found == by_sha1_.end()) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->body;
}

std::vector<std::string> ScriptCache::bodies() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    out.reserve(entries_.size());
    for (const Entry& entry : entries_) out.push_back(entry.body);
    return out;
}

void ScriptCache::clear() {
    const std::lock_guard lock(mutex_);
    entries_.clear();
    by_sha1_.clear();
    bytes_ = 0;
}

}  // namespace exodus::redis
