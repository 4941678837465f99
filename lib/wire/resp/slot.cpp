// CRC16/XMODEM (polynomial 0x1021, init 0) with a table made at compile time.
#include "wire/resp/slot.h"

#include <array>

namespace exodus::resp {

namespace {

constexpr std::array<uint16_t, 256> make_table() {
    std::array<uint16_t, 256> table{};
    for (unsigned byte = 0; byte < 256; ++byte) {
        unsigned crc = byte << 8;
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc & 0x8000U) != 0 ? (crc << 1) ^ 0x1021U : crc << 1;
        table[byte] = static_cast<uint16_t>(crc);
    }
    return table;
}

constexpr auto kTable = make_table();

}  // namespace

uint16_t crc16(std::string_view bytes) noexcept {
    uint16_t crc = 0;
    for (const char c : bytes) {
        crc = static_cast<uint16_t>((crc << 8) ^
                                    kTable[(crc >> 8 ^ static_cast<unsigned char>(c)) & 0xff]);
    }
    return crc;
}

uint16_t key_slot(std::string_view key) noexcept {
    // Only the first '{' counts, and only when a '}' follows with something in between.
    if (const std::size_t open = key.find('{'); open != std::string_view::npos) {
        const std::size_t close = key.find('}', open + 1);
        if (close != std::string_view::npos && close != open + 1)
            key = key.substr(open + 1, close - open - 1);
    }
    return crc16(key) & (kSlots - 1);
}

}  // namespace exodus::resp
