#include "workflow/request_file.h"

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "base/limits.h"

namespace exodus {

namespace {

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

tl::unexpected<Error> bad(int line, std::string_view what) {
    return fail(ErrorCode::data, fmt::format("line {}: {}", line, what));
}

Result<std::string> unescape(std::string_view text, int line) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            out += text[i];
            continue;
        }
        if (++i == text.size()) return bad(line, "a lone \\ at the end of the expected reply");
        switch (text[i]) {
            case 'n':
                out += '\n';
                break;
            case 'r':
                out += '\r';
                break;
            case 't':
                out += '\t';
                break;
            case '\\':
                out += '\\';
                break;
            case 'x': {
                unsigned value = 0;
                const char* first = text.data() + i + 1;
                const auto [end, error] = std::from_chars(
                    first, std::min(first + 2, text.data() + text.size()), value, 16);
                if (error != std::errc{} || end != first + 2)
                    return bad(line, "\\x needs two hexadecimal digits");
                out += static_cast<char>(value);
                i += 2;
                break;
            }
            default:
                return bad(line, fmt::format("unknown escape \\{}", text[i]));
        }
    }
    return out;
}

/// "@1532 r GET user:1"
Status parse_timed(std::string_view text, FileRequest& out) {
    const char* end_of_text = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + 1, end_of_text, out.at_ms);
    if (error != std::errc{} || out.at_ms < 0)
        return bad(out.line, "after @ must stand milliseconds");
    const std::string_view rest =
        trim(std::string_view(end, static_cast<std::size_t>(end_of_text - end)));
    if (rest.size() < 3 || (rest[0] != 'r' && rest[0] != 'w') || rest[1] != ' ') {
        return bad(out.line, "after the time must stand r or w, and the request");
    }
    out.timed = true;
    out.may_write = rest[0] == 'w';
    out.request = trim(rest.substr(2));
    return {};
}

Status parse_smoke(std::string_view text, FileRequest& out) {
    // "=>" at the end of the line expects an empty reply; the trailing blank was trimmed away.
    auto arrow = text.rfind(" => ");
    std::size_t width = 4;
    if (text.ends_with(" =>")) {
        arrow = text.size() - 3;
        width = 3;
    }
    if (text.starts_with("=>")) return bad(out.line, "there is no request");
    if (arrow == std::string_view::npos) {
        out.request = text;
        return {};
    }
    out.request = trim(text.substr(0, arrow));
    std::string_view expected = trim(text.substr(arrow + width));
    if (expected == "*") return {};
    out.expect = FileRequest::Expect::exact;
    if (expected == "!" || expected.starts_with("! ")) {
        out.expect = FileRequest::Expect::error;
        expected = trim(expected.substr(1));
    } else if (expected.starts_with("~ ")) {
        out.expect = FileRequest::Expect::glob;
        expected = trim(expected.substr(2));
    }
    auto plain = unescape(expected, out.line);
    if (!plain) return tl::unexpected(plain.error());
    out.expected = std::move(*plain);
    return {};
}

}  // namespace

Result<std::vector<FileRequest>> parse_request_file(std::string_view text) {
    std::vector<FileRequest> out;
    int number = 0;
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        ++number;
        if (line.empty() || line.front() == '#') continue;
        FileRequest request;
        request.line = number;
        EXODUS_TRY(line.front() == '@' ? parse_timed(line, request) : parse_smoke(line, request));
        if (request.request.empty()) return bad(number, "there is no request");
        out.push_back(std::move(request));
    }
    return out;
}

Result<std::vector<FileRequest>> read_request_file(const std::string& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (error) return fail(ErrorCode::no_input, path + ": " + error.message());
    if (size > limits::kRequestFile_bytes_max) {
        return fail(ErrorCode::data,
                    fmt::format("{}: {} bytes are more than a request file may have ({})", path,
                                size, limits::kRequestFile_bytes_max));
    }
    std::ifstream in(path, std::ios::binary);
    if (!in) return fail_errno(path, errno);
    std::ostringstream bytes;
    bytes << in.rdbuf();
    if (in.bad()) return fail(ErrorCode::io, path + ": cannot be read");
    auto requests = parse_request_file(bytes.view());
    if (!requests) return fail(std::move(requests.error()), path);
    return requests;
}

std::string judge_reply(const FileRequest& request, const Result<std::string>& reply) {
    using Expect = FileRequest::Expect;
    if (!reply) {
        const std::string& message = reply.error().message;
        // A server that cannot be reached is a failed request whatever was expected.
        const bool answered = reply.error().code == ErrorCode::data ||
                              reply.error().code == ErrorCode::permission ||
                              reply.error().code == ErrorCode::protocol;
        if (request.expect == Expect::error && answered &&
            message.find(request.expected) != std::string::npos)
            return {};
        return "failed: " + message;
    }
    const std::string_view got = trim(*reply);
    // Families may give an error reply as text, marked as the usual clients mark it.
    constexpr std::string_view kErrorMark = "(error) ";
    if (got.starts_with(kErrorMark)) {
        const std::string_view error = got.substr(kErrorMark.size());
        if (request.expect == Expect::error && error.starts_with(request.expected)) return {};
        if (request.expect != Expect::exact || got != trim(request.expected))
            return "failed: " + std::string(error);
    }
    switch (request.expect) {
        case Expect::any:
            return {};
        case Expect::exact:
            if (got == trim(request.expected)) return {};
            return fmt::format("expected \"{}\", got \"{}\"", request.expected, got.substr(0, 200));
        case Expect::glob:
            if (glob_match(request.expected, got)) return {};
            return fmt::format("expected a match of \"{}\", got \"{}\"", request.expected,
                               got.substr(0, 200));
        case Expect::error:
            return fmt::format("expected the error \"{}\", got \"{}\"", request.expected,
                               got.substr(0, 200));
    }
    return {};
}

bool glob_match(std::string_view pattern, std::string_view text) {
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = std::string_view::npos;
    std::size_t mark = 0;
    while (t < text.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
}

}  // namespace exodus
