#include "base/values.h"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numeric>
#include <utility>

namespace exodus {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Takes a decimal number from the front.
std::optional<double> take_number(std::string_view& text) {
    double value = 0;
    if (text.empty() || !(is_digit(text.front()) || text.front() == '.')) return std::nullopt;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

}  // namespace

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto comma = text.find(',');
        const std::string_view item = trim(text.substr(0, comma));
        if (!item.empty()) out.emplace_back(item);
        if (comma == std::string_view::npos) break;
        text.remove_prefix(comma + 1);
    }
    return out;
}

std::optional<int64_t> parse_duration_ms(std::string_view text) {
    text = trim(text);
    if (text == "0") return 0;
    if (text.empty()) return std::nullopt;
    constexpr std::array<std::pair<std::string_view, double>, 6> kUnits{
        {{"ms", 1}, {"us", 0.001}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}}};
    double total = 0;
    while (!text.empty()) {
        const auto number = take_number(text);
        if (!number) return std::nullopt;
        while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
        bool found = false;
        for (const auto& [unit, factor] : kUnits) {
            if (!text.starts_with(unit)) continue;
            const std::string_view rest = text.substr(unit.size());
            if (!rest.empty() && !is_digit(rest.front()) && rest.front() != ' ') continue;
            total += *number * factor;
            text = trim(rest);
            found = true;
            break;
        }
        if (!found) return std::nullopt;
    }
    if (total > 1e15) return std::nullopt;
    return static_cast<int64_t>(std::llround(total));
}

std::optional<uint64_t> parse_size_bytes(std::string_view text) {
    text = trim(text);
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    text = trim(text);
    constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{
        {{"", 1},
         {"b", 1},
         {"kb", 1e3},
         {"kib", 1024.0},
         {"mb", 1e6},
         {"mib", 1048576.0},
         {"gb", 1e9},
         {"gib", 1073741824.0},
         {"tb", 1e12},
         {"tib", 1099511627776.0}}};
    std::string word(text);
    std::transform(word.begin(), word.end(), word.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    for (const auto& [unit, factor] : kUnits) {
        if (word != unit) continue;
        const double bytes = *number * factor;
        if (bytes > 9e18) return std::nullopt;
        return static_cast<uint64_t>(bytes);
    }
    return std::nullopt;
}

std::optional<double> parse_number(std::string_view text) {
    text = trim(text);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    if (!std::isfinite(value)) return std::nullopt;
    return value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
    text = trim(text);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

std::optional<double> parse_percent(std::string_view text) {
    text = trim(text);
    if (text.ends_with('%')) text = trim(text.substr(0, text.size() - 1));
    const auto value = parse_number(text);
    if (!value || *value < 0 || *value > 100) return std::nullopt;
    return value;
}

std::optional<bool> parse_bool(std::string_view text) {
    text = trim(text);
    for (const auto* word : {"true", "yes", "on", "1"}) {
        if (text == word) return true;
    }
    for (const auto* word : {"false", "no", "off", "0"}) {
        if (text == word) return false;
    }
    return std::nullopt;
}

std::string format_duration_ms(int64_t ms) {
    if (ms == 0) return "0";
    if (ms % 3'600'000 == 0) return fmt::format("{}h", ms / 3'600'000);
    if (ms % 60'000 == 0) return fmt::format("{}m", ms / 60'000);
    if (ms % 1'000 == 0) return fmt::format("{}s", ms / 1'000);
    return fmt::format("{}ms", ms);
}

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
    std::size_t best = std::numeric_limits<std::size_t>::max();
    const std::string* found = nullptr;
    for (const std::string& candidate : candidates) {
        const std::size_t distance = edit_distance(word, candidate);
        if (distance < best) {
            best = distance;
            found = &candidate;
        }
    }
    const std::size_t near_enough = std::max<std::size_t>(2, word.size() / 3);
    if (found == nullptr || best > near_enough) return std::nullopt;
    return *found;
}

std::optional<HostPort> parse_host_port(std::string_view text) {
    HostPort out;
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return std::nullopt;
    out.host = text.substr(0, colon);
    if (out.host.front() == '[') {
        if (out.host.back() != ']') return std::nullopt;
        out.host = out.host.substr(1, out.host.size() - 2);
    } else if (out.host.find(':') != std::string::npos) {
        return std::nullopt;
    }
    const auto port = parse_integer(text.substr(colon + 1));
    if (!port || *port < 0 || *port > 65535 || out.host.empty()) return std::nullopt;
    out.port = static_cast<int>(*port);
    return out;
}

bool is_loopback(const std::string& host) {
    in_addr v4{};
    if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return host == "localhost" || host == "::1";
}

std::string format_bytes(uint64_t bytes) {
    static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < std::size(kUnits)) {
        value /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace exodus
