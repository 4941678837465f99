#include "families/redis/typed_copy.h"

#include <algorithm>
#include <charconv>

#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

constexpr std::size_t kElementsPerCommand = 512;
/// Longer than any sensible zset-max-listpack-value.
constexpr std::size_t kListpackBreaker_bytes = 4096;

void write_units(RespWriter& writer, std::string_view verb, std::string_view name, ReplyView reply,
                 std::size_t unit, bool swapped) {
    for (std::size_t i = 0; i < reply.size();) {
        std::vector<std::string_view> args{verb, name};
        for (std::size_t n = 0; n < kElementsPerCommand && i < reply.size(); ++n, i += unit) {
            // ZRANGE WITHSCORES answers member, score; ZADD wants score, member.
            if (unit == 2) args.push_back(reply[swapped ? i + 1 : i].text());
            if (unit == 2)
                args.push_back(reply[swapped ? i : i + 1].text());
            else
                args.push_back(reply[i].text());
        }
        writer.add(args);
    }
}

/// XINFO STREAM FULL as 7.0.15 and 8.0.1 answer it (the documentation says "pel" for "pending").
Status write_stream(RespWriter& writer, std::string_view name, ReplyView full) {
    const ReplyView entries = full.field("entries");
    const ReplyView groups = full.field("groups");
    std::map<StreamId, ReplyView> messages;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto id = stream_id(entries[i][0].text());
        if (!id) return tl::unexpected<Error>(id.error());
        messages[*id] = entries[i];
    }
    StreamIds phantoms;
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const ReplyView pending = groups[g].field("pending");
        for (std::size_t p = 0; p < pending.size(); ++p) {
            const auto id = stream_id(pending[p][0].text());
            if (!id) return tl::unexpected<Error>(id.error());
            if (!messages.contains(*id)) phantoms.emplace(*id, pending[p][0].text());
        }
    }
    write_entries(writer, name, messages, phantoms);
    if (messages.empty() &&
        phantoms.empty()) {  // an empty stream exists only by having had a message or a group
        writer.add({"XADD", name, "0-1", "x", ""});
        writer.add({"XDEL", name, "0-1"});
    }
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const ReplyView group = groups[g];
        write_group(writer, name, {group, group.field("consumers"), group.field("pending"), -1});
    }
    for (const auto& [id, text] : phantoms) writer.add({"XDEL", name, text});
    write_stream_end(writer, name, full);
    return {};
}

}  // namespace

void RespWriter::add(const std::vector<std::string_view>& args) {
    append_command(bytes, args);
    ++commands;
}

void write_elements(RespWriter& writer, ValueKind kind, std::string_view name, ReplyView reply) {
    switch (kind) {
        case ValueKind::list:
            return write_units(writer, "RPUSH", name, reply, 1, false);
        case ValueKind::set:
            return write_units(writer, "SADD", name, reply, 1, false);
        case ValueKind::zset:
            return write_units(writer, "ZADD", name, reply, 2, true);
        case ValueKind::hash:
            return write_units(writer, "HSET", name, reply, 2, false);
        case ValueKind::string:
        case ValueKind::stream:
        case ValueKind::other:
            break;
    }
}

void begin_skip_list(RespWriter& writer, std::string_view name, ReplyView pairs) {
    const std::string breaker(kListpackBreaker_bytes, 'x');
    writer.add({"ZADD", name, "0", breaker});
    writer.add({"ZADD", name, pairs[1].text(), pairs[0].text()});
    writer.add({"ZREM", name, breaker});
}

Result<StreamId> stream_id(std::string_view text) {
    StreamId id;
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, id.first);
    const bool dash = first.ec == std::errc() && first.ptr != end && *first.ptr == '-';
    const auto second = dash ? std::from_chars(first.ptr + 1, end, id.second) : first;
    if (!dash || second.ec != std::errc() || second.ptr != end)
        return fail(ErrorCode::protocol, "not the id of a stream's entry: " + std::string(text));
    return id;
}

void write_entries(RespWriter& writer, std::string_view name,
                   const std::map<StreamId, ReplyView>& messages, const StreamIds& phantoms) {
    auto phantom = phantoms.begin();
    const auto add_phantoms_below = [&](const StreamId* limit) {
        for (; phantom != phantoms.end() && (limit == nullptr || phantom->first < *limit);
             ++phantom) {
            writer.add({"XADD", name, phantom->second, "x", ""});
        }
    };
    for (const auto& [id, entry] : messages) {
        add_phantoms_below(&id);
        std::vector<std::string_view> args{"XADD", name, entry[0].text()};
        for (std::size_t f = 0; f < entry[1].size(); ++f) args.push_back(entry[1][f].text());
        writer.add(args);
    }
    add_phantoms_below(nullptr);
}

