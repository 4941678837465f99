#include "base/log.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "base/utf8.h"

namespace exodus {

namespace {

/// "%j": the message as a JSON string body, so that a line stays one valid object.
class JsonMessage : public spdlog::custom_flag_formatter {
  public:
    void format(const spdlog::details::log_msg& message, const std::tm&,
                spdlog::memory_buf_t& out) override {
        const std::string_view text(message.payload.data(), message.payload.size());
        for (std::size_t i = 0; i < text.size();) {
            const auto byte = static_cast<unsigned char>(text[i]);
            std::size_t length = 1;
            if (byte == '"' || byte == '\\') {
                out.push_back('\\');
            } else if (byte < 0x20) {
                fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
                length = 0;
            } else if (byte >= 0x80) {
                length = utf8_length(text.substr(i));
                // What servers say may be no UTF-8, and the line must stay an object.
                if (length == 0) fmt::format_to(std::back_inserter(out), "\\ufffd");
            }
            out.append(text.data() + i, text.data() + i + length);
            i += std::max<std::size_t>(length, 1);
        }
    }
    [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
        return std::make_unique<JsonMessage>();
    }
};

}  // namespace

Status set_log_level(std::string_view level) {
    for (const auto* known : {"error", "warn", "info", "debug", "trace"}) {
        if (level == known) {
            spdlog::set_level(spdlog::level::from_str(std::string(level)));
            return {};
        }
    }
    return fail(ErrorCode::usage, fmt::format("unknown log level '{}'", level),
                "use error, warn, info, debug or trace");
}

Status setup_log(LogFormat format, std::string_view level) {
    auto logger = std::make_shared<spdlog::logger>(
        "exodus", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
    formatter->add_flag<JsonMessage>('j');
    formatter->set_pattern(
        format == LogFormat::json
            ? R"({"type":"log","time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":"%j"})"
            : "%H:%M:%S.%e %-5l %v");
    logger->set_formatter(std::move(formatter));
    logger->flush_on(spdlog::level::warn);
    spdlog::set_default_logger(std::move(logger));
    return set_log_level(level);
}

}  // namespace exodus
