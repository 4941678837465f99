#include "workflow/base64.h"

#include <array>
#include <cstdint>

namespace exodus {

namespace {
constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> make_reverse() {
    std::array<int8_t, 256> table{};
    for (auto& entry : table) entry = -1;
    for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
        table[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
    }
    return table;
}
constexpr auto kReverse = make_reverse();

uint32_t byte_at(std::string_view bytes, std::size_t index) {
    return index < bytes.size() ? static_cast<unsigned char>(bytes[index]) : 0U;
}
}  // namespace

std::string base64_encode(std::string_view bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const uint32_t group =
            byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8 | byte_at(bytes, i + 2);
        out += kAlphabet[group >> 18];
        out += kAlphabet[group >> 12 & 63];
        out += i + 1 < bytes.size() ? kAlphabet[group >> 6 & 63] : '=';
        out += i + 2 < bytes.size() ? kAlphabet[group & 63] : '=';
    }
    return out;
}

Result<std::string> base64_decode(std::string_view text) {
    if (text.size() % 4 != 0) return fail(ErrorCode::data, "base64 text has a wrong length");
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') {
        ++padding;
    }
    std::string out;
    out.reserve(text.size() / 4 * 3);
    const std::size_t digits = text.size() - padding;
    for (std::size_t i = 0; i < text.size(); i += 4) {
        uint32_t group = 0;
        for (std::size_t j = i; j < i + 4; ++j) {
            const int8_t value =
                j < digits ? kReverse[static_cast<unsigned char>(text[j])] : int8_t{0};
            if (value < 0)
                return fail(ErrorCode::data, "base64 text has a character it cannot have");
            group = group << 6 | static_cast<uint32_t>(value);
        }
        out += static_cast<char>(group >> 16 & 255);
        if (i + 2 < digits) out += static_cast<char>(group >> 8 & 255);
        if (i + 3 < digits) out += static_cast<char>(group & 255);
    }
    return out;
}

}  // namespace exodus