void write_group(RespWriter& writer, std::string_view name, const StreamGroup& group) {
    const auto group_name = group.fields.field("name").text();
    std::vector<std::string_view> create{
        "XGROUP",  "CREATE", name, group_name, group.fields.field("last-delivered-id").text(),
        "MKSTREAM"};
    const ReplyView read = group.fields.field("entries-read");
    const std::string read_text = std::to_string(read.integer());
    if (read.valid() && !read.is_nil()) {
        create.emplace_back("ENTRIESREAD");
        create.emplace_back(read_text);
    }
    writer.add(create);
    for (std::size_t c = 0; c < group.consumers.size(); ++c) {
        writer.add({"XGROUP", "CREATECONSUMER", name, group_name,
                    group.consumers[c].field("name").text()});
    }
    for (std::size_t p = 0; p < group.pending.size(); ++p) {
        const ReplyView entry = group.pending[p];
        const int64_t time = entry[2].integer();
        const std::string at = std::to_string(group.now_ms < 0 ? time : group.now_ms - time);
        const std::string count = std::to_string(entry[3].integer());
        writer.add({"XCLAIM", name, group_name, entry[1].text(), "0", entry[0].text(), "TIME", at,
                    "RETRYCOUNT", count, "FORCE", "JUSTID"});
    }
}

void write_stream_end(RespWriter& writer, std::string_view name, ReplyView info) {
    const std::string added = std::to_string(info.field("entries-added").integer());
    std::vector<std::string_view> set{"XSETID", name, info.field("last-generated-id").text()};
    if (info.field("entries-added").valid()) {
        set.insert(set.end(), {"ENTRIESADDED", added, "MAXDELETEDID",
                               info.field("max-deleted-entry-id").text()});
    }
    writer.add(set);
}

std::vector<std::string> typed_read(ValueKind kind, std::string_view name) {
    const std::string key(name);
    switch (kind) {
        case ValueKind::string:
            return {"GET", key};
        case ValueKind::list:
            return {"LRANGE", key, "0", "-1"};
        case ValueKind::set:
            return {"SMEMBERS", key};
        case ValueKind::zset:
            return {"ZRANGE", key, "0", "-1", "WITHSCORES"};
        case ValueKind::hash:
            return {"HGETALL", key};
        case ValueKind::stream:
            return {"XINFO", "STREAM", key, "FULL", "COUNT", "0"};
        case ValueKind::other:
            break;
    }
    return {"TYPE", key};
}

Result<TypedValue> typed_write(ValueKind kind, std::string_view name, ReplyView reply,
                               int64_t expiry_ms) {
    RespWriter writer;
    writer.add({"DEL", name});
    const bool gone =
        reply.is_nil() || (reply.is_array() && reply.size() == 0) ||
        (reply.is_error() && reply.text().find("no such key") != std::string_view::npos);
    if (gone) {
        return TypedValue{std::move(writer.bytes), writer.commands, true};
    }
    if (reply.is_error())
        return tl::unexpected<Error>(error_of(reply, "reading a value by commands"));
    switch (kind) {
        case ValueKind::string:
            writer.add({"SET", name, reply.text()});
            break;
        case ValueKind::zset: {
            bool negative_zero = false;
            for (std::size_t i = 1; i < reply.size(); i += 2)
                negative_zero = negative_zero || reply[i].text() == "-0";
            if (negative_zero) begin_skip_list(writer, name, reply);
            write_elements(writer, kind, name, reply);
            break;
        }
        case ValueKind::list:
        case ValueKind::set:
        case ValueKind::hash:
            write_elements(writer, kind, name, reply);
            break;
        case ValueKind::stream:
            EXODUS_TRY(write_stream(writer, name, reply));
            break;
        case ValueKind::other:
            return fail(ErrorCode::data, "a value of this type cannot be rewritten by commands");
    }
    if (expiry_ms >= 0) {
        const std::string at = std::to_string(expiry_ms);
        writer.add({"PEXPIREAT", name, at});
    }
    return TypedValue{std::move(writer.bytes), writer.commands, false};
}

}  // namespace exodus::redis
