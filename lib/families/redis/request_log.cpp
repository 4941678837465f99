#include "families/redis/request_log.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <vector>

#include "base/limits.h"
#include "families/redis/client.h"

namespace exodus::redis {

namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// One word as sdscatrepr writes it; `text` moves behind it. False: not such a word.
bool take_word(std::string_view& text, std::string& word) {
    if (text.empty() || text.front() != '"') return false;
    text.remove_prefix(1);
    word.clear();
    while (!text.empty() && text.front() != '"') {
        if (text.front() != '\\') {
            word += text.front();
            text.remove_prefix(1);
            continue;
        }
        if (text.size() < 2) return false;
        const char kind = text[1];
        text.remove_prefix(2);
        switch (kind) {
            case 'n':
                word += '\n';
                break;
            case 'r':
                word += '\r';
                break;
            case 't':
                word += '\t';
                break;
            case 'a':
                word += '\a';
                break;
            case 'b':
                word += '\b';
                break;
            case 'x': {
                if (text.size() < 2 || hex_digit(text[0]) < 0 || hex_digit(text[1]) < 0)
                    return false;
                word += static_cast<char>(hex_digit(text[0]) * 16 + hex_digit(text[1]));
                text.remove_prefix(2);
                break;
            }
            default:
                word += kind;
        }
    }
    if (text.empty()) return false;
    text.remove_prefix(1);
    return true;
}

/// What stands behind the time: ` [0 127.0.0.1:60866] "keys" "*"`.
std::optional<LoggedRequest> with_words(std::string_view line, LoggedRequest out) {
    if (!line.starts_with(" [")) return std::nullopt;
    const auto close = line.find("] ");
    const auto blank = line.find(' ', 2);
    if (close == std::string_view::npos || blank == std::string_view::npos || blank > close)
        return std::nullopt;
    out.client = std::string(line.substr(blank + 1, close - blank - 1));
    if (out.client == "lua") return std::nullopt;
    line.remove_prefix(close + 2);
    std::vector<std::string> words;
    std::string word;
    while (!line.empty()) {
        if (!take_word(line, word)) return std::nullopt;
        words.push_back(std::move(word));
        if (!line.empty() && line.front() != ' ') return std::nullopt;
        if (!line.empty()) line.remove_prefix(1);
    }
    if (words.empty()) return std::nullopt;
    out.frame = fmt::format("*{}\r\n", words.size());
    for (const std::string& one : words) out.frame += fmt::format("${}\r\n{}\r\n", one.size(), one);
    return out;
}

/// Splits what comes in into lines; a line longer than a request may be is dropped and counted.
class Lines {
  public:
    template <class OnLine>
    void feed(std::string_view bytes, OnLine on_line) {
        while (!bytes.empty()) {
            const auto end = bytes.find('\n');
            const std::string_view part = bytes.substr(0, end);
            if (rest_.size() + part.size() > limits::kRespBulk_bytes_max) {
                rest_.clear();
                too_long_ = true;
            } else if (!too_long_) {
                rest_ += part;
            }
            if (end == std::string_view::npos) return;
            bytes.remove_prefix(end + 1);
            if (!rest_.empty() && rest_.back() == '\r') rest_.pop_back();
            on_line(std::string_view(rest_));
            rest_.clear();
            too_long_ = false;
        }
    }

  private:
    std::string rest_;
    bool too_long_ = false;
};

struct Sink {
    const Family::OnLoggedRequest& on_request;
    uint64_t unread = 0;
    uint64_t lines = 0;
    uint64_t damaged = 0;  ///< first line that a capture cannot have

