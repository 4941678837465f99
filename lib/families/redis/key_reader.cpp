#include "families/redis/key_reader.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "families/redis/payload.h"
#include "families/redis/typed_copy.h"

namespace exodus::redis {

namespace {

std::string_view info_field(std::string_view info, std::string_view name) {
    const auto at = info.find(name);
    if (at == std::string_view::npos) return {};
    const auto from = at + name.size();
    return info.substr(from, info.find('\r', from) - from);
}

/// A string as GETRANGE told it, whole.
CopyItem string_item(const Key& key, std::string_view value, int64_t expiry_ms, uint64_t at) {
    CopyItem item;
    item.key = key;
    item.at = at;
    item.expires = expiry_ms >= 0;
    item.bytes.reserve(value.size() + key.name.size() + 96);
    if (item.expires)
        append_command(item.bytes, {"SET", key.name, value, "PXAT",
                                    std::to_string(std::max<int64_t>(expiry_ms, 1))});
    else
        append_command(item.bytes, {"SET", key.name, value});
    item.commands = 1;
    return item;
}

CopyItem absent_item(const Key& key, uint64_t at) {
    CopyItem item;
    item.key = key;
    item.at = at;
    item.absent = true;
    append_command(item.bytes, {"DEL", key.name});
    item.commands = 1;
    return item;
}

/// What GETRANGE told is the whole value. It answers an absent key as it does an empty string: only
/// the expiry tells them apart.
bool is_short_string(ReplyView value, ChunkRead how) {
    return value.type() == ReplyType::string && value.text().size() <= kShortString_bytes &&
           (how.expiries || !value.text().empty());
}

CopyItem refused_item(const Key& key, uint64_t at, std::string reason) {
    CopyItem item;
    item.key = key;
    item.at = at;
    item.unreadable = true;
    item.reason = std::move(reason);
    return item;
}

}  // namespace

Result<uint64_t> offset_of_info(std::string_view info, std::string_view replid) {
    const auto offset = to_number(info_field(info, "\nmaster_repl_offset:"));
    if (!offset) return fail(ErrorCode::protocol, "INFO replication without master_repl_offset");
    if (info_field(info, "\nmaster_replid:") != replid) {
        return fail(ErrorCode::gap, "the origin's replication id is not the one that is followed");
    }
    return static_cast<uint64_t>(*offset);
}

bool expiries_in_info(std::string_view info, int db) {
    if (info.find("# Keyspace") == std::string_view::npos) return true;
    const auto line = info_field(info, fmt::format("\ndb{}:", db));
    if (line.empty()) return false;  // it has no keys
    const auto at = line.find("expires=");
    if (at == std::string_view::npos) return true;
    const auto count = line.substr(at + 8, line.find(',', at) - at - 8);
    return to_number(count) != 0;
}

Result<int> rdb_version_of(Client& client) {
    auto reply = client.command({"FUNCTION", "DUMP"});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    if (!reply->is_error()) {
        if (const auto version = payload_version(reply->text())) return *version;
    }
    auto version = client.server_version();
    if (!version) return tl::unexpected<Error>(std::move(version).error());
    return version->at_least(7, 2) ? 11 : version->at_least(7, 0) ? 10 : 9;
}

Result<DestinationFormat> DestinationFormat::of(Client& destination) {
    DestinationFormat format;
    auto version = rdb_version_of(destination);
    if (!version) return tl::unexpected<Error>(std::move(version).error());
    format.rdb_version = *version;
    // Where CONFIG is not allowed, the servers' own default.
    const auto bulk = destination.config_get("proto-max-bulk-len");
    if (!bulk && bulk.error().code != ErrorCode::permission) return tl::unexpected(bulk.error());
    if (bulk && *bulk) {
        if (const auto bytes = to_number(**bulk); bytes && *bytes > 0)
            format.bulk_bytes_max = static_cast<uint64_t>(*bytes);
    }
    return format;
}

void KeyReader::send(Client& origin, int db, const std::vector<Key>& keys, ChunkRead how) {
    const std::string last = std::to_string(kShortString_bytes);  // one more than is taken
    std::string bytes;
    append_command(bytes, {"MULTI"});
    append_command(bytes, {"SELECT", std::to_string(db)});
    for (const auto& key : keys) {
        if (how.strings)
            append_command(bytes, {"GETRANGE", key.name, "0", last});
        else
            append_command(bytes, {"DUMP", key.name});
        if (how.expiries) append_command(bytes, {"PEXPIRETIME", key.name});
    }
    append_command(bytes, {"INFO", "replication", "keyspace"});
    append_command(bytes, {"EXEC"});
    origin.append_raw(bytes, (how.expiries ? 2 : 1) * keys.size() + 4);
}

Result<Chunk> KeyReader::receive(Client& origin, const std::vector<Key>& keys,
                                 std::string_view replid, ChunkRead how) {
    const std::size_t each = how.expiries ? 2 : 1;
    const auto odd = origin.read_queued(each * keys.size() + 3);  // MULTI's OK is one
    if (!odd) return tl::unexpected<Error>(odd.error());
    auto exec = origin.read_reply();
    if (!exec) return tl::unexpected<Error>(std::move(exec).error());
    for (const Reply& reply : *odd) {
        if (reply.is_error())
            return tl::unexpected<Error>(error_of(reply, "reading keys of the origin"));
    }
    if (exec->is_error())
        return tl::unexpected<Error>(error_of(*exec, "reading keys of the origin"));
    if (exec->size() != each * keys.size() + 2)
        return fail(ErrorCode::protocol, "EXEC answered another number of replies");
    const auto info = (*exec)[each * keys.size() + 1].text();
    const auto at = offset_of_info(info, replid);
    if (!at) return tl::unexpected<Error>(at.error());
    Chunk chunk;
    chunk.items.reserve(keys.size());
    chunk.expiries = !keys.empty() && expiries_in_info(info, keys.front().db);
    // Which of the keys has an expiry then is not known.
    const bool unproven = chunk.expiries && !how.expiries;
    std::vector<std::pair<std::size_t, uint8_t>> typed;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const ReplyView value = (*exec)[1 + each * i];
        const int64_t expiry_ms = how.expiries ? (*exec)[2 + each * i].integer() : -1;
        if (how.strings && expiry_ms == -2) {
            chunk.items.push_back(absent_item(keys[i], *at));
        } else if (unproven || (how.strings && !is_short_string(value, how))) {
            chunk.rest.push_back(keys[i]);
        } else if (how.strings) {
            chunk.items.push_back(string_item(keys[i], value.text(), expiry_ms, *at));
            ++chunk.strings;
        } else {
            add_dumped(chunk, keys[i], value, expiry_ms, *at, typed);
        }
    }
    for (const auto& [index, type] : typed) {
        // A typed read needs the connection for itself; who pipelines chunks does so only where
        // may_need_typed() is false.
        if (origin.pending_replies() > 0)
            return fail(ErrorCode::internal, "typed read inside a pipeline of chunks");
        auto item = read_typed(origin, chunk.items[index].key, type, replid);
        if (!item) return tl::unexpected<Error>(std::move(item).error());
        chunk.items[index] = std::move(*item);
    }
    return chunk;
}

