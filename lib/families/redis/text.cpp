#include "families/redis/text.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

namespace exodus::redis {

namespace {

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

void append_escaped(std::string_view bytes, std::string& out) {
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\\' || c == '"') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (c == '\t') {
            out += "\\t";
        } else if (byte >= 0x20 && byte < 0x7f) {
            out += c;
        } else {
            char text[5];
            std::snprintf(text, sizeof text, "\\x%02x", byte);
            out += text;
        }
    }
}

void print_into(ReplyView reply, std::size_t indent, std::string& out) {
    switch (reply.type()) {
        case ReplyType::nil:
            out += "(nil)";
            return;
        case ReplyType::integer:
            out += "(integer) " + std::to_string(reply.integer());
            return;
        case ReplyType::status:
            out += reply.text();
            return;
        case ReplyType::error:
            out.append("(error) ").append(reply.text());
            return;
        case ReplyType::string:
            out += '"';
            append_escaped(reply.text(), out);
            out += '"';
            return;
        case ReplyType::array:
            break;
    }
    if (reply.size() == 0) {
        out += "(empty array)";
        return;
    }
    const std::size_t width = std::to_string(reply.size()).size();
    for (std::size_t i = 0; i < reply.size(); ++i) {
        if (i > 0) out.append("\n").append(indent, ' ');
        const std::string number = std::to_string(i + 1);
        out.append(width - number.size(), ' ').append(number).append(") ");
        print_into(reply[i], indent + width + 2, out);
    }
}

}  // namespace

std::string escape_key(std::string_view key, std::size_t bytes_max) {
    std::string text;
    append_escaped(key.substr(0, bytes_max), text);
    if (key.size() > bytes_max) text += "…";
    return text;
}

Result<std::vector<std::string>> split_line(std::string_view line) {
    const auto unbalanced = [] {
        return fail(ErrorCode::usage, "unbalanced quotes in a request",
                    "quote as redis-cli does: SET key \"a value\\n\"");
    };
    std::vector<std::string> words;
    std::size_t i = 0;
    while (true) {
        while (i < line.size() && std::isspace(static_cast<unsigned char>(line[i])) != 0) ++i;
        if (i >= line.size()) return words;
        std::string word;
        const char quote = line[i] == '"' || line[i] == '\'' ? line[i] : '\0';
        if (quote != '\0') ++i;
        while (true) {
            if (i >= line.size()) {
                if (quote != '\0') return unbalanced();
                break;
            }
            const char c = line[i];
            if (quote == '\0') {
                if (std::isspace(static_cast<unsigned char>(c)) != 0) break;
                word += c;
                ++i;
            } else if (c == quote) {
                ++i;
                if (i < line.size() && std::isspace(static_cast<unsigned char>(line[i])) == 0) {
                    return unbalanced();
                }
                break;
            } else if (quote == '\'' && c == '\\' && i + 1 < line.size() && line[i + 1] == '\'') {
                word += '\'';
                i += 2;
            } else if (quote == '"' && c == '\\' && i + 3 < line.size() && line[i + 1] == 'x' &&
                       hex_value(line[i + 2]) >= 0 && hex_value(line[i + 3]) >= 0) {
                word += static_cast<char>(hex_value(line[i + 2]) * 16 + hex_value(line[i + 3]));
                i += 4;
            } else if (quote == '"' && c == '\\' && i + 1 < line.size()) {
                const char e = line[i + 1];
                word += e == 'n'   ? '\n'
                        : e == 'r' ? '\r'
                        : e == 't' ? '\t'
                        : e == 'b' ? '\b'
                        : e == 'a' ? '\a'
                                   : e;
                i += 2;
            } else {
                word += c;
                ++i;
            }
        }
        words.push_back(std::move(word));
    }
}

std::string print_reply(ReplyView reply) {
    std::string out;
    print_into(reply, 0, out);
    return out;
}

void append_resp(ReplyView reply, std::string& out) {
    switch (reply.type()) {
        case ReplyType::nil:
            out += "$-1\r\n";
            return;
        case ReplyType::integer:
            out += ":" + std::to_string(reply.integer()) + "\r\n";
            return;
        case ReplyType::status:
            out.append("+").append(reply.text()).append("\r\n");
            return;
        case ReplyType::error:
            out.append("-").append(reply.text()).append("\r\n");
            return;
        case ReplyType::string:
            out += "$" + std::to_string(reply.text().size()) + "\r\n";
            out.append(reply.text()).append("\r\n");
            return;
        case ReplyType::array:
            out += "*" + std::to_string(reply.size()) + "\r\n";
            for (std::size_t i = 0; i < reply.size(); ++i) append_resp(reply[i], out);
            return;
    }
}

}  // namespace exodus::redis
