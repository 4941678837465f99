#include "cli/signals.h"

#include <cerrno>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

/// SIGUSR2 only wakes the signal thread when the command is over.
sigset_t watched() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR2}) sigaddset(&set, number);
    return set;
}

}  // namespace

Signals::Signals(std::function<void(int)> on_first) : on_first_(std::move(on_first)) {
    const sigset_t set = watched();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    thread_ = std::thread([this] { run(); });
}

Signals::~Signals() {
    ending_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR2);
    thread_.join();
}

void Signals::run() {
    const sigset_t set = watched();
    for (;;) {
        int number = 0;
        if (sigwait(&set, &number) != 0) continue;
        if (ending_) return;
        if (number == SIGUSR2) continue;
        if (received_ != 0) {
            if (on_second_) on_second_();
            ::_exit(128 + number);
        }
        received_ = number;
        stop_.request_stop();
        if (on_first_) on_first_(number);
    }
}

int Signals::exit_code(int code) const {
    const int number = received();
    return number != 0 && code == kInterrupted ? 128 + number : code;
}

void reset_signals_of_child() {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    sigaction(SIGPIPE, &standard, nullptr);
}

}  // namespace exodus::cli
