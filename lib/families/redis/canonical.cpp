#include "families/redis/canonical.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>

#include "base/limits.h"

namespace exodus::redis {

namespace {

constexpr std::size_t kFooter_bytes =
    10;  ///< RDB version (2) and CRC-64 (8) at the end of a DUMP payload
constexpr int kBigKeyTries = 3;

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

/// The score's bits: 7.0 prints 17 digits, 8.0 the shortest form, so text cannot be compared.
int64_t score_bits(std::string_view text) {
    double score = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), score);
    if (error != std::errc() || end != text.data() + text.size())
        return std::bit_cast<int64_t>(-1.0);
    return std::bit_cast<int64_t>(score);
}

/// Digest of a value built piece by piece; the same for one reply and for pages.
class ValueDigest {
  public:
    explicit ValueDigest(std::string_view type) : type_(type) {}

    void string_piece(std::string_view bytes) { ordered_.update(bytes); }
    void list_elements(ReplyView elements) {
        for (std::size_t i = 0; i < elements.size(); ++i) {
            update(ordered_, elements[i].text());
            add(members_, xxh3_128(elements[i].text()));
        }
    }
    void set_elements(ReplyView elements) {
        for (std::size_t i = 0; i < elements.size(); ++i) {
            unordered_.push_back(xxh3_128(elements[i].text()));
        }
    }
    void hash_elements(ReplyView pairs) {
        for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
            unordered_.push_back(digest_of_pair(pairs[i].text(), pairs[i + 1].text()));
        }
    }
    void zset_elements(ReplyView pairs) {
        for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
            update(ordered_, pairs[i].text());
            update(ordered_, score_bits(pairs[i + 1].text()));
        }
    }
    void stream_entries(ReplyView entries) {
        for (std::size_t i = 0; i < entries.size(); ++i) {
            const auto fields = entries[i][1];
            update(ordered_, entries[i][0].text());
            update(ordered_, static_cast<int64_t>(fields.size()));
            for (std::size_t f = 0; f < fields.size(); ++f) update(ordered_, fields[f].text());
        }
    }
    void stream_last_id(std::string_view id) { update(ordered_, id); }
    void group(std::string_view name, std::string_view last_id) {
        update(groups_, name);
        update(groups_, last_id);
    }
    /// [id, consumer, time or idle, deliveries] of XINFO STREAM FULL and of XPENDING.
    void pending_entries(ReplyView entries) {
        for (std::size_t i = 0; i < entries.size(); ++i) {
            update(groups_, entries[i][0].text());
            update(groups_, entries[i][1].text());
            update(groups_, entries[i][3].integer());
        }
    }

    void finish(KeyState& state) {
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

  private:
    std::string type_;
    StreamDigest ordered_;
    StreamDigest groups_;
    Digest128 members_;
    std::vector<Digest128> unordered_;
};

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
        if (payload.size() <= kFooter_bytes) return false;
        digest.string_piece(payload.substr(0, payload.size() - kFooter_bytes));
    }
    digest.finish(state);
    return true;
}

/// The command that reads a whole value of this type.
void append_read(Client& client, std::string_view type, std::string_view name) {
    if (type == "string") {
        client.append({"GET", name});
    } else if (type == "list") {
        client.append({"LRANGE", name, "0", "-1"});
    } else if (type == "set") {
        client.append({"SMEMBERS", name});
    } else if (type == "hash") {
        client.append({"HGETALL", name});
    } else if (type == "zset") {
        client.append({"ZRANGE", name, "0", "-1", "WITHSCORES"});
    } else if (type == "stream") {
        client.append({"XINFO", "STREAM", name, "FULL", "COUNT", "0"});
    } else {
        client.append({"DUMP", name});
    }
}

}  // namespace

std::string_view to_string(Difference difference) {
    switch (difference) {
        case Difference::none:
            return "none";
        case Difference::undecided:
            return "undecided";
        case Difference::missing:
            return "missing";
        case Difference::extra:
            return "extra";
        case Difference::type:
            return "type";
        case Difference::expiry:
            return "expiry";
        case Difference::value:
            return "value";
        case Difference::order:
            return "order";
        case Difference::groups:
            return "groups";
    }
    return "undecided";
}

