#include "families/redis/seen_users.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "core/json_text.h"
#include "families/redis/journal_text.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

constexpr std::string_view kDirection = "sessions";
constexpr const char* kName = "users";

bool within_a_day(int64_t at_ms, int64_t now_ms) {
    return at_ms > 0 && now_ms - at_ms < limits::kRedisSeenUser_ms_max;
}

}  // namespace

void SeenUsers::User::merge(const User& from) {
    seen_ms = std::max(seen_ms, from.seen_ms);
    for (std::size_t i = 0; i < tried_ms.size(); ++i) {
        if (std::abs(from.tried_ms[i]) > std::abs(tried_ms[i])) tried_ms[i] = from.tried_ms[i];
    }
}

SeenUsers::~SeenUsers() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    thread_.join();
    if (dirty_) {
        if (auto saved = save(); !saved)
            spdlog::warn("users that were seen could not be kept: {}", saved.error().message);
    }
}

void SeenUsers::keep_in(Journal& journal, const std::array<std::string, 2>& addresses) {
    {
        const std::lock_guard lock(mutex_);
        if (journal_ != nullptr) return;
        journal_ = &journal;
        addresses_ = addresses;
    }
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void SeenUsers::run(const std::stop_token& stop) {
    bool failing = false;  // told once until it works again
    while (!stop.stop_requested()) {
        {
            std::unique_lock lock(mutex_);
            if (!changed_.wait(lock, stop, [this] { return dirty_; })) return;
        }
        const Status saved = save();
        if (!saved && !failing)
            spdlog::warn("users that were seen could not be kept: {}", saved.error().message);
        failing = !saved;
        wait_unless_stopped(stop, milliseconds(limits::kRedisSeenUsersSave_ms));
    }
}

SeenUsers::User& SeenUsers::user(std::string_view name) {
    name = name.substr(0, limits::kRedisUserName_bytes_max);
    const auto found = users_.find(name);
    if (found != users_.end()) return found->second;
    if (users_.size() >= limits::kRedisSeenUsers_max) {
        users_.erase(std::min_element(
            users_.begin(), users_.end(),
            [](const auto& a, const auto& b) { return a.second.seen_ms < b.second.seen_ms; }));
    }
    return users_[std::string(name)];
}

void SeenUsers::saw(std::string_view name, int64_t now_ms) {
    const std::lock_guard lock(mutex_);
    User& entry = user(name);
    if (now_ms - entry.seen_ms < limits::kRedisSeenUserAgain_ms) return;
    entry.seen_ms = now_ms;
    dirty_ = true;
    changed_.notify_all();
}

void SeenUsers::tried(std::string_view name, Side side, bool let_in, int64_t now_ms) {
    const std::lock_guard lock(mutex_);
    int64_t& at_ms = user(name).tried_ms[static_cast<std::size_t>(side)];
    if (let_in && at_ms > 0 && now_ms - at_ms < limits::kRedisSeenUserAgain_ms) return;
    at_ms = let_in ? now_ms : -now_ms;
    dirty_ = true;
    changed_.notify_all();
}

Result<std::vector<std::string>> SeenUsers::lately(int64_t now_ms) {
    EXODUS_TRY(load());
    const std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [name, entry] : users_) {
        if (within_a_day(entry.seen_ms, now_ms)) out.push_back(name);
    }
    return out;
}

bool SeenUsers::enters(std::string_view name, Side side, int64_t now_ms) const {
    const std::lock_guard lock(mutex_);
    const auto found = users_.find(name.substr(0, limits::kRedisUserName_bytes_max));
    return found != users_.end() &&
           within_a_day(found->second.tried_ms[static_cast<std::size_t>(side)], now_ms);
}

Result<SeenUsers::Users> SeenUsers::kept() {
    Users out;
    auto text = load_text(*journal_, kDirection, kName);
    if (!text) return tl::unexpected<Error>(std::move(text).error());
    if (!*text) return out;
    try {
        const json data = json::parse(**text);
        for (const auto& [name, times] : data.at("users").items()) {
            User entry;
            entry.seen_ms = times.at(0).get<int64_t>();
            for (std::size_t i = 0; i < addresses_.size(); ++i) {
                if (data.at("addresses").at(i).get<std::string>() == addresses_[i])
                    entry.tried_ms[i] = times.at(i + 1).get<int64_t>();
            }
            out[from_hex(name)] = entry;
        }
    } catch (const json::exception& error) {
        return fail(ErrorCode::data, std::string("the users that were seen: ") + error.what());
    }
    return out;
}

Status SeenUsers::load() {
    {
        const std::lock_guard lock(mutex_);
        if (journal_ == nullptr || loaded_) return {};
    }
    auto before = kept();
    if (!before) return tl::unexpected<Error>(std::move(before).error());
    const std::lock_guard lock(mutex_);
    for (const auto& [name, entry] : *before) user(name).merge(entry);
    loaded_ = true;
    return {};
}

Status SeenUsers::save() {
    // A process that takes over, or is taken over from, keeps its own beside ours.
    {
        const std::lock_guard lock(mutex_);
        loaded_ = false;
    }
    EXODUS_TRY(load());
    json users = json::object();
    {
        const std::lock_guard lock(mutex_);
        int64_t newest_ms = 0;
        for (const auto& [name, entry] : users_) newest_ms = std::max(newest_ms, entry.seen_ms);
        std::erase_if(users_, [newest_ms](const auto& entry) {
            return !within_a_day(entry.second.seen_ms, newest_ms);
        });
        for (const auto& [name, entry] : users_)
            users[to_hex(name)] = {entry.seen_ms, entry.tried_ms[0], entry.tried_ms[1]};
        dirty_ = false;
    }
    auto saved = save_text(*journal_, kDirection, kName,
                           json_text({{"addresses", addresses_}, {"users", users}}));
    if (!saved) {
        const std::lock_guard lock(mutex_);
        dirty_ = true;
    }
    return saved;
}

}  // namespace exodus::redis
