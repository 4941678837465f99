#include "families/redis/newer.h"

#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <optional>

namespace exodus::redis {

namespace {

using Who = NewerVerdict::Who;

NewerVerdict undecidable(std::string reason) { return {Who::undecidable, std::move(reason)}; }

template <class Value>
NewerVerdict greater(std::string_view what, const Value& source, const Value& target,
                     std::string_view source_text, std::string_view target_text) {
    if (source == target)
        return undecidable(fmt::format("{} is {} on both sides", what, source_text));
    const bool source_wins = source > target;
    return {source_wins ? Who::source : Who::target,
            fmt::format("{} {} on the source, {} on the target", what, source_text, target_text)};
}

std::optional<double> number_of(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
        return std::nullopt;
    return value;
}

std::optional<std::pair<uint64_t, uint64_t>> id_of(std::string_view text) {
    std::pair<uint64_t, uint64_t> id;
    const char* end = text.data() + text.size();
    const auto ms = std::from_chars(text.data(), end, id.first);
    if (ms.ec != std::errc() || ms.ptr == end || *ms.ptr != '-') return std::nullopt;
    const auto sequence = std::from_chars(ms.ptr + 1, end, id.second);
    if (sequence.ec != std::errc() || sequence.ptr != end) return std::nullopt;
    return id;
}

Result<NewerVerdict> by_stream_id(std::string_view name, Client& source, Client& target) {
    auto left = source.command({"XINFO", "STREAM", name});
    if (!left) return tl::unexpected<Error>(std::move(left).error());
    auto right = target.command({"XINFO", "STREAM", name});
    if (!right) return tl::unexpected<Error>(std::move(right).error());
    const std::string source_text(left->field("last-generated-id").text());
    const std::string target_text(right->field("last-generated-id").text());
    const auto source_id = id_of(source_text);
    const auto target_id = id_of(target_text);
    if (!source_id || !target_id) return undecidable("not a stream on both sides");
    return greater("last id", *source_id, *target_id, source_text, target_text);
}

Result<NewerVerdict> by_field(std::string_view field, std::string_view name, Client& source,
                              Client& target) {
    auto left = source.command({"HGET", name, field});
    if (!left) return tl::unexpected<Error>(std::move(left).error());
    auto right = target.command({"HGET", name, field});
    if (!right) return tl::unexpected<Error>(std::move(right).error());
    const auto readable = [](const Reply& reply) { return !reply.is_error() && !reply.is_nil(); };
    if (!readable(*left) || !readable(*right))
        return undecidable(fmt::format("no field {} on both sides", field));
    const auto source_value = number_of(left->text());
    const auto target_value = number_of(right->text());
    if (!source_value || !target_value)
        return undecidable(fmt::format("field {} is not a number on both sides", field));
    return greater(fmt::format("field {}", field), *source_value, *target_value, left->text(),
                   right->text());
}

}  // namespace

Result<NewerVerdict> decide_newer(const std::string& newer_by, std::string_view name,
                                  Client& source, const KeyState& source_state, Client& target,
                                  const KeyState& target_state) {
    if (newer_by == "expiry") {
        if (source_state.expire_ms < 0 || target_state.expire_ms < 0)
            return undecidable("no expiry on both sides");
        return greater("expiry", source_state.expire_ms, target_state.expire_ms,
                       std::to_string(source_state.expire_ms),
                       std::to_string(target_state.expire_ms));
    }
    if (newer_by == "stream_id") return by_stream_id(name, source, target);
    return by_field(std::string_view(newer_by).substr(std::string_view("field:").size()), name,
                    source, target);
}

}  // namespace exodus::redis
