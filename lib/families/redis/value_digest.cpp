#include "families/redis/value_digest.h"

#include <algorithm>
#include <bit>
#include <charconv>

namespace exodus::redis {

namespace {

void update(StreamDigest& digest, std::string_view bytes) {
    const uint64_t size = bytes.size();
    digest.update({reinterpret_cast<const char*>(&size), sizeof size});
    digest.update(bytes);
}

void update(StreamDigest& digest, int64_t value) {
    digest.update({reinterpret_cast<const char*>(&value), sizeof value});
}

/// Sum modulo 2^128: equal for equal multisets in any order.
void add(Digest128& sum, const Digest128& digest) {
    sum.low += digest.low;
    sum.high += digest.high + (sum.low < digest.low ? 1 : 0);
}

Digest128 digest_of_pair(std::string_view field, std::string_view value) {
    StreamDigest digest;
    update(digest, field);
    update(digest, value);
    return digest.value();
}

/// The score's bits: 7.0 prints 17 digits, 8.0 the shortest form, so text cannot be compared. -0 is
/// 0: servers themselves forget its sign when they load or RESTORE a small sorted set.
int64_t score_bits(std::string_view text) {
    double score = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
    if (error != std::errc() || end != text.data() + text.size())
        return std::bit_cast<int64_t>(-1.0);
    return std::bit_cast<int64_t>(score == 0 ? 0.0 : score);
}

}  // namespace

void ValueDigest::list_elements(ReplyView elements) {
    for (std::size_t i = 0; i < elements.size(); ++i) {
        update(ordered_, elements[i].text());
        add(members_, xxh3_128(elements[i].text()));
    }
}

void ValueDigest::set_elements(ReplyView elements) {
    for (std::size_t i = 0; i < elements.size(); ++i) {
        unordered_.push_back(xxh3_128(elements[i].text()));
    }
}

void ValueDigest::hash_elements(ReplyView pairs) {
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
        unordered_.push_back(digest_of_pair(pairs[i].text(), pairs[i + 1].text()));
    }
}

void ValueDigest::zset_elements(ReplyView pairs) {
    for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
        update(ordered_, pairs[i].text());
        update(ordered_, score_bits(pairs[i + 1].text()));
    }
}

void ValueDigest::stream_entries(ReplyView entries) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto fields = entries[i][1];
        update(ordered_, entries[i][0].text());
        update(ordered_, static_cast<int64_t>(fields.size()));
        for (std::size_t f = 0; f < fields.size(); ++f) update(ordered_, fields[f].text());
    }
}

void ValueDigest::stream_last_id(std::string_view id) { update(ordered_, id); }

void ValueDigest::group(std::string_view name, std::string_view last_id) {
    update(groups_, name);
    update(groups_, last_id);
}

void ValueDigest::pending_entries(ReplyView entries) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
        update(groups_, entries[i][0].text());
        update(groups_, entries[i][1].text());
        update(groups_, entries[i][3].integer());
    }
}

void ValueDigest::finish(KeyState& state) {
    // SSCAN and HSCAN may name an element twice while a table is resized.
    std::sort(unordered_.begin(), unordered_.end());
    unordered_.erase(std::unique(unordered_.begin(), unordered_.end()), unordered_.end());
    for (const auto& digest : unordered_) add(members_, digest);
    update(ordered_, static_cast<int64_t>(unordered_.size()));
    state.members = members_;
    state.value = ordered_.value();
    if (type_ == "set" || type_ == "hash") add(state.value, members_);
    state.groups = groups_.value();
    state.typed = true;
    state.present = true;
}

bool digest_whole_reply(std::string_view type, ReplyView reply, KeyState& state) {
    if (reply.is_error() || !reply.valid()) return false;
    ValueDigest digest(type);
    if (type == "string") {
        if (reply.is_nil()) return false;
        digest.string_piece(reply.text());
    } else if (type == "list") {
        digest.list_elements(reply);
    } else if (type == "set") {
        digest.set_elements(reply);
    } else if (type == "hash") {
        digest.hash_elements(reply);
    } else if (type == "zset") {
        digest.zset_elements(reply);
    } else if (type == "stream") {
        digest.stream_entries(reply.field("entries"));
        digest.stream_last_id(reply.field("last-generated-id").text());
        const auto groups = reply.field("groups");
        for (std::size_t i = 0; i < groups.size(); ++i) {
            digest.group(groups[i].field("name").text(),
                         groups[i].field("last-delivered-id").text());
            // "pending" on the servers that exodus was tested with; "pel" in the documentation.
            const auto pending = groups[i].field("pending");
            digest.pending_entries(pending.valid() ? pending : groups[i].field("pel"));
        }
    } else {
        // A module's type: its payload is all there is.
        const auto payload = reply.text();
        if (payload.size() <= kPayloadFooter_bytes) return false;
        digest.string_piece(payload.substr(0, payload.size() - kPayloadFooter_bytes));
    }
    digest.finish(state);
    return true;
}

}  // namespace exodus::redis
