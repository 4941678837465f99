// DUMP payloads as bytes: type, version footer, CRC-64, re-stamping for an older server, and the
// step of the version ladder that a payload needs (redis.md 4.9). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace exodus::redis {

/// RDB version of the footer (redis/src/cluster.c, verifyDumpPayload: 2 bytes version, 8 bytes
/// CRC-64, little endian); nothing when the payload is too short or its CRC-64 is wrong.
std::optional<int> payload_version(std::string_view payload);

/// The same payload with another version and the CRC-64 that fits.
std::string restamp(std::string_view payload, int version);

/// RDB type byte; 0 for an empty payload.
uint8_t payload_type(std::string_view payload);

/// Bytes of the string in it; nothing for other types, and for a payload that ends too early.
std::optional<uint64_t> payload_string_bytes(std::string_view payload);

enum class LadderLevel : uint8_t {
    raw,        ///< as it is
    restamped,  ///< the type is known there, only the version is too new
    typed,      ///< rewritten by commands
    refused,    ///< module types and encodings that cannot be rewritten here
};

/// What a server that writes `version` payloads can load. Types by RDB version: up to 19 in 10
/// (redis 7.0), 21 in 11.
LadderLevel ladder_level(uint8_t type, int payload_version, int version);

/// What a typed rewrite reads.
enum class ValueKind : uint8_t { string, list, set, zset, hash, stream, other };
ValueKind kind_of_type(uint8_t type);
/// Of TYPE's answer.
ValueKind kind_of_name(std::string_view type);

}  // namespace exodus::redis
