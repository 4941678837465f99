#include "families/redis/journal_text.h"

#include <charconv>

#include "base/digest.h"
#include "base/limits.h"

namespace exodus::redis {

Status save_text(Journal& journal, std::string_view direction, const std::string& name,
                 std::string_view text) {
    const std::size_t piece = limits::kJournalValue_bytes;
    std::vector<std::string> names;
    for (std::size_t at = 0; at < text.size(); at += piece)
        names.push_back(name + ":" + std::to_string(names.size()));
    std::vector<std::pair<std::string_view, std::string>> rows;
    for (std::size_t i = 0; i < names.size(); ++i)
        rows.emplace_back(names[i], text.substr(i * piece, piece));
    rows.emplace_back(name, std::to_string(names.size()) + " " + hex(xxh3_128(text)));
    return journal.save_positions(direction, rows);
}

Result<std::optional<std::string>> load_text(Journal& journal, std::string_view direction,
                                             const std::string& name) {
    auto head = journal.load_position(direction, name);
    if (!head) return tl::unexpected<Error>(std::move(head).error());
    if (!*head) return std::optional<std::string>();
    const std::string& line = **head;
    std::size_t count = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), count);
    if (error != std::errc()) return fail(ErrorCode::data, "stored text " + name + " is damaged");
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        auto piece = journal.load_position(direction, name + ":" + std::to_string(i));
        if (!piece) return tl::unexpected<Error>(std::move(piece).error());
        if (!*piece) return fail(ErrorCode::data, "stored text " + name + " is incomplete");
        text += **piece;
    }
    if (std::string_view(end, static_cast<std::size_t>(line.data() + line.size() - end)) !=
        " " + hex(xxh3_128(text))) {
        return fail(ErrorCode::data, "stored text " + name + " is a mix of two versions");
    }
    return std::optional<std::string>(std::move(text));
}

std::string to_hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

std::string from_hex(std::string_view text) {
    const auto value = [](char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; };
    std::string bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        bytes += static_cast<char>(value(text[i]) * 16 + value(text[i + 1]));
    }
    return bytes;
}

}  // namespace exodus::redis
