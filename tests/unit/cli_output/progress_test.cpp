// Progress as plain lines or as one line that is redrawn, colours of stderr, and log lines that
// stay objects whatever they quote.
#include "cli/progress.h"

#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sstream>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "tests/support/terminal.h"

using namespace exodus;
using namespace exodus::cli;
using namespace exodus::test;

namespace {

/// stderr of this process is another file while it lives.
class StderrTo {
  public:
    explicit StderrTo(int fd) : kept_(::dup(2)) { ::dup2(fd, 2); }
    ~StderrTo() {
        ::dup2(kept_, 2);
        ::close(kept_);
    }
    StderrTo(const StderrTo&) = delete;
    StderrTo& operator=(const StderrTo&) = delete;

  private:
    int kept_;
};

/// What `body` writes to stderr when that is a file, or a terminal of `columns`.
template <class Body>
std::string stderr_of_file(const Body& body) {
    const TempDir directory;
    const int fd = ::open(directory.file("err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    {
        const StderrTo there(fd);
        body();
    }
    ::close(fd);
    return read_file(directory.file("err"));
}

template <class Body>
std::string stderr_of_terminal(unsigned short columns, const Body& body) {
    TerminalPair pair(columns);
    {
        const StderrTo there(pair.slave);
        body();
    }
    pair.finish();
    return pair.read_now();
}

Progress step(const std::string& name, uint64_t done = 1) {
    Progress out;
    out.phase = "migrate";
    out.step = name;
    out.done = done;
    out.unit = "keys";
    return out;
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
}

constexpr int64_t kSecond_us = 1'000'000;

struct Environment {
    Environment() {
        ::unsetenv("NO_COLOR");
        ::setenv("TERM", "xterm", 1);
    }
};

}  // namespace

TEST_CASE_FIXTURE(Environment, "off a terminal: a plain line each 10 s and at each change") {
    const std::string text = stderr_of_file([&] {
        Output out;
        out.setup(false, false, ColorMode::automatic);
        ProgressPrinter printer(out);
        const auto at = [&](int64_t us, const Progress& progress) { printer.show(progress, us); };
        at(kSecond_us, step("copying", 1));
        at(kSecond_us + 1, step("copying", 2));
        at(11 * kSecond_us - 1, step("copying", 3));
        at(11 * kSecond_us, step("copying", 4));        // 10 s later
        at(11 * kSecond_us + 1, step("following", 5));  // another step
        Progress waits = step("following", 6);
        waits.waiting_for = "the target";
        at(11 * kSecond_us + 2, waits);  // another reason
        waits.throttled = "by the operator";
        waits.done = 7;
        at(11 * kSecond_us + 3, waits);
    });
    CHECK(text ==
          "migrate: copying   1 keys\n"
          "migrate: copying   4 keys\n"
          "migrate: following   5 keys\n"
          "migrate: following   6 keys   waiting for the target\n");
}

TEST_CASE_FIXTURE(Environment, "on a terminal: one line, redrawn and never wrapped") {
    const auto draw = [] {
        Output out;
        out.setup(false, false, ColorMode::automatic);
        ProgressPrinter printer(out);
        const int64_t every_us = limits::kProgressRedraw_ms * 1000;
        printer.show(step("copying " + std::string(60, 'x')), every_us);
        printer.show(step("copying", 2), 2 * every_us);
        printer.show(step("copying", 3), 2 * every_us + 1);  // too early for an eye
        printer.show(step("copying", 4), 3 * every_us);
        out.note(Severity::info, "a note");
    };
    const std::string text = stderr_of_terminal(40, draw);
    CHECK(count(text, "\n") == 1);
    CHECK(text.ends_with("\r\x1b[Ka note\r\n"));
    CHECK(count(text, "\r\x1b[K") == 4);  // three times drawn, once cleared
    CHECK(text.starts_with("\r\x1b[Kmigrate: copying " + std::string(22, 'x') + "\r"));
    CHECK(count(text, "3 keys") == 0);
    CHECK(count(text, "4 keys") == 1);
    // It takes no escape codes, so it gets none.
    ::setenv("TERM", "dumb", 1);
    const std::string dumb = stderr_of_terminal(40, draw);
    CHECK(count(dumb, "\x1b") == 0);
    CHECK(count(dumb, "\n") == 3);
}

TEST_CASE_FIXTURE(Environment, "--json and -q") {
    CHECK(stderr_of_terminal(80, [] {
              Output out;
              out.setup(false, true, ColorMode::automatic);
              ProgressPrinter printer(out);
              printer.show(step("copying"));
              out.note(Severity::info, "a note");
          }).empty());
    CHECK(stderr_of_file([] {
              Output out;
              out.setup(false, true, ColorMode::automatic);
              out.note(Severity::warn, "look");
          }) == "warning: look\n");
}

TEST_CASE_FIXTURE(Environment, "colour of a warning: a terminal, NO_COLOR, --color") {
    const auto warning = [](ColorMode mode) {
        return [mode] {
            Output out;
            out.setup(false, false, mode);
            out.note(Severity::warn, "look");
        };
    };
    const std::string yellow = "\x1b[33mwarning: \x1b[0mlook";
    CHECK(stderr_of_terminal(80, warning(ColorMode::automatic)) == yellow + "\r\n");
    CHECK(stderr_of_terminal(80, warning(ColorMode::never)) == "warning: look\r\n");
    CHECK(stderr_of_file(warning(ColorMode::automatic)) == "warning: look\n");
    CHECK(stderr_of_file(warning(ColorMode::always)) == yellow + "\n");
    ::setenv("NO_COLOR", "1", 1);
    CHECK(stderr_of_terminal(80, warning(ColorMode::automatic)) == "warning: look\r\n");
    CHECK(stderr_of_terminal(80, warning(ColorMode::always)) == yellow + "\r\n");
}

TEST_CASE("a log line in JSON stays an object whatever it quotes") {
    const std::vector<std::string> texts = {
        "plain",
        "\"quoted\" \\ and\nbroken",
        std::string("nul \0 here", 10),
        "héllo ▶ 🙂",
        "latin \xe9 one",
        "cut \xe2\x96",
        "\xc0\xafslash",
        "\xed\xa0\x80",
        "\xf5\xff",
    };
    const std::string text = stderr_of_file([&] {
        REQUIRE(setup_log(LogFormat::json, "info"));
        for (const std::string& one : texts) spdlog::info("{}", one);
        spdlog::default_logger()->flush();
    });
    std::istringstream stream(text);
    std::vector<std::string> got;
    for (std::string line; std::getline(stream, line);) {
        const auto object = nlohmann::json::parse(line, nullptr, false);
        REQUIRE_MESSAGE(object.is_object(), line);
        CHECK(object["type"] == "log");
        CHECK(object["level"] == "info");
        got.push_back(object["message"]);
    }
    REQUIRE(got.size() == texts.size());
    for (std::size_t i = 0; i < 4; ++i) CHECK(got[i] == texts[i]);
    CHECK(got[4] == "latin \xef\xbf\xbd one");
}