    void line(std::string_view text) {
        ++lines;
        if (!text.empty() && text.front() == '+') text.remove_prefix(1);
        if (text.empty() || text == "OK") return;
        if (text.front() == '#') return;
        if (const auto request =
                text.front() == '@' ? parse_capture_line(text) : parse_monitor_line(text)) {
            on_request(request->client, request->frame, request->wall_us);
        } else if (text.front() == '@') {
            if (damaged == 0) damaged = lines;
        } else if (text.find("[") == std::string_view::npos ||
                   text.find(" lua] ") == std::string_view::npos) {
            ++unread;
        }
    }
};

Result<uint64_t> read_file(const std::string& path, const std::stop_token& stop, Sink& sink) {
    std::ifstream in(path, std::ios::binary);
    if (!in)
        return fail(ErrorCode::no_input,
                    fmt::format("cannot read the log {}: {}", path, std::strerror(errno)));
    Lines lines;
    std::vector<char> buffer(limits::kReadChunk_bytes);
    while (in && !stop.stop_requested()) {
        in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
        lines.feed(std::string_view(buffer.data(), static_cast<std::size_t>(in.gcount())),
                   [&](std::string_view text) { sink.line(text); });
    }
    if (in.bad())
        return fail(ErrorCode::io, fmt::format("reading {}: {}", path, std::strerror(errno)));
    lines.feed("\n", [&](std::string_view text) { sink.line(text); });
    if (sink.damaged != 0)
        return fail(ErrorCode::data,
                    fmt::format("{}: line {} is no request of a capture", path, sink.damaged),
                    "the file is damaged or was cut: capture again");
    return sink.unread;
}

Result<uint64_t> monitor(const FamilyContext& context, milliseconds duration,
                         const std::stop_token& stop, Sink& sink) {
    auto client = Client::connect(context.dialer, context.settings.source);
    if (!client) return fail(std::move(client.error()), "MONITOR");
    auto started = (*client)->ask({"MONITOR"});
    if (!started) return fail(std::move(started.error()), "MONITOR");
    RawLink link = (*client)->take_raw();
    Lines lines;
    lines.feed(link.unread, [&](std::string_view text) { sink.line(text); });
    std::vector<char> buffer(limits::kReadChunk_bytes);
    const Deadline deadline = Deadline::in(duration);
    while (!stop.stop_requested() && !deadline.passed()) {
        const auto slice = std::min(deadline.left(), milliseconds(limits::kRequestLogPoll_ms));
        auto got = link.stream->read(buffer, Deadline::in(slice));
        if (!got && got.error().code == ErrorCode::timeout) continue;
        if (!got) return fail(std::move(got.error()), "MONITOR");
        lines.feed(std::string_view(buffer.data(), *got),
                   [&](std::string_view text) { sink.line(text); });
    }
    return sink.unread;
}

}  // namespace

std::optional<LoggedRequest> parse_monitor_line(std::string_view line) {
    LoggedRequest out;
    int64_t seconds = 0;
    int64_t fraction = 0;
    const char* end = line.data() + line.size();
    auto [dot, first_error] = std::from_chars(line.data(), end, seconds);
    if (first_error != std::errc() || dot == end || *dot != '.') return std::nullopt;
    auto [space, second_error] = std::from_chars(dot + 1, end, fraction);
    if (second_error != std::errc()) return std::nullopt;
    out.wall_us = seconds * 1'000'000 + fraction;
    line.remove_prefix(static_cast<std::size_t>(space - line.data()));
    return with_words(line, std::move(out));
}

std::optional<LoggedRequest> parse_capture_line(std::string_view line) {
    LoggedRequest out;
    int64_t at_ms = 0;
    const char* end = line.data() + line.size();
    const auto [space, error] = std::from_chars(line.data() + 1, end, at_ms);
    if (error != std::errc() || !line.starts_with('@')) return std::nullopt;
    out.wall_us = at_ms * 1000;
    line.remove_prefix(static_cast<std::size_t>(space - line.data()));
    if (!line.starts_with(" r ") && !line.starts_with(" w ")) return std::nullopt;
    return with_words(line.substr(2), std::move(out));
}

Result<uint64_t> read_redis_log(const FamilyContext& context, const std::string& file,
                                milliseconds duration, const std::stop_token& stop,
                                const Family::OnLoggedRequest& on_request) {
    Sink sink{on_request};
    return file.empty() ? monitor(context, duration, stop, sink) : read_file(file, stop, sink);
}

}  // namespace exodus::redis