void KeyReader::add_dumped(Chunk& chunk, const Key& key, ReplyView dump, int64_t expiry_ms,
                           uint64_t at, std::vector<std::pair<std::size_t, uint8_t>>& typed) const {
    if (dump.is_nil()) {
        chunk.items.push_back(absent_item(key, at));
        return;
    }
    if (dump.is_error()) {
        chunk.items.push_back(refused_item(key, at, std::string(dump.text())));
        return;
    }
    const auto length = payload_string_bytes(dump.text());
    if (!length) ++chunk.others;
    if (length && *length <= kShortString_bytes) ++chunk.strings;
    uint8_t type = 0;
    chunk.items.push_back(write_item(key, dump.text(), expiry_ms, at, type));
    if (type != 0) typed.emplace_back(chunk.items.size() - 1, type);
}

CopyItem KeyReader::write_item(const Key& key, std::string_view payload, int64_t expiry_ms,
                               uint64_t at, uint8_t& typed) const {
    const auto version = payload_version(payload);
    if (!version) return refused_item(key, at, "the origin's DUMP payload has a wrong checksum");
    if (payload.size() > format_.bulk_bytes_max) {
        return refused_item(key, at,
                            fmt::format("its payload of {} bytes is longer than the destination's "
                                        "proto-max-bulk-len of {}",
                                        payload.size(), format_.bulk_bytes_max));
    }
    const uint8_t type = payload_type(payload);
    const LadderLevel level = ladder_level(type, *version, format_.rdb_version);
    if (level == LadderLevel::refused) {
        return refused_item(
            key, at,
            fmt::format("type {} of RDB version {} cannot be written to the destination (RDB {})",
                        type, *version, format_.rdb_version));
    }
    CopyItem item;
    item.key = key;
    item.at = at;
    if (level == LadderLevel::typed) {
        typed = type;
        return item;
    }
    item.expires = expiry_ms >= 0;
    const std::string expiry = std::to_string(item.expires ? std::max<int64_t>(expiry_ms, 1) : 0);
    const std::string stamped =
        level == LadderLevel::restamped ? restamp(payload, format_.rdb_version) : std::string();
    item.bytes.reserve(payload.size() + key.name.size() + 96);
    append_command(item.bytes,
                   {"RESTORE", key.name, expiry,
                    stamped.empty() ? payload : std::string_view(stamped), "REPLACE", "ABSTTL"});
    item.commands = 1;
    return item;
}

