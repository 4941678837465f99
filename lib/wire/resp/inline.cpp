// Inline requests: the quoting rules of sds.c (sdssplitargs), which differ from every shell's.
#include "wire/resp/request_scanner.h"

namespace exodus::resp {

namespace {

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }  // isspace in the C locale

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

char unescape(char c) {
    switch (c) {
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        case 'b':
            return '\b';
        case 'a':
            return '\a';
        default:
            return c;
    }
}

/// One argument starting at `at`. False when a quote is not closed, or is followed by something
/// that is no blank.
bool read_argument(std::string_view line, std::size_t& at, std::string& out) {
    char quote = 0;
    for (; at < line.size(); ++at) {
        const char c = line[at];
        if (quote == 0) {
            if (is_blank(c)) return true;
            if (c == '"' || c == '\'') {
                quote = c;
            } else {
                out.push_back(c);
            }
            continue;
        }
        if (c == quote) {
            ++at;
            return at == line.size() || is_blank(line[at]);
        }
        if (c == '\\' && quote == '\'' && at + 1 < line.size() && line[at + 1] == '\'') {
            out.push_back('\'');
            ++at;
        } else if (c == '\\' && quote == '"' && at + 1 < line.size()) {
            const int high =
                line[at + 1] == 'x' && at + 3 < line.size() ? hex_digit(line[at + 2]) : -1;
            const int low = high >= 0 ? hex_digit(line[at + 3]) : -1;
            if (low >= 0) {
                out.push_back(static_cast<char>(high * 16 + low));
                at += 3;
            } else {
                out.push_back(unescape(line[++at]));
            }
        } else {
            out.push_back(c);
        }
    }
    return quote == 0;
}

}  // namespace

bool split_inline(std::string_view line, std::vector<std::string>& arguments) {
    arguments.clear();
    std::size_t at = 0;
    for (;;) {
        while (at < line.size() && is_blank(line[at])) ++at;
        if (at == line.size()) return true;
        arguments.emplace_back();
        if (!read_argument(line, at, arguments.back())) {
            arguments.clear();
            return false;
        }
    }
}

}  // namespace exodus::resp
