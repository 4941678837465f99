// Words of configurations and command lines to values and back: durations, sizes, shares, booleans,
// and the nearest known word to a misspelt one. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace exodus {

/// "200ms", "3s", "10m", "24h", "2d", "1h30m", "0". A number without a unit is refused: nobody
/// knows which it means.
std::optional<int64_t> parse_duration_ms(std::string_view text);
/// "64GiB", "500MB", "100kb", "4096". KiB… are powers of 1024, kB… of 1000; case does not count.
std::optional<uint64_t> parse_size_bytes(std::string_view text);
/// "5", "5%", "0.5 %": 0 … 100.
std::optional<double> parse_percent(std::string_view text);
std::optional<double> parse_number(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<bool> parse_bool(std::string_view text);

/// The shortest exact form: 200 -> "200ms", 86400000 -> "24h".
std::string format_duration_ms(int64_t ms);
std::string format_bytes(uint64_t bytes);  ///< "12.1 MiB", for people

/// The candidate that differs least from `word`, when it is near enough to be what was meant.
std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates);

struct HostPort {
    std::string host;
    int port = 0;
};
/// "db.internal:6379", "127.0.0.1:0", "[::1]:6379".
std::optional<HostPort> parse_host_port(std::string_view text);
/// Whether an address is of this machine alone: 127.0.0.0/8, ::1, localhost.
bool is_loopback(const std::string& host);

std::string_view trim(std::string_view text);
std::vector<std::string> split_list(std::string_view text);

}  // namespace exodus
