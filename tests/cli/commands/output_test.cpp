// What is printed where: quiet, verbose, the log's format, colours on a terminal and off it.
#include <csignal>

#include "fixture.h"
#include "tests/support/terminal.h"

using namespace exodus;
using namespace exodus::test;

namespace {

/// Lines of progress and notes that are no warnings, of --json or of text.
int count_notes(const std::string& text) {
    int notes = 0;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
        const auto object = nlohmann::json::parse(line, nullptr, false);
        if (!object.is_object()) {
            if (!line.starts_with("warning: ")) ++notes;
        } else if (object["type"] == "progress" ||
                   (object["type"] == "note" && object["severity"] == "info")) {
            ++notes;
        }
    }
    return notes;
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "-q: no progress and no notes, also with --json; warnings stay") {
    init();
    write_file(directory.file("requests.log"), "");
    // Tells what it taps, and each check that it makes.
    const std::vector<std::string> pretest{"pretest", "--tap", "log:requests.log"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), pretest.begin(), pretest.end());
        return exodus_run(more);
    };
    const RunResult loud = with({});
    CHECK(has(loud.err, "tap: "));
    CHECK(has(loud.err, "pretest: "));
    const RunResult quiet = with({"-q"});
    CHECK_MESSAGE(count_notes(quiet.err) == 0, quiet.err);
    CHECK(has(quiet.err, "warning: "));
    CHECK(quiet.code == loud.code);
    CHECK(has(quiet.out, "authoritative: source"));
    CHECK(count_notes(with({"--json"}).out) > 0);
    const RunResult quiet_json = with({"-q", "--json"});
    CHECK(count_notes(quiet_json.out) == 0);
    CHECK(last_object(quiet_json)["exit_code"] == loud.code);
    for (const std::vector<std::string>& words : {std::vector<std::string>{"status"},
                                                  {"status", "--offline"},
                                                  {"events"},
                                                  {"errors", "list"},
                                                  {"config", "check"},
                                                  {"approve", "switch", "--reason", "x"},
                                                  {"divergences", "list"}}) {
        auto more = words;
        more.emplace_back("-q");
        const RunResult result = exodus_run(more);
        INFO(words.front() << result.out << result.err);
        CHECK(result.code == 0);
        CHECK(result.err.empty());
        CHECK_FALSE(result.out.empty());
    }
    // What went wrong is no note.
    CHECK(has(exodus_run({"ctl", "hello", "-q"}).err, "no interlay"));
    write_config("[nonsense]\nx = 1\n");
    CHECK(has(exodus_run({"status", "--offline", "-q"}).err, "warning: "));
}

TEST_CASE_FIXTURE(Fixture, "the log of an interlay: text, objects, or nothing") {
    init();
    std::string err;
    const auto serve = [&](std::vector<std::string> words, const std::string& until) {
        words.insert(words.begin(), {EXODUS_BINARY, "interlay"});
        ProcessOptions options;
        options.directory = directory.path();
        options.output = directory.file("out");
        options.errors = directory.file("err");
        write_file(options.output, "");
        write_file(options.errors, "");
        Process interlay(words, options);
        const bool up = eventually(milliseconds(20'000), [&] {
            return has(read_file(options.output), until) || !interlay.running();
        });
        interlay.signal(SIGTERM);
        const auto code = interlay.wait(milliseconds(30'000));
        err = read_file(options.errors);
        INFO(read_file(options.output) << err);
        CHECK(up);
        CHECK(code == 0);
    };
    serve({}, "listening on");
    CHECK(has(err, "info  listening on"));
    serve({"--json", "--log-format", "json"}, "\"listening\"");
    CHECK(has(err, R"("type":"log")"));
    CHECK(has(err, R"("level":"info","message":"listening on)"));
    check_objects(err);
    serve({"-q"}, "listening on");
    CHECK_FALSE(has(err, "info"));
}

TEST_CASE_FIXTURE(Fixture, "colour: on a terminal, unless NO_COLOR, TERM=dumb or --color say no") {
    init();
    const auto shown = [&](std::vector<std::string> words,
                           std::map<std::string, std::string> environment) {
        words.insert(words.begin(), {EXODUS_BINARY, "status", "--offline"});
        ProcessOptions options;
        options.directory = directory.path();
        options.environment = std::move(environment);
        Terminal terminal(words, options);
        CHECK(terminal.wait() == 0);
        CHECK(has(terminal.shown(), "AUTHORITATIVE"));
        return terminal.shown();
    };
    CHECK(has(shown({}, {}), "\x1b[1m"));
    CHECK_FALSE(has(shown({}, {{"NO_COLOR", "1"}}), "\x1b"));
    CHECK_FALSE(has(shown({}, {{"TERM", "dumb"}}), "\x1b"));
    CHECK_FALSE(has(shown({"--color", "never"}, {}), "\x1b"));
    CHECK(has(shown({"--color", "always"}, {{"NO_COLOR", "1"}}), "\x1b[1m"));
    CHECK(has(shown({}, {{"NO_COLOR", ""}}), "\x1b[1m"));
}

TEST_CASE_FIXTURE(Fixture, "--timeout ends what watches for ever") {
    init();
    CHECK(exodus_run({"events", "--follow", "--timeout", "300ms"}).code == 0);
    CHECK(exodus_run({"status", "--offline", "--watch", "--timeout", "300ms"}).code == 0);
}
