#include "families/redis/key_reader.h"

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

CopyItem absent_item(const Key& key, uint64_t at) {
    CopyItem item;
    item.key = key;
    item.at = at;
    item.absent = true;
    append_command(item.bytes, {"DEL", key.name});
    item.commands = 1;
    return item;
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

void KeyReader::send(Client& origin, int db, const std::vector<Key>& keys) {
    std::string bytes;
    append_command(bytes, {"MULTI"});
    append_command(bytes, {"SELECT", std::to_string(db)});
    for (const auto& key : keys) {
        append_command(bytes, {"DUMP", key.name});
        append_command(bytes, {"PEXPIRETIME", key.name});
    }
    append_command(bytes, {"INFO", "replication"});
    append_command(bytes, {"EXEC"});
    origin.append_raw(bytes, 2 * keys.size() + 4);
}

Result<std::vector<CopyItem>> KeyReader::receive(Client& origin, const std::vector<Key>& keys,
                                                 std::string_view replid) {
    const auto odd = origin.read_queued(2 * keys.size() + 3);  // MULTI's OK is one
    if (!odd) return tl::unexpected<Error>(odd.error());
    auto exec = origin.read_reply();
    if (!exec) return tl::unexpected<Error>(std::move(exec).error());
    for (const Reply& reply : *odd) {
        if (reply.is_error())
            return tl::unexpected<Error>(error_of(reply, "reading keys of the origin"));
    }
    if (exec->is_error())
        return tl::unexpected<Error>(error_of(*exec, "reading keys of the origin"));
    if (exec->size() != 2 * keys.size() + 2)
        return fail(ErrorCode::protocol, "EXEC answered another number of replies");
    const auto at = offset_of_info((*exec)[2 * keys.size() + 1].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    std::vector<CopyItem> items;
    items.reserve(keys.size());
    std::vector<std::pair<std::size_t, uint8_t>> typed;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const ReplyView dump = (*exec)[1 + 2 * i];
        const ReplyView expiry = (*exec)[2 + 2 * i];
        if (dump.is_nil()) {
            items.push_back(absent_item(keys[i], *at));
        } else if (dump.is_error()) {
            items.push_back(refused_item(keys[i], *at, std::string(dump.text())));
        } else {
            uint8_t type = 0;
            items.push_back(write_item(keys[i], dump.text(), expiry.integer(), *at, type));
            if (type != 0) typed.emplace_back(i, type);
        }
    }
    for (const auto& [index, type] : typed) {
        // A typed read needs the connection for itself; who pipelines chunks does so only where
        // may_need_typed() is false.
        if (origin.pending_replies() > 0)
            return fail(ErrorCode::internal, "typed read inside a pipeline of chunks");
        auto item = read_typed(origin, keys[index], type, replid);
        if (!item) return tl::unexpected<Error>(std::move(item).error());
        items[index] = std::move(*item);
    }
    return items;
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
        send(origin, db, part);
        EXODUS_TRY(origin.flush());
        auto items = receive(origin, part, replid);
        if (!items) return items;
        for (auto& item : *items) all.push_back(std::move(item));
    }
    return all;
}

}  // namespace exodus::redis
