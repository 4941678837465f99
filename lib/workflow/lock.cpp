#include "workflow/lock.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/limits.h"
#include "core/json_text.h"

namespace exodus {

using nlohmann::json;

namespace {

std::optional<LockHolder> read_holder(int fd) {
    std::string buffer(limits::kLockFile_bytes, '\0');  // a command line may be long
    const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return std::nullopt;
    const json in =
        json::parse(std::string_view(buffer.data(), static_cast<std::size_t>(got)), nullptr, false);
    if (!in.is_object()) return std::nullopt;
    LockHolder holder;
    try {
        holder.owner.pid = in.value("pid", int64_t{0});
        holder.owner.uid = in.value("uid", int64_t{0});
        holder.owner.user = in.value("user", "");
        holder.owner.host = in.value("host", "");
        holder.owner.channel = in.value("channel", "");
        holder.phase = in.value("phase", "");
        holder.command = in.value("command", "");
        holder.since_ms = in.value("since_ms", int64_t{0});
    } catch (const json::exception&) {
        return std::nullopt;
    }
    return holder;
}

/// Of a lock that is held. In the moment of its taking the file may not say by whom.
LockHolder holder_of(int fd) {
    if (auto told = read_holder(fd); told && !told->command.empty()) return *told;
    LockHolder unknown;
    unknown.command = "another command";
    unknown.since_ms = wall_ms();
    return unknown;
}

std::string describe(const LockHolder& holder) {
    if (holder.owner.pid == 0) return holder.command;
    return "'" + holder.command + "' of " + owner_name(holder.owner) + " (pid " +
           std::to_string(holder.owner.pid) + ", since " + iso8601(holder.since_ms) + ")";
}

}  // namespace

std::string lock_path(const std::string& state_path) { return state_path + ".lock"; }

Result<StateLock> StateLock::take(const std::string& state_path, const Owner& owner,
                                  const std::string& phase, const std::string& command,
                                  milliseconds timeout,
                                  const std::function<Status(const std::string&)>& waiting) {
    const std::string path = lock_path(state_path);
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return fail(ErrorCode::cannot_create,
                    "the lock file " + path + " cannot be opened: " + std::strerror(errno),
                    "the directory of the state file must be writable");
    }
    StateLock lock(fd);
    // Not less than two tries: lock_holder() has it for a moment, too.
    const Deadline deadline = Deadline::in(std::max(timeout, milliseconds(limits::kLockPoll_ms)));
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return fail_errno("locking " + path, errno);
        if (deadline.passed()) {
            return fail(ErrorCode::locked, "the migration is locked by " + describe(holder_of(fd)),
                        "wait for it, or use --lock-timeout");
        }
        if (waiting) EXODUS_TRY(waiting(describe(holder_of(fd))));
        std::this_thread::sleep_for(std::min(deadline.left(), milliseconds(limits::kLockPoll_ms)));
    }
    // The file stays when the lock goes: removing it would let two processes lock two files of one
    // name.
    const std::string text = json_text({{"pid", owner.pid},
                                        {"uid", owner.uid},
                                        {"user", owner.user},
                                        {"host", owner.host},
                                        {"channel", owner.channel},
                                        {"phase", phase},
                                        {"command", command},
                                        {"since_ms", wall_ms()}}) +
                             "\n";
    if (::ftruncate(fd, 0) != 0 ||
        ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
        return fail(ErrorCode::cannot_create,
                    "the lock file " + path + " cannot be written: " + std::strerror(errno));
    }
    return lock;
}

StateLock::StateLock(StateLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
StateLock& StateLock::operator=(StateLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}
StateLock::~StateLock() {
    if (fd_ >= 0) ::close(fd_);
}

Result<std::optional<LockHolder>> lock_holder(const std::string& state_path) {
    const std::string path = lock_path(state_path);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        if (errno == ENOENT) return std::optional<LockHolder>();
        return fail_errno(path, errno);
    }
    std::optional<LockHolder> holder;
    if (::flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        holder = holder_of(fd);
    }
    ::close(fd);
    return holder;
}

}  // namespace exodus