Difference compare_states(const KeyState& authority, const KeyState& other, int64_t now_ms,
                          const CompareRules& rules) {
    if (!authority.readable || !other.readable) return Difference::undecided;
    const auto alive = [&](const KeyState& state) {
        return state.present && (state.expire_ms < 0 || state.expire_ms > now_ms);
    };
    if (!alive(authority) && !alive(other)) return Difference::none;
    if (!alive(other)) {
        // With expiries left out, a key that dies on one side only is still a difference; but not
        // one of the data.
        return !rules.expiry && other.present ? Difference::none : Difference::missing;
    }
    if (!alive(authority)) {
        return !rules.expiry && authority.present ? Difference::none : Difference::extra;
    }
    if (authority.type != other.type) return Difference::type;
    if (rules.expiry) {
        const int64_t tolerance = authority.exact_expiry && other.exact_expiry ? 0 : 2;
        const bool one_has = (authority.expire_ms < 0) != (other.expire_ms < 0);
        if (one_has || std::abs(authority.expire_ms - other.expire_ms) > tolerance) {
            return Difference::expiry;
        }
    }
    if (authority.typed != other.typed) return Difference::undecided;
    if (authority.value == other.value) {
        return authority.groups == other.groups ? Difference::none : Difference::groups;
    }
    if (!authority.typed) return Difference::undecided;
    if (authority.type == "list" && authority.members == other.members) return Difference::order;
    return Difference::value;
}

void CanonicalReader::append_meta(std::string_view name) {
    client_.append({"TYPE", name});
    client_.append({exact_ ? std::string_view("PEXPIRETIME") : std::string_view("PTTL"), name});
}

void CanonicalReader::append_tail() {
    client_.append({"TIME"});
    client_.append({"INFO", "replication"});
    client_.append({"EXEC"});
}

Status CanonicalReader::request_payloads(int db, Names names) {
    EXODUS_TRY(client_.select(db));
    client_.append({"MULTI"});
    for (const auto name : names) {
        append_meta(name);
        client_.append({"DUMP", name});
    }
    append_tail();
    return client_.flush();
}

Result<Snapshot> CanonicalReader::take_payloads(std::size_t count) {
    return take_exec(count, 3, 1 + 3 * count + 2, {});
}

Result<Snapshot> CanonicalReader::read_typed(int db, Names names,
                                             std::span<const std::string> types) {
    EXODUS_TRY(client_.select(db));
    client_.append({"MULTI"});
    for (std::size_t i = 0; i < names.size(); ++i) {
        append_meta(names[i]);
        append_read(client_, types[i], names[i]);
    }
    append_tail();
    EXODUS_TRY(client_.flush());
    return take_exec(names.size(), 3, 1 + 3 * names.size() + 2, types);
}

Result<Snapshot> CanonicalReader::take_exec(std::size_t count, std::size_t commands_per_key,
                                            std::size_t queued,
                                            std::span<const std::string> types) {
    std::string refused;
    for (std::size_t i = 0; i < queued; ++i) {
        auto reply = client_.read_reply();
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (reply->is_error() && refused.empty()) refused = reply->text();
    }
    auto exec = client_.read_reply();
    if (!exec) return tl::unexpected<Error>(std::move(exec).error());
    if (exec->is_error()) {
        auto error = error_of(*exec, "reading keys");
        if (!refused.empty()) error.message = "reading keys: " + refused;
        if (refused.starts_with("NOPERM")) error.code = ErrorCode::permission;
        return tl::unexpected<Error>(std::move(error));
    }
    Snapshot snapshot;
    if (exec->is_nil()) {
        snapshot.touched = true;
        return snapshot;
    }
    const std::size_t tail = count * commands_per_key;
    if (exec->size() != tail + 2) {
        return fail(ErrorCode::protocol, "a transaction has an unexpected number of replies");
    }
    const auto time = (*exec)[tail];
    snapshot.time_ms = time[0].integer() * 1000 + time[1].integer() / 1000;
    snapshot.position = StreamPosition::of(Info::parse((*exec)[tail + 1].text()));
    snapshot.states.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
        auto& state = snapshot.states[i];
        const auto expiry = (*exec)[i * commands_per_key + 1].integer();
        const auto value = (*exec)[i * commands_per_key + 2];
        state.type = (*exec)[i * commands_per_key].text();
        state.present = state.type != "none";
        state.exact_expiry = exact_;
        if (!state.present) continue;
        state.expire_ms = expiry < 0 ? -1 : exact_ ? expiry : snapshot.time_ms + expiry;
        if (types.empty()) {
            const auto payload = value.text();
            state.readable = payload.size() > kFooter_bytes;
            if (state.readable) {
                state.value = xxh3_128(payload.substr(0, payload.size() - kFooter_bytes));
            }
        } else {
            state.readable = state.type == types[i] && digest_whole_reply(state.type, value, state);
        }
    }
    return snapshot;
}

