#include "families/redis/canonical.h"

#include <algorithm>
#include <cstdlib>

#include "base/limits.h"
#include "families/redis/value_digest.h"

namespace exodus::redis {

namespace {

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

std::string describe(const KeyState& state) {
    if (!state.present) return "absent";
    return state.type + " " + hex(state.value).substr(0, 16) + " expiry " +
           (state.expire_ms < 0 ? std::string("none") : std::to_string(state.expire_ms));
}

Difference compare_states(const KeyState& authority, const KeyState& other, int64_t now_ms) {
    if (!authority.readable || !other.readable) return Difference::undecided;
    const auto alive = [&](const KeyState& state) {
        return state.present && (state.expire_ms < 0 || state.expire_ms > now_ms);
    };
    if (!alive(authority) && !alive(other)) return Difference::none;
    if (!alive(other)) return Difference::missing;
    if (!alive(authority)) return Difference::extra;
    if (authority.type != other.type) return Difference::type;
    const int64_t tolerance = authority.exact_expiry && other.exact_expiry ? 0 : 2;
    const bool one_has = (authority.expire_ms < 0) != (other.expire_ms < 0);
    if (one_has || std::abs(authority.expire_ms - other.expire_ms) > tolerance)
        return Difference::expiry;
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

Status CanonicalReader::request_typed(int db, Names names, std::span<const std::string> types) {
    EXODUS_TRY(client_.select(db));
    client_.append({"MULTI"});
    for (std::size_t i = 0; i < names.size(); ++i) {
        append_meta(names[i]);
        append_read(client_, types[i], names[i]);
    }
    append_tail();
    return client_.flush();
}

Result<Snapshot> CanonicalReader::take_typed(std::size_t count,
                                             std::span<const std::string> types) {
    return take_exec(count, 3, 1 + 3 * count + 2, types);
}

Result<Snapshot> CanonicalReader::read_typed(int db, Names names,
                                             std::span<const std::string> types) {
    EXODUS_TRY(request_typed(db, names, types));
    return take_typed(names.size(), types);
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
            state.readable = payload.size() > kPayloadFooter_bytes;
            if (state.readable) {
                state.value = xxh3_128(payload.substr(0, payload.size() - kPayloadFooter_bytes));
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
