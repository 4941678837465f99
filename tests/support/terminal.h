// A program on a pseudo-terminal, as a person sees and answers it. It dies with the test that
// started it.
#pragma once

#include "tests/support/process.h"

namespace exodus::test {

/// A pseudo-terminal of `columns`; the test holds both ends.
struct TerminalPair {
    explicit TerminalPair(unsigned short columns = 100);
    ~TerminalPair();
    TerminalPair(const TerminalPair&) = delete;
    TerminalPair& operator=(const TerminalPair&) = delete;
    /// What was written to the slave so far; after finish() all of it.
    std::string read_now();
    /// Nobody writes any more.
    void finish();

    int master = -1;
    int slave = -1;
};

class Terminal {
  public:
    /// `options.output` and `errors` are not used; `input` replaces the terminal as stdin.
    explicit Terminal(const std::vector<std::string>& argv, const ProcessOptions& options = {});
    ~Terminal();  ///< kills (SIGKILL) and reaps what still runs
    Terminal(const Terminal&) = delete;
    Terminal& operator=(const Terminal&) = delete;

    /// Waits until `text` is on the screen; false at the deadline or when the program ended before.
    bool wait_for(const std::string& text, milliseconds timeout = milliseconds(60'000));
    /// "\n" ends a line, "\x03" is Ctrl-C.
    void type(const std::string& text);
    /// As Process::wait(), for at most a minute.
    std::optional<int> wait();
    /// Everything that was printed, with its escape codes.
    [[nodiscard]] const std::string& shown() const { return shown_; }

  private:
    bool ended();

    TerminalPair pair_;
    std::string shown_;
    pid_t pid_ = -1;
    std::optional<int> result_;
};

}  // namespace exodus::test
