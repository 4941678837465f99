#include "cli/output.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/utf8.h"
#include "core/json_text.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

/// One that understands escape codes.
bool is_terminal(int fd) {
    const char* term = std::getenv("TERM");
    return ::isatty(fd) == 1 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

bool wants_color(ColorMode mode, int fd) {
    if (mode != ColorMode::automatic) return mode == ColorMode::always;
    const char* no_color = std::getenv("NO_COLOR");
    if (no_color != nullptr && *no_color != '\0') return false;
    return is_terminal(fd);
}

std::size_t terminal_width() {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

/// Cuts to `columns` code points, so that a progress line never wraps.
std::string_view cut(std::string_view text, std::size_t columns) {
    std::size_t seen = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) continue;
        if (seen++ == columns) return text.substr(0, i);
    }
    return text;
}

/// A URI that was misplaced may hold a password: nothing between "://" and "@" is shown.
std::string without_passwords(std::string text) {
    for (auto from = text.find("://"); from != std::string::npos; from = text.find("://", from)) {
        from += 3;
        const auto end = std::min(text.find_first_of(" \"'", from), text.size());
        const auto at = text.substr(0, end).rfind('@');
        if (at == std::string::npos || at < from) continue;
        text.replace(from, at - from, "…");
    }
    return text;
}

}  // namespace

void Output::setup(bool json, bool quiet, ColorMode color) {
    json_ = json;
    quiet_ = quiet;
    color_out_ = !json && wants_color(color, STDOUT_FILENO);
    color_error_ = wants_color(color, STDERR_FILENO);
    stderr_terminal_ = is_terminal(STDERR_FILENO);
}

std::string Output::paint(std::string_view text, const char* code) const {
    return color_out_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

std::string Output::paint_error(std::string_view text, const char* code) const {
    return color_error_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

void Output::line(std::string_view text) {
    if (json_) return;
    const std::lock_guard lock(mutex_);
    clear_locked();
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
}

void Output::object(const nlohmann::json& object) {
    if (!json_) return;
    const std::string text = json_text(object);
    const std::lock_guard lock(mutex_);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
    std::fflush(stdout);
}

void Output::note(Severity severity, std::string_view text) {
    const bool loud = severity == Severity::warn || severity == Severity::fail;
    if (quiet_ && !loud) return;
    if (json_) {
        object({{"type", "note"}, {"severity", to_string(severity)}, {"text", text}});
        return;
    }
    std::string mark;
    if (severity == Severity::warn) mark = paint_error("warning: ", "33");
    if (severity == Severity::fail) mark = paint_error("error: ", "1;31");
    const std::lock_guard lock(mutex_);
    clear_locked();
    std::fflush(stdout);
    fmt::print(stderr, "{}{}\n", mark, text);
}

void Output::progress_line(std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (stderr_terminal_) {
        fmt::print(stderr, "\r\x1b[K{}", cut(text, terminal_width() - 1));
        std::fflush(stderr);
        progress_shown_ = true;
    } else {
        fmt::print(stderr, "{}\n", text);
    }
}

void Output::clear_progress() {
    const std::lock_guard lock(mutex_);
    clear_locked();
}

void Output::clear_locked() {
    if (!progress_shown_) return;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    progress_shown_ = false;
}

int Output::error(std::string_view command, const Error& given, std::string_view unchanged) {
    const Error error{given.code, without_passwords(given.message), without_passwords(given.hint)};
    const int code = exit_code_of(error.code);
    if (json_) {
        return result(
            command, code,
            {{"headline", error.message}, {"stands", unchanged}, {"error", to_json(error)}});
    }
    const std::lock_guard lock(mutex_);
    clear_locked();
    std::fflush(stdout);
    fmt::print(stderr, "exodus{}{}: {}\n", command.empty() ? "" : " ", command,
               paint_error(error.message, "1;31"));
    if (!unchanged.empty()) fmt::print(stderr, "  {}\n", unchanged);
    if (!error.hint.empty()) fmt::print(stderr, "  to do: {}\n", error.hint);
    return code;
}

int Output::result(std::string_view command, int exit_code, nlohmann::json fields) {
    if (json_) {
        fields["type"] = "result";
        fields["command"] = command;
        fields["exit_code"] = exit_code;
        fields["ok"] = exit_code == kDone;
        object(fields);
    }
    return exit_code;
}

int Output::finish(int exit_code) {
    clear_progress();
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
    fmt::print(stderr, "exodus: the result could not be written to stdout: {}\n",
               std::strerror(errno));
    return exit_code == kDone ? kCannotCreate : exit_code;
}

std::string printable(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte == '\n') {
            out += "\\n";
            ++i;
        } else if (byte >= 0x20 && byte < 0x7F) {
            out += text[i++];
        } else if (const std::size_t length = byte >= 0x80 ? utf8_length(text.substr(i)) : 0;
                   length != 0) {
            out += text.substr(i, length);
            i += length;
        } else {
            out += fmt::format("\\x{:02x}", byte);
            ++i;
        }
    }
    return out;
}

std::string with_thousands(uint64_t number) {
    std::string digits = fmt::format("{}", number);
    for (std::size_t i = digits.size(); i > 3;) {
        i -= 3;
        digits.insert(i, ",");
    }
    return digits;
}

std::string human_duration(int64_t ms) {
    if (ms < 0) return "-" + human_duration(-ms);
    if (ms < 10'000) return fmt::format("{:.2f} s", static_cast<double>(ms) / 1000);
    if (ms < 120'000) return fmt::format("{} s", ms / 1000);
    const int64_t minutes = ms / 60'000;
    if (minutes < 120) return fmt::format("{} min", minutes);
    if (minutes < 48 * 60) return fmt::format("{} h {} min", minutes / 60, minutes % 60);
    return fmt::format("{} d {} h", minutes / 1440, minutes / 60 % 24);
}

nlohmann::json to_json(const Error& error) {
    return {{"code", to_string(error.code)}, {"message", error.message}, {"hint", error.hint}};
}

nlohmann::json to_json(const Finding& finding) {
    return {{"id", finding.id},
            {"severity", to_string(finding.severity)},
            {"subject", finding.subject},
            {"text", finding.text},
            {"hint", finding.hint}};
}

}  // namespace exodus::cli
