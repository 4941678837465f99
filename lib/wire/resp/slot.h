// Cluster slot of a key: CRC16/XMODEM modulo 16384 over the key or its hash tag (Redis cluster
// specification, "Hash tags").
#pragma once

#include <cstdint>
#include <string_view>

namespace exodus::resp {

inline constexpr uint16_t kSlots = 16384;

/// "123456789" is 0x31c3.
uint16_t crc16(std::string_view bytes) noexcept;
uint16_t key_slot(std::string_view key) noexcept;

}  // namespace exodus::resp
