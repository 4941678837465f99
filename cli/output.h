// The report: everything that reaches stdout and stderr goes through here. stdout is the result,
// stderr is progress and notes; with --json stdout carries one object per line and the last has
// "type":"result". Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "core/finding.h"

namespace exodus::cli {

enum class ColorMode { automatic, always, never };

class Output {
  public:
    void setup(bool json, bool quiet, ColorMode color);

    [[nodiscard]] bool json() const { return json_; }
    [[nodiscard]] bool quiet() const { return quiet_; }
    [[nodiscard]] bool terminal() const { return stderr_terminal_; }

    /// Text of the result on stdout; nothing with --json.
    void line(std::string_view text = {});
    /// One JSON object on stdout; nothing without --json.
    void object(const nlohmann::json& object);
    /// A line of its own on stderr (with --json an object of type "note" on stdout). Kept with
    /// --quiet when it is a warning.
    void note(Severity severity, std::string_view text);
    /// The progress line: redrawn in place on a terminal; an ordinary line elsewhere.
    void progress_line(std::string_view text);
    void clear_progress();

    /// The result of a command that failed before it had more to say. Returns the exit code.
    int error(std::string_view command, const Error& error,
              std::string_view unchanged = "nothing was changed");
    /// Ends a --json conversation: adds type, command, exit_code and ok. Returns the exit code.
    int result(std::string_view command, int exit_code,
               nlohmann::json fields = nlohmann::json::object());

    /// Flushes stdout; a full disk or closed pipe must not look like success.
    int finish(int exit_code);

    [[nodiscard]] std::string bold(std::string_view text) const { return paint(text, "1"); }
    [[nodiscard]] std::string good(std::string_view text) const { return paint(text, "32"); }
    [[nodiscard]] std::string warn(std::string_view text) const { return paint(text, "33"); }
    [[nodiscard]] std::string bad(std::string_view text) const { return paint(text, "1;31"); }
    [[nodiscard]] std::string dim(std::string_view text) const { return paint(text, "2"); }

  private:
    [[nodiscard]] std::string paint(std::string_view text, const char* code) const;
    [[nodiscard]] std::string paint_error(std::string_view text, const char* code) const;
    void clear_locked();

    std::mutex mutex_;
    bool json_ = false;
    bool quiet_ = false;
    bool color_out_ = false;
    bool color_error_ = false;
    bool stderr_terminal_ = false;
    bool progress_shown_ = false;
};

/// Bytes that a terminal could obey (control characters, invalid UTF-8) become visible escapes.
std::string printable(std::string_view text);
std::string with_thousands(uint64_t number);  ///< 1,284,019
std::string human_duration(int64_t ms);       ///< "0.08 s", "12 s", "4 min", "3 h 12 min"
nlohmann::json to_json(const Error& error);
nlohmann::json to_json(const Finding& finding);

}  // namespace exodus::cli
