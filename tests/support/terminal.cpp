#include "tests/support/terminal.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace exodus::test {

TerminalPair::TerminalPair(unsigned short columns) {
    winsize size{};
    size.ws_row = 40;
    size.ws_col = columns;
    if (::openpty(&master, &slave, nullptr, nullptr, &size) != 0)
        throw std::runtime_error("no pseudo-terminal");
    ::fcntl(master, F_SETFD, FD_CLOEXEC);
    ::fcntl(slave, F_SETFD, FD_CLOEXEC);
}

TerminalPair::~TerminalPair() {
    finish();
    ::close(master);
}

void TerminalPair::finish() {
    if (slave >= 0) ::close(slave);
    slave = -1;
}

std::string TerminalPair::read_now() {
    std::string out;
    char buffer[4096];
    for (;;) {
        pollfd ready{master, POLLIN, 0};
        if (::poll(&ready, 1, slave < 0 ? 1000 : 0) <= 0) return out;
        const ssize_t got = ::read(master, buffer, sizeof buffer);
        if (got <= 0) return out;
        out.append(buffer, static_cast<std::size_t>(got));
    }
}

Terminal::Terminal(const std::vector<std::string>& argv, const ProcessOptions& options) {
    const auto arguments = arguments_of(argv);
    pid_ = fork_child();
    if (pid_ > 0) return;
    // Its own session with this terminal, so that Ctrl-C becomes a signal.
    ::setsid();
    ::ioctl(pair_.slave, TIOCSCTTY, 0);
    for (const int to : {0, 1, 2}) ::dup2(pair_.slave, to);
    if (!options.input.empty()) {
        const int input = ::open(options.input.c_str(), O_RDONLY);
        if (input < 0) ::_exit(127);
        ::dup2(input, 0);
    }
    if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(127);
    // Whatever the machine that runs the tests has set.
    ::unsetenv("NO_COLOR");
    ::setenv("TERM", "xterm", 1);
    for (const auto& [name, value] : options.environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
}

Terminal::~Terminal() {
    if (result_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

bool Terminal::ended() {
    if (!result_) {
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
            result_ = code_of(status);
            pair_.finish();
        }
        shown_ += pair_.read_now();
    }
    return result_.has_value();
}

bool Terminal::wait_for(const std::string& text, milliseconds timeout) {
    const auto there = [&] { return shown_.find(text) != std::string::npos; };
    eventually(timeout, [&] { return ended() || there(); });
    return there();
}

void Terminal::type(const std::string& text) {
    if (::write(pair_.master, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        throw std::runtime_error("cannot type");
}

std::optional<int> Terminal::wait() {
    eventually(milliseconds(60'000), [this] { return ended(); });
    return result_;
}

}  // namespace exodus::test
