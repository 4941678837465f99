// Which users came through the interlay, and where their logins were seen to work, for the gate
// that wants every one of the last day proven on the side that gains (redis.md 3.2). Kept in the
// journal, because a process that starts again has no passwords and can prove nothing: it must
// neither forget who has to be proven nor what was. Names and times only, never a password.
// Thread-safe.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "core/endpoint.h"
#include "core/journal.h"

namespace exodus::redis {

class SeenUsers {
  public:
    SeenUsers() = default;
    /// Saves what is new.
    ~SeenUsers();
    SeenUsers(const SeenUsers&) = delete;
    SeenUsers& operator=(const SeenUsers&) = delete;

    /// From now on what is new is in the journal, which must outlive this, within a second.
    /// `addresses` of source and target: what was proven of another server counts for nothing.
    /// Without this call everything stays in memory.
    void keep_in(Journal& journal, const std::array<std::string, 2>& addresses);

    /// Empty: who has not logged in. Both never wait for the disk. Times are wall clock.
    void saw(std::string_view user, int64_t now_ms);
    /// A login of `user` to `side` was let in, or refused.
    void tried(std::string_view user, Side side, bool let_in, int64_t now_ms);

    /// Who was seen within the last day, by this process or an earlier one. Errors: the journal's.
    [[nodiscard]] Result<std::vector<std::string>> lately(int64_t now_ms);
    /// Was let in there within the last day, and not refused since.
    [[nodiscard]] bool enters(std::string_view user, Side side, int64_t now_ms) const;

  private:
    struct User {
        int64_t seen_ms = 0;
        /// When the newest login was tried: let in above zero, refused below.
        std::array<int64_t, 2> tried_ms{};
        void merge(const User& from);
    };
    using Users = std::map<std::string, User, std::less<>>;

    void run(const std::stop_token& stop);
    /// Adds what another process has kept, and keeps all.
    Status save();
    Status load();
    [[nodiscard]] Result<Users> kept();
    User& user(std::string_view name);

    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    Users users_;
    bool dirty_ = false;
    bool loaded_ = false;
    Journal* journal_ = nullptr;
    std::array<std::string, 2> addresses_;
    std::jthread thread_;
};

}  // namespace exodus::redis
