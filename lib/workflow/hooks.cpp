#include "workflow/hooks.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/limits.h"

namespace exodus {

namespace {

constexpr int kTookTooLong = 124;  // as timeout(1)
constexpr milliseconds kPoll{20};

/// Only who runs exodus, or root, decides what it runs.
Status check_owner(const std::string& path, const struct stat& info) {
    if (info.st_uid != ::geteuid() && info.st_uid != 0)
        return fail(ErrorCode::permission, "hook " + path + " belongs to somebody else",
                    "chown it, or remove it");
    if ((info.st_mode & (S_IWOTH | S_IWGRP)) != 0)
        return fail(ErrorCode::permission, "hook " + path + " may be written by others",
                    "chmod go-w " + path);
    return {};
}

Result<std::vector<std::string>> scripts_in(const std::string& directory) {
    std::vector<std::string> scripts;
    std::error_code code;
    struct stat here {};
    if (::stat(directory.c_str(), &here) != 0 || !S_ISDIR(here.st_mode)) return scripts;
    EXODUS_TRY(check_owner(directory, here));
    for (const auto& entry : std::filesystem::directory_iterator(directory, code)) {
        const std::string path = entry.path().string();
        struct stat info {};
        if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) ||
            ::access(path.c_str(), X_OK) != 0)
            continue;
        EXODUS_TRY(check_owner(path, info));
        scripts.push_back(path);
    }
    if (code) return fail(ErrorCode::io, "hooks in " + directory + ": " + code.message());
    std::sort(scripts.begin(), scripts.end());
    return scripts;
}

std::vector<std::string> environment_of(const HookEvent& event) {
    std::vector<std::string> out;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        // Those of a hook that called us are not those of this one.
        if (!std::string_view(*entry).starts_with("EXODUS_HOOK_")) out.emplace_back(*entry);
    }
    out.push_back("EXODUS_HOOK_PHASE=" + event.phase);
    out.push_back("EXODUS_HOOK_MOMENT=" + event.moment);
    out.push_back("EXODUS_HOOK_OUTCOME=" + event.outcome);
    for (const auto& [name, value] : event.more) {
        std::string upper = name;
        std::transform(upper.begin(), upper.end(), upper.begin(),
                       [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
        out.push_back("EXODUS_HOOK_" + upper + "=" + value);
    }
    return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
}

/// Reads what is there without waiting; keeps the first kHookOutput_bytes_max and throws the rest
/// away.
void drain(int fd, std::string& output) {
    std::array<char, 4096> buffer{};
    while (true) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got <= 0) return;
        const std::size_t room =
            limits::kHookOutput_bytes_max - std::min(output.size(), limits::kHookOutput_bytes_max);
        output.append(buffer.data(), std::min(static_cast<std::size_t>(got), room));
    }
}

Result<HookResult> run_one(const std::string& script, const HookEvent& event, milliseconds limit,
                           const std::stop_token& stop) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) return fail_errno("pipe", errno);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipe[1], STDERR_FILENO);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    // A group of its own, so that a script that takes too long is ended with its children; and none
    // of the signals that exodus keeps for a thread of its own is blocked in it.
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    std::vector<std::string> arguments{script, event.moment, event.phase};
    std::vector<std::string> environment = environment_of(event);
    pid_t pid = 0;
    const int started = ::posix_spawn(&pid, script.c_str(), &actions, &attributes,
                                      pointers(arguments).data(), pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    ::close(pipe[1]);
    if (started != 0) {
        ::close(pipe[0]);
        return fail(ErrorCode::safety,
                    "hook " + script + " cannot be started: " + std::strerror(started));
    }
    HookResult result;
    result.script = script;
    const int64_t began = steady_us();
    const Deadline deadline = Deadline::in(limit);
    int status = 0;
    bool ended = false;
    while (!ended) {
        drain(pipe[0], result.output);
        const pid_t gone = ::waitpid(pid, &status, WNOHANG);
        if (gone == pid) break;
        if (gone < 0 && errno != EINTR) {
            status = 1 << 8;  // nobody can say how it ended
            break;
        }
        if (deadline.passed() || stop.stop_requested()) {
            ::kill(-pid, SIGKILL);
            while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
            }
            ended = true;
        } else {
            struct pollfd wait {
                pipe[0], POLLIN, 0
            };
            (void)::poll(&wait, 1, static_cast<int>(kPoll.count()));
            // A closed pipe is always readable: a script that closed its output must not make this
            // a busy loop.
            if ((wait.revents & POLLHUP) != 0) std::this_thread::sleep_for(kPoll);
        }
    }
    drain(pipe[0], result.output);
    ::close(pipe[0]);
    result.took_ms = (steady_us() - began) / 1000;
    result.exit_code =
        ended ? kTookTooLong : (WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return result;
}

std::string last_line(const std::string& text) {
    const auto end = text.find_last_not_of("\r\n ");
    if (end == std::string::npos) return {};
    const auto begin = text.rfind('\n', end);
    return text.substr(begin == std::string::npos ? 0 : begin + 1,
                       end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

}  // namespace

Result<std::vector<HookResult>> run_hooks(const std::string& directory, const HookEvent& event,
                                          milliseconds limit, const std::stop_token& stop) {
    auto scripts = scripts_in(directory);
    if (!scripts) return tl::unexpected(std::move(scripts).error());
    std::vector<HookResult> results;
    for (const std::string& script : *scripts) {
        auto result = run_one(script, event, limit, stop);
        if (!result) return tl::unexpected(std::move(result).error());
        results.push_back(*result);
        if (stop.stop_requested()) return fail(ErrorCode::cancelled, "stopped on request");
        if (result->exit_code == 0 || event.moment != "before") continue;
        const std::string why = result->exit_code == kTookTooLong
                                    ? "took longer than " + std::to_string(limit.count()) + " ms"
                                    : "ended with " + std::to_string(result->exit_code);
        return fail(ErrorCode::safety,
                    "hook " + script + " " + why + ": " + last_line(result->output),
                    "nothing was begun; correct what it found and run the command again");
    }
    return results;
}

}  // namespace exodus
