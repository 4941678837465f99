// House rules that a compiler does not see (style.md): a first comment that says the file's job,
// include guards, no words of unfinished work, no names that say nothing, no file that has become
// two things (a warning).
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = EXODUS_SOURCE_DIR;
constexpr std::size_t kLines_max = 500;

std::vector<std::string> lines_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
}

std::vector<fs::path> files() {
    std::vector<fs::path> out;
    for (const char* top : {"lib", "cli", "tests", "man", "examples"}) {
        if (!fs::exists(kRoot / top)) continue;
        for (const auto& entry : fs::recursive_directory_iterator(kRoot / top)) {
            const std::string extension = entry.path().extension().string();
            const bool text = extension == ".h" || extension == ".cpp" || extension == ".sql" ||
                              extension == ".cmake" || extension == ".sh" || extension == ".1" ||
                              extension == ".5" || extension == ".7";
            // This file has to spell the words that it looks for.
            if (entry.is_regular_file() && text && entry.path().filename() != "sources_test.cpp")
                out.push_back(entry.path());
        }
    }
    std::sort(out.begin(), out.end());
    return out;
}

bool is_code(const fs::path& path) {
    return path.extension() == ".h" || path.extension() == ".cpp";
}

}  // namespace

TEST_CASE("no words of unfinished work") {
    const std::regex unfinished(
        R"(\b(TODO|FIXME|XXX|HACK)\b|\bfor now\b|\bplaceholder\b|not (yet )?implemented)",
        std::regex::icase);
    for (const fs::path& path : files()) {
        int number = 0;
        for (const std::string& line : lines_of(path)) {
            ++number;
            INFO(fs::relative(path, kRoot).string() << ":" << number << ": " << line);
            CHECK_FALSE(std::regex_search(line, unfinished));
        }
    }
}

TEST_CASE("names say something") {
    const std::regex empty_name(R"(\b(class|struct)\s+\w*(Manager|Helper|Util|Utils)\b)");
    for (const fs::path& path : files()) {
        if (!is_code(path)) continue;
        for (const std::string& line : lines_of(path)) {
            INFO(fs::relative(path, kRoot).string() << ": " << line);
            CHECK_FALSE(std::regex_search(line, empty_name));
        }
    }
}

TEST_CASE("every file says its job first, every header is guarded") {
    for (const fs::path& path : files()) {
        const std::string name = fs::relative(path, kRoot).string();
        // Of the tests the headers, which others use; a test's own file says its job by its cases.
        if (!is_code(path) || (name.starts_with("tests/") && path.extension() != ".h")) continue;
        const auto lines = lines_of(path);
        INFO(name);
        REQUIRE_FALSE(lines.empty());
        const bool header = path.extension() == ".h";
        fs::path own = path;
        own.replace_extension(".h");
        // A .cpp of a header may leave the word to it.
        const bool says_it = lines.front().starts_with("//");
        CHECK((says_it || (!header && fs::exists(own))));
        if (header) CHECK(std::find(lines.begin(), lines.end(), "#pragma once") != lines.end());
    }
}

TEST_CASE("no tabs, no blanks at the end of a line, a newline at the end of a file") {
    for (const fs::path& path : files()) {
        if (!is_code(path)) continue;
        std::ifstream in(path, std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(in)),
                               std::istreambuf_iterator<char>());
        INFO(fs::relative(path, kRoot).string());
        CHECK(text.find('\t') == std::string::npos);
        CHECK(text.find(" \n") == std::string::npos);
        CHECK(text.find('\r') == std::string::npos);
        CHECK(text.ends_with('\n'));
    }
}

TEST_CASE("no file has become two things" * doctest::may_fail()) {
    for (const fs::path& path : files()) {
        if (!is_code(path)) continue;
        const std::size_t count = lines_of(path).size();
        WARN_MESSAGE(count <= kLines_max, fs::relative(path, kRoot).string()
                                              << " has " << count << " lines");
    }
}
