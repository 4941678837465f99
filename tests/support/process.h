// Child processes of tests: started with their own argv, stopped by their own pid, dying with the
// test that started them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "base/clock.h"

namespace exodus::test {

/// A directory under the system's temporary directory, mode 0700, removed with all its content at
/// the end of its life.
class TempDir {
  public:
    TempDir();
    ~TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

/// A loopback port that was free a moment ago, below those that the system gives to clients: a
/// server that comes back finds its port free, and nobody who calls one that is away reaches
/// himself. Servers that lose the race are started again by their owner.
int free_port();

std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& content, unsigned mode = 0600);

struct ProcessOptions {
    std::map<std::string, std::string> environment;  ///< added to the test's own
    std::string directory;                           ///< working directory; empty: the test's
    std::string output;                              ///< file for stdout; empty: discarded
    std::string errors;                              ///< file for stderr; empty: the same as output
    std::string input;                               ///< file for stdin; empty: /dev/null
};

/// Of waitpid(): the exit code, 128 + signal when killed by one.
std::optional<int> code_of(int status);
/// fork() of a child that dies with this process. Throws std::runtime_error.
pid_t fork_child();
/// For execvp(): as long as `argv` lives.
std::vector<char*> arguments_of(const std::vector<std::string>& argv);

class Process {
  public:
    Process() = default;
    /// Throws std::runtime_error when the program cannot be started.
    Process(const std::vector<std::string>& argv, const ProcessOptions& options = {});
    ~Process();  ///< kills (SIGKILL) and reaps what still runs
    Process(Process&& other) noexcept;
    Process& operator=(Process&& other) noexcept;

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] bool running();
    void signal(int number);
    /// Waits until the process is stopped (SIGSTOP); false when it ended or at the deadline.
    bool wait_stopped(milliseconds timeout);
    /// Waits for the end. The exit code, 128 + signal when killed by one, or nothing when it still
    /// runs at the deadline.
    std::optional<int> wait(milliseconds timeout);
    /// SIGKILL and reap.
    void kill();

  private:
    pid_t pid_ = -1;
    std::optional<int> result_;
};

struct RunResult {
    int code = -1;  ///< -1: killed because it did not end in time
    std::string out;
    std::string err;
};

/// Runs to the end and collects what it printed.
RunResult run(const std::vector<std::string>& argv, milliseconds timeout,
              ProcessOptions options = {});

/// Polls until `condition` holds; false at the deadline.
template <class Condition>
bool eventually(milliseconds timeout, Condition condition, milliseconds step = milliseconds(10));

void sleep_ms(int64_t span);  ///< only for the step of eventually()

template <class Condition>
bool eventually(milliseconds timeout, Condition condition, milliseconds step) {
    const Deadline deadline = Deadline::in(timeout);
    while (!condition()) {
        if (deadline.passed()) return false;
        sleep_ms(step.count());
    }
    return true;
}

}  // namespace exodus::test
