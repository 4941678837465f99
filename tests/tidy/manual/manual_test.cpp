// The manual: groff has nothing to say about any page, every page has its parts, every reference
// leads somewhere, and every key of the configuration stands in exodus.toml(5) with its default.
#include <doctest/doctest.h>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "config/config.h"
#include "tests/support/process.h"

namespace fs = std::filesystem;
using namespace exodus;
using exodus::test::read_file;
using exodus::test::run;

namespace {

const fs::path kManual = fs::path(EXODUS_SOURCE_DIR) / "man";

std::vector<fs::path> pages() {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(kManual)) out.push_back(entry.path());
    return out;
}

std::string without_escapes(std::string text) {
    text = std::regex_replace(text, std::regex(R"(\\f[A-Z])"), "");
    text = std::regex_replace(text, std::regex(R"(\\-)"), "-");
    return std::regex_replace(text, std::regex(R"(\\e)"), "\\");
}

}  // namespace

TEST_CASE("groff is silent") {
    if (run({"groff", "--version"}, milliseconds(5000)).code != 0) {
        MESSAGE("groff is not installed");
        return;
    }
    for (const fs::path& page : pages()) {
        const auto result =
            run({"groff", "-ww", "-man", "-Tutf8", page.string()}, milliseconds(10000));
        INFO(page.string());
        CHECK(result.code == 0);
        CHECK(result.err == "");
    }
}

TEST_CASE("every page has its parts and only the macros that exodus man understands") {
    const std::set<std::string> known = {".\\\"", ".TH", ".SH", ".SS", ".PP", ".TP", ".B",
                                         ".I",    ".BR", ".IR", ".BI", ".IB", ".RB", ".RI",
                                         ".RS",   ".RE", ".EX", ".EE", ".nf", ".fi", ".br"};
    REQUIRE(pages().size() >= 20);
    for (const fs::path& page : pages()) {
        const std::string text = read_file(page.string());
        INFO(page.string());
        CHECK(text.find("\n.SH NAME\n") != std::string::npos);
        CHECK(text.find("\n.SH DESCRIPTION\n") != std::string::npos);
        CHECK(text.find("\n.SH \"SEE ALSO\"\n") != std::string::npos);
        std::istringstream stream(text);
        for (std::string line; std::getline(stream, line);) {
            if (line.starts_with('.'))
                CHECK_MESSAGE(known.contains(line.substr(0, line.find(' '))), line);
            for (const char c : line) CHECK_MESSAGE(static_cast<unsigned char>(c) < 0x80, line);
        }
    }
}

TEST_CASE("references lead to pages that exist") {
    const std::regex reference(R"(\.BR ([\w.\\-]+) \((\d)\))");
    for (const fs::path& page : pages()) {
        const std::string text = read_file(page.string());
        for (std::sregex_iterator it(text.begin(), text.end(), reference), end; it != end; ++it) {
            const std::string name = without_escapes((*it)[1].str()) + "." + (*it)[2].str();
            INFO(page.string() << " refers to " << name);
            CHECK(fs::exists(kManual / name));
        }
    }
}

TEST_CASE("exodus.toml(5) knows every key and its default") {
    const std::string text = without_escapes(read_file((kManual / "exodus.toml.5").string()));
    for (const ConfigKeyInfo& info : config_keys()) {
        const std::string key(info.key);
        const auto dot = key.find('.');
        const std::string name = dot == std::string::npos ? key : key.substr(dot + 1);
        INFO(key);
        const auto at = text.find("\n.TP\n" + name + " (");
        REQUIRE(at != std::string::npos);
        if (!info.default_text.empty()) {
            // The same name may stand in several tables; one of them must have this default.
            CHECK(text.find("Default: " + std::string(info.default_text) + ".") !=
                  std::string::npos);
        }
    }
    // And no key that does not exist.
    const std::regex entry(R"(\n\.TP\n([a-z_0-9.]+) \()");
    for (std::sregex_iterator it(text.begin(), text.end(), entry), end; it != end; ++it) {
        const std::string name = (*it)[1].str();
        bool known = name == "throttle";
        for (const ConfigKeyInfo& info : config_keys()) {
            const std::string key(info.key);
            if (key == name || key.ends_with("." + name)) known = true;
        }
        const auto redis = text.find(".SH [redis]");
        if (redis != std::string::npos && static_cast<std::size_t>(it->position()) > redis)
            known = true;
        CHECK_MESSAGE(known, name);
    }
}