Result<std::vector<uint64_t>> CanonicalReader::sizes(int db, Names names) {
    EXODUS_TRY(client_.select(db));
    for (const auto name : names) client_.append({"MEMORY", "USAGE", name, "SAMPLES", "5"});
    std::vector<uint64_t> sizes;
    if (names.empty()) return sizes;
    auto replies = client_.read_all(names.size());
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    for (const auto& reply : *replies) {
        if (error_word(reply) == "NOPERM") return tl::unexpected<Error>(error_of(reply, "MEMORY"));
        sizes.push_back(static_cast<uint64_t>(std::max<int64_t>(0, reply.integer())));
    }
    return sizes;
}

Status CanonicalReader::watch(int db, Names names) {
    EXODUS_TRY(client_.select(db));
    std::vector<std::string_view> args{"WATCH"};
    args.insert(args.end(), names.begin(), names.end());
    auto reply = client_.ask(Client::ArgSpan(args));
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    return {};
}

Status CanonicalReader::unwatch() {
    auto reply = client_.ask({"UNWATCH"});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    return {};
}

Result<bool> CanonicalReader::read_pages(std::string_view name, KeyState& state) {
    const std::string page = std::to_string(limits::kCanonicalPage_elements);
    const auto page_size = static_cast<std::size_t>(limits::kCanonicalPage_elements);
    ValueDigest digest(state.type);
    const auto scan = [&](std::string_view command, bool pairs) -> Result<bool> {
        std::string cursor = "0";
        do {
            auto reply = client_.command({command, name, cursor, "COUNT", page});
            if (!reply) return tl::unexpected<Error>(std::move(reply).error());
            if (reply->is_error()) return false;
            cursor = (*reply)[0].text();
            if (pairs) digest.hash_elements((*reply)[1]);
            if (!pairs) digest.set_elements((*reply)[1]);
        } while (cursor != "0");
        return true;
    };
    const auto ranges = [&](auto ask, auto use) -> Result<bool> {
        for (std::size_t at = 0;; at += page_size) {
            Result<Reply> reply = ask(at);
            if (!reply) return tl::unexpected<Error>(std::move(reply).error());
            if (reply->is_error()) return false;
            if (!use(*reply)) return true;
        }
    };
    const auto by_index = [&](std::string_view command, bool scores) {
        return ranges(
            [&](std::size_t at) {
                std::vector<std::string> args{std::string(command), std::string(name),
                                              std::to_string(at),
                                              std::to_string(at + page_size - 1)};
                if (scores) args.emplace_back("WITHSCORES");
                return client_.command(args);
            },
            [&](const Reply& reply) {
                if (scores) digest.zset_elements(reply);
                if (!scores) digest.list_elements(reply);
                return reply.size() > 0;
            });
    };
    Result<bool> done = true;
    if (state.type == "string") {
        for (std::size_t at = 0;; at += limits::kCanonicalPiece_bytes) {
            auto reply = client_.command({"GETRANGE", name, std::to_string(at),
                                          std::to_string(at + limits::kCanonicalPiece_bytes - 1)});
            if (!reply) return tl::unexpected<Error>(std::move(reply).error());
            if (reply->is_error()) return false;
            digest.string_piece(reply->text());
            if (reply->text().size() < limits::kCanonicalPiece_bytes) break;
        }
    } else if (state.type == "list") {
        done = by_index("LRANGE", false);
    } else if (state.type == "zset") {
        done = by_index("ZRANGE", true);
    } else if (state.type == "set") {
        done = scan("SSCAN", false);
    } else if (state.type == "hash") {
        done = scan("HSCAN", true);
    } else if (state.type == "stream") {
        std::string from = "-";
        done = ranges(
            [&](std::size_t) {
                return client_.command({"XRANGE", name, from, "+", "COUNT", page});
            },
            [&](const Reply& reply) {
                digest.stream_entries(reply);
                if (reply.size() > 0) from = "(" + std::string(reply[reply.size() - 1][0].text());
                return reply.size() == page_size;
            });
        auto stream = client_.command({"XINFO", "STREAM", name});
        if (!stream) return tl::unexpected<Error>(std::move(stream).error());
        digest.stream_last_id(stream->field("last-generated-id").text());
        auto groups = client_.command({"XINFO", "GROUPS", name});
        if (!groups) return tl::unexpected<Error>(std::move(groups).error());
        for (std::size_t i = 0; done && *done && i < groups->size(); ++i) {
            const auto group = (*groups)[i].field("name").text();
            digest.group(group, (*groups)[i].field("last-delivered-id").text());
            std::string start = "-";
            done = ranges(
                [&](std::size_t) {
                    return client_.command({"XPENDING", name, group, start, "+", page});
                },
                [&](const Reply& reply) {
                    digest.pending_entries(reply);
                    if (reply.size() > 0) {
                        start = "(" + std::string(reply[reply.size() - 1][0].text());
                    }
                    return reply.size() == page_size;
                });
        }
    } else {
        auto reply = client_.command({"DUMP", name});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        return digest_whole_reply(state.type, *reply, state);
    }
    if (!done || !*done) return done;
    digest.finish(state);
    return true;
}