Result<CopyItem> KeyReader::read_typed(Client& origin, const Key& key, uint8_t type,
                                       std::string_view replid) {
    const ValueKind kind = kind_of_type(type);
    origin.append({"MULTI"});
    origin.append({"SELECT", std::to_string(key.db)});
    origin.append(typed_read(kind, key.name));
    origin.append({"PEXPIRETIME", key.name});
    origin.append({"INFO", "replication"});
    origin.append({"EXEC"});
    auto replies = origin.read_all();
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    const Reply& exec = replies->back();
    if (exec.is_error() || exec.size() != 4)
        return tl::unexpected<Error>(error_of(exec, "reading a value by commands"));
    const auto at = offset_of_info(exec[3].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    auto value = typed_write(kind, key.name, exec[1], exec[2].integer());
    if (!value) return tl::unexpected<Error>(std::move(value).error());
    CopyItem item;
    item.key = key;
    item.at = *at;
    item.bytes = std::move(value->bytes);
    item.commands = value->commands;
    item.absent = value->absent;
    item.expires = !value->absent && exec[2].integer() >= 0;
    return item;
}

Result<std::vector<CopyItem>> KeyReader::read(Client& origin, const std::vector<Key>& keys,
                                              std::string_view replid) {
    std::vector<CopyItem> all;
    std::size_t at = 0;
    while (at < keys.size()) {
        std::vector<Key> part;
        const int db = keys[at].db;
        for (; at < keys.size() && keys[at].db == db && part.size() < limits::kChunkKeys_max;
             ++at) {
            part.push_back(keys[at]);
        }
        send(origin, db, part, {});
        EXODUS_TRY(origin.flush());
        auto chunk = receive(origin, part, replid, {});
        if (!chunk) return tl::unexpected<Error>(std::move(chunk).error());
        for (auto& item : chunk->items) all.push_back(std::move(item));
    }
    return all;
}

}  // namespace exodus::redis
