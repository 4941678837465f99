// --help and the manual say the same: every option of a command is in the OPTIONS of its page, and
// the other way round; so do the completion scripts.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "tests/support/process.h"

namespace fs = std::filesystem;
using namespace exodus;
using exodus::test::read_file;
using exodus::test::run;
using exodus::test::RunResult;
using exodus::test::TempDir;
using exodus::test::write_file;

namespace {

RunResult exodus_run(std::vector<std::string> words) {
    words.insert(words.begin(), EXODUS_BINARY);
    return run(words, milliseconds(10000));
}

std::set<std::string> options_of_help(const std::vector<std::string>& command) {
    auto words = command;
    words.emplace_back("--help");
    const RunResult result = exodus_run(words);
    REQUIRE(result.code == 0);
    std::set<std::string> out;
    // Option lines begin with two blanks; help text behind them may name other options.
    const std::regex line_start(R"(^  ((?:-\w,)?--[\w-]+|-\w))");
    std::istringstream stream(result.out);
    for (std::string line; std::getline(stream, line);) {
        std::smatch match;
        if (!std::regex_search(line, match, line_start)) continue;
        std::istringstream names(match[1].str());
        for (std::string name; std::getline(names, name, ',');) out.insert(name);
    }
    return out;
}

std::vector<std::string> subcommands(const std::vector<std::string>& command) {
    auto words = command;
    words.emplace_back("--help");
    const RunResult result = exodus_run(words);
    std::vector<std::string> out;
    std::istringstream stream(result.out);
    bool inside = false;
    const std::regex name(R"(^  ([a-z][a-z-]*)\s)");
    for (std::string line; std::getline(stream, line);) {
        if (line.starts_with("Subcommands:")) {
            inside = true;
        } else if (inside && (line.empty() || line[0] != ' ')) {
            inside = false;
        } else if (std::smatch match; inside && std::regex_search(line, match, name)) {
            out.push_back(match[1].str());
        }
    }
    return out;
}

std::set<std::string> options_of_page(const std::string& name) {
    std::string text = read_file(std::string(EXODUS_SOURCE_DIR) + "/man/" + name);
    text = std::regex_replace(text, std::regex(R"(\\f[A-Z])"), "");
    text = std::regex_replace(text, std::regex(R"(\\-)"), "-");
    const auto begin = text.find("\n.SH OPTIONS\n");
    REQUIRE_MESSAGE(begin != std::string::npos, name);
    const auto end = text.find("\n.SH ", begin + 5);
    std::istringstream stream(text.substr(begin, end - begin));
    std::set<std::string> out;
    bool tag = false;
    const std::regex option(R"((^|, )(--?[\w][\w-]*))");
    for (std::string line; std::getline(stream, line);) {
        if (tag) {
            for (std::sregex_iterator it(line.begin(), line.end(), option), last; it != last; ++it)
                out.insert((*it)[2].str());
        }
        tag = line == ".TP";
    }
    return out;
}

void compare(const std::string& page, const std::set<std::string>& help,
             const std::set<std::string>& manual) {
    for (const std::string& option : help) {
        CHECK_MESSAGE(manual.contains(option),
                      page << ": " << option << " is in --help but not in the manual");
    }
    for (const std::string& option : manual) {
        CHECK_MESSAGE(help.contains(option),
                      page << ": " << option << " is in the manual but not in --help");
    }
}

}  // namespace

TEST_CASE("every command has a page with exactly its options") {
    const auto commands = subcommands({});
    REQUIRE(commands.size() >= 18);
    compare("exodus.1", options_of_help({}), options_of_page("exodus.1"));
    for (const std::string& command : commands) {
        std::set<std::string> help = options_of_help({command});
        for (const std::string& sub : subcommands({command}))
            help.merge(options_of_help({command, sub}));
        compare("exodus-" + command + ".1", help, options_of_page("exodus-" + command + ".1"));
    }
    for (const auto& entry : fs::directory_iterator(std::string(EXODUS_SOURCE_DIR) + "/man")) {
        const std::string name = entry.path().stem().string();
        if (!name.starts_with("exodus-") || entry.path().extension() != ".1") continue;
        CHECK_MESSAGE(std::find(commands.begin(), commands.end(), name.substr(7)) != commands.end(),
                      name);
    }
}

TEST_CASE("exodus man shows every page, by several names") {
    const RunResult list = exodus_run({"man", "--list"});
    CHECK(list.code == 0);
    std::istringstream stream(list.out);
    std::size_t pages = 0;
    for (std::string name; std::getline(stream, name); ++pages) {
        const RunResult page = exodus_run({"man", name});
        INFO(name);
        CHECK(page.code == 0);
        CHECK(page.out.find("NAME") != std::string::npos);
        CHECK(page.out.find("\\-") == std::string::npos);
        CHECK(page.out.find("\\f") == std::string::npos);
    }
    CHECK(pages >= 20);
    CHECK(exodus_run({"man"}).out.find("exodus - move live") != std::string::npos);
    CHECK(exodus_run({"man", "migrate"}).out.find("--canary-reads") != std::string::npos);
    const RunResult wrong = exodus_run({"man", "migrat"});
    CHECK(wrong.code == 64);
    CHECK(wrong.err.find("did you mean migrate?") != std::string::npos);
}

TEST_CASE("completion scripts are valid and complete") {
    TempDir directory;
    const RunResult bash = exodus_run({"completion", "bash"});
    CHECK(bash.code == 0);
    for (const char* word : {"migrate", "--canary-reads", "re-drive", "--lock-timeout"}) {
        CHECK_MESSAGE(bash.out.find(word) != std::string::npos, word);
    }
    write_file(directory.file("exodus.bash"), bash.out);
    CHECK(run({"bash", "-n", directory.file("exodus.bash")}, milliseconds(5000)).code == 0);
    // As a shell would ask: "exodus migrate --can<TAB>", "exodus config <TAB>".
    const std::string ask =
        "source " + directory.file("exodus.bash") +
        "; COMP_WORDS=(exodus -q migrate --can); COMP_CWORD=3; _exodus; echo \"${COMPREPLY[*]}\";"
        "COMP_WORDS=(exodus config ''); COMP_CWORD=2; _exodus; echo \"${COMPREPLY[*]}\"";
    const RunResult answers = run({"bash", "-c", ask}, milliseconds(5000));
    CHECK(answers.out.starts_with("--canary-reads\ncheck show "));
    for (const char* shell : {"zsh", "fish"}) {
        const RunResult script = exodus_run({"completion", shell});
        CHECK(script.code == 0);
        CHECK(script.out.find("canary-reads") != std::string::npos);
        if (run({"which", shell}, milliseconds(5000)).code != 0) continue;
        write_file(directory.file("script"), script.out);
        CHECK(run({shell, "-n", directory.file("script")}, milliseconds(5000)).code == 0);
    }
    CHECK(exodus_run({"completion", "tcsh"}).code == 64);
}
