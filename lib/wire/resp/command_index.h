// A small open-addressing map from upper-cased names to ids, built once and then only read; used by
// the command table.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace exodus::resp {

/// `Slots` is a power of two, more than twice the number of names. Names longer than 32 bytes are
/// never found.
template <std::size_t Slots>
class CommandIndex {
    static_assert(std::has_single_bit(Slots));

  public:
    void put(std::string_view name, uint16_t parent, uint16_t id) {
        Key key;
        EXODUS_ASSERT(fold(name, parent, key));
        std::size_t slot = hash(key) & (Slots - 1);
        while (ids_[slot] != 0) slot = (slot + 1) & (Slots - 1);
        ids_[slot] = id;
        keys_[slot] = key;
    }
    /// 0 when there is none.
    [[nodiscard]] uint16_t find(std::string_view name, uint16_t parent) const {
        Key key;
        if (!fold(name, parent, key)) return 0;
        for (std::size_t slot = hash(key) & (Slots - 1); ids_[slot] != 0;
             slot = (slot + 1) & (Slots - 1)) {
            if (keys_[slot] == key) return ids_[slot];
        }
        return 0;
    }

  private:
    static constexpr std::size_t kWords = 4;
    struct Key {
        std::array<uint64_t, kWords> words{};
        uint32_t size = 0;
        uint32_t parent = 0;
        bool operator==(const Key&) const = default;
    };

    /// Upper case of eight ASCII bytes at once: bit 7 of each byte that is a … z moves to bit 5.
    static uint64_t upper(uint64_t word) {
        constexpr uint64_t kOnes = 0x0101010101010101;
        const uint64_t low = word & (kOnes * 0x7f);
        const uint64_t above_z = low + kOnes * (0x7f - 'z');
        const uint64_t from_a = low + kOnes * (0x80 - 'a');
        return word ^ ((~word & (from_a ^ above_z) & (kOnes * 0x80)) >> 2);
    }
    static bool fold(std::string_view name, uint16_t parent, Key& key) {
        if (name.size() > kWords * 8) return false;
        key.size = static_cast<uint32_t>(name.size());
        key.parent = parent;
        std::size_t i = 0;
        for (std::size_t at = 0; at < name.size(); at += 8, ++i) {
            std::memcpy(&key.words[i], name.data() + at,
                        std::min<std::size_t>(8, name.size() - at));
            key.words[i] = upper(key.words[i]);
        }
        return true;
    }
    static std::size_t hash(const Key& key) {
        uint64_t h = (key.words[0] ^ key.parent) * 0x9e3779b97f4a7c15;
        h = (h ^ (h >> 32) ^ key.words[1] ^ key.size) * 0xff51afd7ed558ccd;
        h = (h ^ (h >> 32) ^ key.words[2] ^ (key.words[3] * 3)) * 0xc4ceb9fe1a85ec53;
        return static_cast<std::size_t>(h >> 40);
    }

    std::array<uint16_t, Slots> ids_{};
    std::array<Key, Slots> keys_{};
};

}  // namespace exodus::resp
