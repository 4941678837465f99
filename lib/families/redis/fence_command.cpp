#include "families/redis/fence_command.h"

#include <cerrno>
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"

namespace exodus::redis {

Status run_fence_command(const std::string& command, const std::string& argument,
                         Deadline deadline) {
    const std::string line = command + " " + argument;
    const pid_t child = ::fork();
    if (child < 0) return fail_errno("fence.command", errno);
    if (child == 0) {
        ::setpgid(0, 0);
        ::execl("/bin/sh", "sh", "-c", line.c_str(), static_cast<char*>(nullptr));
        ::_exit(127);
    }
    int state = 0;
    while (true) {
        const pid_t ended = ::waitpid(child, &state, WNOHANG);
        if (ended == child) break;
        if (ended < 0) return fail_errno("fence.command", errno);
        if (deadline.passed()) {
            ::kill(-child, SIGKILL);
            ::waitpid(child, &state, 0);
            return fail(ErrorCode::timeout, "fence.command " + argument + " did not end in time");
        }
        ::usleep(limits::kFenceCommandPoll_us);
    }
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
    return fail(ErrorCode::safety,
                "fence.command " + argument + " failed with " +
                    (WIFEXITED(state) ? "exit code " + std::to_string(WEXITSTATUS(state))
                                      : "signal " + std::to_string(WTERMSIG(state))));
}

}  // namespace exodus::redis
