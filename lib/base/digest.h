// Digests: fast 64/128-bit hashes for comparing replies and keys (XXH3), SHA-256 for configuration
// fingerprints, SHA-1 because Redis names scripts by it, HMAC for identities, CRC-64 (Jones)
// because DUMP payloads end with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace exodus {

struct Digest128 {
    uint64_t low = 0;
    uint64_t high = 0;
    bool operator==(const Digest128&) const = default;
    auto operator<=>(const Digest128&) const = default;
};

uint64_t xxh3_64(std::string_view bytes, uint64_t seed = 0) noexcept;
uint32_t xxh32(std::string_view bytes) noexcept;
Digest128 xxh3_128(std::string_view bytes) noexcept;

/// XXH3-128 over pieces that are never together in memory.
class StreamDigest {
  public:
    StreamDigest();
    ~StreamDigest();
    StreamDigest(const StreamDigest&) = delete;
    StreamDigest& operator=(const StreamDigest&) = delete;
    void reset();
    void update(std::string_view bytes);
    [[nodiscard]] Digest128 value() const;

  private:
    void* state_;
};

/// CRC-64/Jones (reflected, polynomial 0xad93d23594c935a9, init 0, no final xor) as
/// redis/src/crc64.c computes it: of "123456789" it is 0xe9c6d914c4b8d9ca.
uint64_t crc64_jones(std::string_view bytes, uint64_t crc = 0) noexcept;

/// Lower-case hexadecimal.
std::string sha256_hex(std::string_view bytes);
std::string sha1_hex(std::string_view bytes);
std::string hmac_sha256_hex(std::string_view key, std::string_view bytes);
std::string hex(const Digest128& digest);

/// `count` bytes from the system's random source.
std::string random_bytes(std::size_t count);

}  // namespace exodus
