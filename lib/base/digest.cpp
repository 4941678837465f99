#include "base/digest.h"

#include <fmt/format.h>
#include <isa-l/crc64.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/error.h"

// The inline form lets the compiler drop what is not used; hashing 8 to 64 bytes is on the data
// path.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace exodus {

namespace {

std::string to_hex(const unsigned char* bytes, std::size_t size) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text(size * 2, '0');
    for (std::size_t i = 0; i < size; ++i) {
        text[2 * i] = kDigits[bytes[i] >> 4U];
        text[2 * i + 1] = kDigits[bytes[i] & 15U];
    }
    return text;
}

std::string evp_hex(const EVP_MD* algorithm, std::string_view bytes) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EXODUS_ASSERT(EVP_Digest(bytes.data(), bytes.size(), out, &size, algorithm, nullptr) == 1);
    return to_hex(out, size);
}

}  // namespace

uint64_t xxh3_64(std::string_view bytes, uint64_t seed) noexcept {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

uint32_t xxh32(std::string_view bytes) noexcept {
    return XXH32(bytes.empty() ? "" : bytes.data(), bytes.size(), 0);
}

Digest128 xxh3_128(std::string_view bytes) noexcept {
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    return {hash.low64, hash.high64};
}

StreamDigest::StreamDigest() : state_(XXH3_createState()) { reset(); }
StreamDigest::~StreamDigest() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void StreamDigest::reset() { XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_)); }
void StreamDigest::update(std::string_view bytes) {
    XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
Digest128 StreamDigest::value() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_));
    return {hash.low64, hash.high64};
}

uint64_t crc64_jones(std::string_view bytes, uint64_t crc) noexcept {
    // ISA-L inverts the register before and after; Redis does neither.
    return ~crc64_jones_refl(~crc, reinterpret_cast<const unsigned char*>(bytes.data()),
                             bytes.size());
}

std::string sha256_hex(std::string_view bytes) { return evp_hex(EVP_sha256(), bytes); }
std::string sha1_hex(std::string_view bytes) { return evp_hex(EVP_sha1(), bytes); }

std::string hmac_sha256_hex(std::string_view key, std::string_view bytes) {
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EXODUS_ASSERT(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                       reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), out,
                       &size) != nullptr);
    return to_hex(out, size);
}

std::string hex(const Digest128& digest) {
    return fmt::format("{:016x}{:016x}", digest.high, digest.low);
}

std::string random_bytes(std::size_t count) {
    std::string bytes(count, '\0');
    EXODUS_ASSERT(
        RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) == 1);
    return bytes;
}

}  // namespace exodus
