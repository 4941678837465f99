// Writes requests and replies at the end of a string.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace exodus::resp {

/// "*N\r\n"
void append_array_header(std::string& out, uint64_t count);
/// "$n\r\n…\r\n"
void append_bulk(std::string& out, std::string_view text);

/// A request: `*N` of bulk strings.
void append_command(std::string& out, std::span<const std::string_view> arguments);
void append_command(std::string& out, std::span<const std::string> arguments);
void append_command(std::string& out, std::initializer_list<std::string_view> arguments);
template <class... Text>
requires(sizeof...(Text) > 0 && (std::convertible_to<Text, std::string_view> &&
                                 ...)) void append_command(std::string& out, const Text&... text) {
    append_array_header(out, sizeof...(Text));
    (append_bulk(out, std::string_view(text)), ...);
}

// Replies. `protocol` is 2 or 3 where the form differs.
/// "-text\r\n"; CR and LF inside become blanks. `text` starts with the code: "ERR no such key".
void append_error(std::string& out, std::string_view text);
void append_simple(std::string& out, std::string_view text);
void append_integer(std::string& out, int64_t value);
/// `_` in RESP3, `$-1` in RESP2.
void append_null(std::string& out, int protocol);
/// `_` in RESP3, `*-1` in RESP2: what EXEC and the blocking pops answer.
void append_null_array(std::string& out, int protocol);
/// A map of `pairs`: `%n` in RESP3, `*2n` in RESP2.
void append_map_header(std::string& out, uint64_t pairs, int protocol);
void append_set_header(std::string& out, uint64_t count, int protocol);
/// `>n` in RESP3, `*n` in RESP2.
void append_push_header(std::string& out, uint64_t count, int protocol);

}  // namespace exodus::resp
