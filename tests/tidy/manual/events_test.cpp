// exodus-events(1) lists every code that the sources can write, with its severities, and no other.
#include <doctest/doctest.h>
#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include "tests/support/process.h"

namespace fs = std::filesystem;
using exodus::test::read_file;

namespace {

const fs::path kRoot = EXODUS_SOURCE_DIR;
const std::set<std::string> kSeverities{"info", "warn", "critical"};
using Codes = std::map<std::string, std::set<std::string>>;  ///< with their severities

Codes documented() {
    const std::string page = std::regex_replace(read_file((kRoot / "man/exodus-events.1").string()),
                                                std::regex(R"(\\-)"), "-");
    const std::regex entry(R"(\n\.TP\n\\fB([^\\]+)\\fR \(([a-z, ]+)\)\n[^.\n])");
    const std::regex word("[a-z]+");
    Codes out;
    for (std::sregex_iterator it(page.begin(), page.end(), entry), end; it != end; ++it) {
        const std::string severities = (*it)[2].str();
        auto& known = out[(*it)[1].str()];
        for (std::sregex_iterator one(severities.begin(), severities.end(), word); one != end;
             ++one)
            known.insert(one->str());
    }
    return out;
}

/// From `at` to the semicolon that ends the statement.
std::string statement_at(const std::string& text, std::size_t at) {
    bool quoted = false;
    std::size_t end = at;
    for (; end < text.size() && (quoted || text[end] != ';'); ++end) {
        if (text[end] == '"' && text[end - 1] != '\\') quoted = !quoted;
    }
    return text.substr(at, end - at);
}

/// What a call that writes an event, or a rule about one, names.
void note_codes(const std::string& statement, Codes& out) {
    const std::regex literal(R"re("([a-z]+(?:[.-][a-z]+)*\.?)")re");
    const std::regex pair(R"re("(info|warn|critical)",\s*"([a-z]+(?:[.-][a-z]+)*)")re");
    const auto end = std::sregex_iterator();
    for (std::sregex_iterator it(statement.begin(), statement.end(), literal); it != end; ++it) {
        std::string code = (*it)[1].str();
        if (code.find('.') == std::string::npos) continue;
        if (code.ends_with('.')) code += "KIND";  // the rest is a column of a row
        out[code];
    }
    for (std::sregex_iterator it(statement.begin(), statement.end(), pair); it != end; ++it) {
        if (!kSeverities.contains((*it)[2].str())) out[(*it)[2].str()].insert((*it)[1].str());
    }
}

Codes written() {
    Codes out;
    for (const char* top : {"lib", "cli"}) {
        for (const auto& file : fs::recursive_directory_iterator(kRoot / top)) {
            if (file.path().extension() != ".cpp") continue;
            const std::string path = file.path().string();
            const std::string text = read_file(path);
            for (const char* call : {"add_event(", "insert_event(", " event(", "(event(", " tell(",
                                     "NewEvent{", "constexpr ConditionRule "}) {
                for (auto at = text.find(call); at != std::string::npos;
                     at = text.find(call, at + 1)) {
                    // In a family `tell` tells findings.
                    if (std::string_view(call) == " tell(" && path.find("/families/") != path.npos)
                        continue;
                    note_codes(statement_at(text, at), out);
                }
            }
        }
    }
    return out;
}

}  // namespace

TEST_CASE("exodus-events(1) lists every code, and none that is never written") {
    const Codes page = documented();
    const Codes sources = written();
    REQUIRE(page.size() > 60);
    for (const auto& row : sources) {
        const std::string& code = row.first;
        INFO(code);
        REQUIRE(page.contains(code));
        for (const std::string& severity : row.second)
            CHECK_MESSAGE(page.at(code).contains(severity), severity);
    }
    for (const auto& row : page) {
        const std::string& code = row.first;
        CHECK_MESSAGE(sources.contains(code), code);
        for (const std::string& severity : row.second)
            CHECK_MESSAGE(kSeverities.contains(severity), (code + " " + severity));
    }
}
