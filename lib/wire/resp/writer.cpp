// Writers of RESP requests and replies.
#include "wire/resp/writer.h"

#include <charconv>

namespace exodus::resp {

namespace {

void append_number(std::string& out, char lead, int64_t value) {
    char text[24];
    text[0] = lead;
    char* end = std::to_chars(text + 1, text + 22, value).ptr;
    *end++ = '\r';
    *end++ = '\n';
    out.append(text, static_cast<std::size_t>(end - text));
}

void append_line(std::string& out, char lead, std::string_view text) {
    out.push_back(lead);
    for (const char c : text) out.push_back(c == '\r' || c == '\n' ? ' ' : c);
    out.append("\r\n");
}

template <class Range>
void append_all(std::string& out, const Range& arguments) {
    append_array_header(out, std::size(arguments));
    for (const auto& argument : arguments) append_bulk(out, argument);
}

}  // namespace

void append_array_header(std::string& out, uint64_t count) {
    append_number(out, '*', static_cast<int64_t>(count));
}

void append_bulk(std::string& out, std::string_view text) {
    append_number(out, '$', static_cast<int64_t>(text.size()));
    out.append(text);
    out.append("\r\n", 2);
}

void append_command(std::string& out, std::span<const std::string_view> arguments) {
    append_all(out, arguments);
}
void append_command(std::string& out, std::span<const std::string> arguments) {
    append_all(out, arguments);
}
void append_command(std::string& out, std::initializer_list<std::string_view> arguments) {
    append_all(out, arguments);
}

void append_error(std::string& out, std::string_view text) { append_line(out, '-', text); }
void append_simple(std::string& out, std::string_view text) { append_line(out, '+', text); }
void append_integer(std::string& out, int64_t value) { append_number(out, ':', value); }
void append_null(std::string& out, int protocol) {
    out.append(protocol >= 3 ? "_\r\n" : "$-1\r\n");
}
void append_null_array(std::string& out, int protocol) {
    out.append(protocol >= 3 ? "_\r\n" : "*-1\r\n");
}

void append_map_header(std::string& out, uint64_t pairs, int protocol) {
    if (protocol >= 3) {
        append_number(out, '%', static_cast<int64_t>(pairs));
    } else {
        append_number(out, '*', static_cast<int64_t>(pairs * 2));
    }
}

void append_set_header(std::string& out, uint64_t count, int protocol) {
    append_number(out, protocol >= 3 ? '~' : '*', static_cast<int64_t>(count));
}

void append_push_header(std::string& out, uint64_t count, int protocol) {
    append_number(out, protocol >= 3 ? '>' : '*', static_cast<int64_t>(count));
}

}  // namespace exodus::resp
