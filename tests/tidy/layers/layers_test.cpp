// The arrows between layers: reads the table of lib/ARCHITECTURE.md and every #include of lib/ and
// cli/, and fails on an include that the table does not allow.
#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

const fs::path kRoot = EXODUS_SOURCE_DIR;

std::vector<std::string> lines_of(const fs::path& path) {
    std::ifstream in(path);
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
}

std::string trim(const std::string& text) {
    const auto first = text.find_first_not_of(" `");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" `") - first + 1);
}

/// Layer -> layers it may include, as the table says it: "lib/workflow" -> {"store", "core",
/// "base"}.
std::map<std::string, std::set<std::string>> read_table() {
    std::map<std::string, std::set<std::string>> out;
    for (const std::string& line : lines_of(kRoot / "lib/ARCHITECTURE.md")) {
        if (!line.starts_with("| `")) continue;
        std::vector<std::string> cells;
        std::stringstream stream(line.substr(1));
        for (std::string cell; std::getline(stream, cell, '|');) cells.push_back(trim(cell));
        if (cells.size() < 2) continue;
        std::string layer = cells[0].substr(0, cells[0].find('`'));
        if (layer.starts_with("lib/")) layer = layer.substr(4);
        std::stringstream allowed(cells[1]);
        for (std::string word; std::getline(allowed, word, ',');) {
            if (trim(word) != "–") out[layer].insert(trim(word));
        }
        out[layer];
    }
    return out;
}

/// "families/redis/session.cpp" -> "families/redis"; "families/registry.cpp" -> "families";
/// "store/database.h" -> "store".
std::string layer_of(const std::string& path) {
    const auto first = path.find('/');
    if (first == std::string::npos) return {};
    const std::string top = path.substr(0, first);
    if (top != "families" && top != "wire") return top;
    const auto second = path.find('/', first + 1);
    return second == std::string::npos ? top : path.substr(0, second);
}

/// The wire layer of each family; the table calls both X.
const std::map<std::string, std::string> kWireOf = {
    {"redis", "resp"}, {"postgres", "pg"}, {"mongo", "mongo"}};

bool allowed(const std::map<std::string, std::set<std::string>>& table, const std::string& from,
             const std::string& to) {
    if (from == to) return true;
    std::string row = from;
    if (from.starts_with("families/")) row = "families/X";
    if (from.starts_with("wire/")) row = "wire/X";
    const auto found = table.find(row);
    if (found == table.end()) return false;
    const auto& may = found->second;
    if (may.contains("everything") || may.contains(to)) return true;
    if (to.starts_with("families/")) return may.contains("families/*");
    if (to.starts_with("wire/") && from.starts_with("families/") && may.contains("wire/X")) {
        const auto wire = kWireOf.find(from.substr(9));
        return wire != kWireOf.end() && to == "wire/" + wire->second;
    }
    return false;
}

std::vector<fs::path> sources(const fs::path& below) {
    std::vector<fs::path> out;
    for (const auto& entry : fs::recursive_directory_iterator(below)) {
        const std::string extension = entry.path().extension().string();
        if (entry.is_regular_file() &&
            (extension == ".h" || extension == ".cpp" || extension == ".c")) {
            out.push_back(entry.path());
        }
    }
    std::sort(out.begin(), out.end());
    return out;
}

/// Libraries that belong to one layer: nobody else may include their headers.
const std::vector<std::pair<std::string, std::set<std::string>>> kLibraries = {
    {"uv.h", {"net"}},
    {"SQLiteCpp/", {"store"}},
    {"sqlite3.h", {"store"}},
    {"hiredis/", {"families/redis"}},
    {"toml++/", {"config"}},
    {"CLI/", {"cli"}},
    {"pcap", {"capture"}},
    {"tins/", {"capture"}},
    {"httplib.h", {"telemetry"}},
    {"prometheus/", {"telemetry"}},
    {"openssl/", {"base", "net"}},
    {"isa-l", {"base"}},
    {"xxhash.h", {"base"}},
};

