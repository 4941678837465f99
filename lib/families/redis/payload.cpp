#include "families/redis/payload.h"

#include "base/digest.h"

namespace exodus::redis {

namespace {

constexpr std::size_t kFooter_bytes = 10;

void put_little(std::string& out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xff));
}

uint64_t get_little(std::string_view bytes) {
    uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;)
        value = value << 8 | static_cast<uint8_t>(bytes[i]);
    return value;
}

uint64_t get_big(std::string_view bytes) {
    uint64_t value = 0;
    for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
    return value;
}

/// A length of redis/src/rdb.h, taken off the front: 6 bits, 14 bits, or 4 or 8 bytes.
std::optional<uint64_t> take_length(std::string_view& payload) {
    if (payload.empty()) return std::nullopt;
    const auto first = static_cast<uint8_t>(payload[0]);
    const std::size_t more = first < 0x40 ? 0 : first < 0x80 ? 1 : first == 0x80 ? 4 : 8;
    if (first > 0x81 || payload.size() <= more) return std::nullopt;
    const uint64_t value = more == 0   ? first
                           : more == 1 ? get_big(payload.substr(0, 2)) & 0x3fff
                                       : get_big(payload.substr(1, more));
    payload.remove_prefix(1 + more);
    return value;
}

}  // namespace

std::optional<int> payload_version(std::string_view payload) {
    if (payload.size() < kFooter_bytes) return std::nullopt;
    const uint64_t stored = get_little(payload.substr(payload.size() - 8));
    // CRC 0 means "not computed" to every server version that checks it.
    if (stored != 0 && stored != crc64_jones(payload.substr(0, payload.size() - 8)))
        return std::nullopt;
    return static_cast<int>(get_little(payload.substr(payload.size() - kFooter_bytes, 2)));
}

std::string restamp(std::string_view payload, int version) {
    std::string out(payload.substr(0, payload.size() - kFooter_bytes));
    put_little(out, static_cast<uint64_t>(version), 2);
    put_little(out, crc64_jones(out), 8);
    return out;
}

uint8_t payload_type(std::string_view payload) {
    return payload.empty() ? 0 : static_cast<uint8_t>(payload[0]);
}

std::optional<uint64_t> payload_string_bytes(std::string_view payload) {
    if (payload.size() < 2 || payload_type(payload) != 0) return std::nullopt;
    payload.remove_prefix(1);
    const auto first = static_cast<uint8_t>(payload[0]);
    if (first < 0xc0) return take_length(payload);
    if (first != 0xc3) return first < 0xc3 ? std::optional<uint64_t>(11) : std::nullopt;  // integer
    payload.remove_prefix(1);  // LZF: compressed length, length
    if (!take_length(payload)) return std::nullopt;
    return take_length(payload);
}

LadderLevel ladder_level(uint8_t type, int have, int version) {
    if (have <= version) return LadderLevel::raw;
    const int newest_type = version >= 11 ? 21 : version == 10 ? 19 : version == 9 ? 15 : 14;
    if (type == 6 || type == 7) return LadderLevel::refused;  // module values
    if (type <= newest_type) return LadderLevel::restamped;
    return kind_of_type(type) == ValueKind::other ? LadderLevel::refused : LadderLevel::typed;
}

ValueKind kind_of_type(uint8_t type) {
    switch (type) {  // redis/src/rdb.h of 7.2; 22 is Valkey 9's hash, 24 and 25 are Redis 7.4's
                     // hashes with field expiries
        case 0:
            return ValueKind::string;
        case 1:
        case 10:
        case 14:
        case 18:
            return ValueKind::list;
        case 2:
        case 11:
        case 20:
            return ValueKind::set;
        case 3:
        case 5:
        case 12:
        case 17:
            return ValueKind::zset;
        case 4:
        case 9:
        case 13:
        case 16:
            return ValueKind::hash;
        case 15:
        case 19:
        case 21:
            return ValueKind::stream;
        default:
            return ValueKind::other;
    }
}

ValueKind kind_of_name(std::string_view type) {
    if (type == "string") return ValueKind::string;
    if (type == "list") return ValueKind::list;
    if (type == "set") return ValueKind::set;
    if (type == "zset") return ValueKind::zset;
    if (type == "hash") return ValueKind::hash;
    if (type == "stream") return ValueKind::stream;
    return ValueKind::other;
}

}  // namespace exodus::redis