Result<Snapshot> CanonicalReader::read_big(int db, std::string_view name) {
    EXODUS_TRY(client_.select(db));
    Snapshot snapshot;
    for (int attempt = 0; attempt < kBigKeyTries; ++attempt) {
        EXODUS_TRY(watch(db, {&name, 1}));
        auto type = client_.ask({"TYPE", name});
        if (!type) return tl::unexpected<Error>(std::move(type).error());
        KeyState state;
        state.type = type->text();
        bool complete = true;
        if (state.type != "none") {
            auto pages = read_pages(name, state);
            if (!pages) return tl::unexpected<Error>(std::move(pages).error());
            complete = *pages;
        }
        // The pages are one state of the key if it was not written until this EXEC, whose INFO says
        // where that was.
        client_.append({"MULTI"});
        append_meta(name);
        client_.append({"EXISTS", name});
        append_tail();
        EXODUS_TRY(client_.flush());
        auto taken = take_exec(1, 3, 6, std::span<const std::string>(&state.type, 1));
        if (!taken) return tl::unexpected<Error>(std::move(taken).error());
        if (taken->touched || !complete) continue;
        auto& meta = taken->states[0];
        state.present = meta.present;
        state.expire_ms = meta.expire_ms;
        state.exact_expiry = exact_;
        taken->states[0] = std::move(state);
        return taken;
    }
    KeyState state;
    state.readable = false;
    snapshot.states.push_back(std::move(state));
    return snapshot;
}

Result<Snapshot> CanonicalReader::read_values(int db, Names names) {
    EXODUS_TRY(client_.select(db));
    for (const auto name : names) client_.append({"TYPE", name});
    auto types = client_.read_all(names.size());
    if (!types) return tl::unexpected<Error>(std::move(types).error());
    std::vector<std::string> words;
    for (const auto& type : *types) words.emplace_back(type.text());
    return read_typed(db, names, words);
}

}  // namespace exodus::redis