/// wire is pure functions on bytes: no I/O, clock, thread or log.
const std::set<std::string> kNotInWire = {
    "thread",          "mutex",      "chrono", "fstream",      "iostream",
    "cstdio",          "ctime",      "atomic", "unistd.h",     "sys/socket.h",
    "spdlog/spdlog.h", "base/log.h", "future", "base/clock.h", "condition_variable"};

}  // namespace

TEST_CASE("the table can be read and keeps the two halves apart") {
    const auto table = read_table();
    REQUIRE(table.size() >= 12);
    CHECK(table.at("cli").contains("everything"));
    CHECK(table.at("base").empty());
    CHECK_FALSE(allowed(table, "interlay", "workflow"));
    CHECK_FALSE(allowed(table, "workflow", "interlay"));
    CHECK_FALSE(allowed(table, "workflow", "families/redis"));
    CHECK_FALSE(allowed(table, "wire/resp", "core"));
    CHECK_FALSE(allowed(table, "families/redis", "wire/pg"));
    CHECK(allowed(table, "families/redis", "wire/resp"));
    CHECK(allowed(table, "families", "families/redis"));
    CHECK_FALSE(allowed(table, "families/redis", "families/mongo"));
    CHECK_FALSE(allowed(table, "core", "store"));
}

TEST_CASE("every include follows an arrow of the table") {
    const auto table = read_table();
    const std::regex own(R"re(^\s*#\s*include\s+"([^"]+)")re");
    const std::regex system(R"re(^\s*#\s*include\s+<([^>]+)>)re");
    std::size_t seen = 0;
    for (const char* top : {"lib", "cli"}) {
        for (const fs::path& path : sources(kRoot / top)) {
            const std::string relative = fs::relative(path, kRoot).string();
            const std::string layer = std::string(top) == "cli"
                                          ? "cli"
                                          : layer_of(fs::relative(path, kRoot / "lib").string());
            int number = 0;
            for (const std::string& line : lines_of(path)) {
                ++number;
                std::smatch match;
                if (std::regex_search(line, match, own)) {
                    ++seen;
                    const std::string target = match[1].str();
                    const std::string to = target.starts_with("cli/") ? "cli" : layer_of(target);
                    INFO(relative << ":" << number << " includes " << target);
                    CHECK_MESSAGE(
                        (fs::exists(kRoot / "lib" / target) || fs::exists(kRoot / target)),
                        "no such file");
                    CHECK_MESSAGE(allowed(table, layer, to), layer << " may not include " << to);
                    if (layer.starts_with("wire/")) CHECK_FALSE(kNotInWire.contains(target));
                } else if (std::regex_search(line, match, system)) {
                    const std::string target = match[1].str();
                    INFO(relative << ":" << number << " includes <" << target << ">");
                    if (layer.starts_with("wire/")) CHECK_FALSE(kNotInWire.contains(target));
                    for (const auto& [library, layers] : kLibraries) {
                        if (target.starts_with(library))
                            CHECK_MESSAGE(layers.contains(layer), "belongs to another layer");
                    }
                }
            }
        }
    }
    CHECK(seen > 100);
}

TEST_CASE("only the registry names the families") {
    const std::regex make(R"(make_(redis|postgres|mongo)_family)");
    for (const fs::path& path : sources(kRoot / "lib")) {
        const std::string relative = fs::relative(path, kRoot / "lib").string();
        if (relative.starts_with("families/")) continue;
        for (const std::string& line : lines_of(path)) {
            INFO(relative);
            CHECK_FALSE(std::regex_search(line, make));
        }
    }
}

TEST_CASE("only cli prints or exits") {
    const std::regex prints(
        R"((^|[^\w:.>])(std::cout|std::cerr|fmt::print|(std::)?printf|(std::)?puts|(std::)?exit|_exit)\s*(\(|<<))");
    for (const fs::path& path : sources(kRoot / "lib")) {
        const std::string relative = fs::relative(path, kRoot / "lib").string();
        int number = 0;
        for (const std::string& line : lines_of(path)) {
            ++number;
            const std::string code = line.substr(0, line.find("//"));
            INFO("lib/" << relative << ":" << number << ": " << line);
            CHECK_FALSE(std::regex_search(code, prints));
        }
    }
}
