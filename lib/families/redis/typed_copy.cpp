#include "families/redis/typed_copy.h"

#include <algorithm>
#include <map>

#include "families/redis/stream_command.h"

namespace exodus::redis {

namespace {

constexpr std::size_t kElementsPerCommand = 512;

struct Writer {
    TypedValue value;
    void add(const std::vector<std::string_view>& args) {
        append_command(value.bytes, args);
        ++value.commands;
    }
};

void write_elements(Writer& writer, std::string_view verb, std::string_view name, ReplyView reply,
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

std::pair<uint64_t, uint64_t> stream_id(std::string_view text) {
    const auto dash = text.find('-');
    const auto number = [](std::string_view part) {
        return std::strtoull(std::string(part).c_str(), nullptr, 10);
    };
    return {number(text.substr(0, dash)),
            dash == std::string_view::npos ? 0 : number(text.substr(dash + 1))};
}

/// XINFO STREAM FULL as 7.0.15 and 8.0.1 answer it (the documentation says "pel" for "pending").
/// PEL entries whose message is gone are claimed while a phantom of the message exists: XCLAIM
/// drops them otherwise (redis 7.0 t_stream.c, xclaimCommand).
void write_stream(Writer& writer, std::string_view name, ReplyView full) {
    const auto last_id = full.field("last-generated-id").text();
    const ReplyView entries = full.field("entries");
    const ReplyView groups = full.field("groups");
    std::map<std::pair<uint64_t, uint64_t>, ReplyView> messages;
    for (std::size_t i = 0; i < entries.size(); ++i)
        messages[stream_id(entries[i][0].text())] = entries[i];
    std::map<std::pair<uint64_t, uint64_t>, std::string> phantoms;
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const ReplyView pending = groups[g].field("pending");
        for (std::size_t p = 0; p < pending.size(); ++p) {
            const auto id = stream_id(pending[p][0].text());
            if (!messages.contains(id)) phantoms.emplace(id, pending[p][0].text());
        }
    }
    auto phantom = phantoms.begin();
    const auto add_phantoms_below = [&](const std::pair<uint64_t, uint64_t>* limit) {
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
    if (messages.empty() &&
        phantoms.empty()) {  // an empty stream exists only by having had a message or a group
        writer.add({"XADD", name, "0-1", "x", ""});
        writer.add({"XDEL", name, "0-1"});
    }
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const ReplyView group = groups[g];
        const auto group_name = group.field("name").text();
        std::vector<std::string_view> create{"XGROUP", "CREATE", name, group_name,
                                             group.field("last-delivered-id").text()};
        const ReplyView read = group.field("entries-read");
        const std::string read_text = std::to_string(read.integer());
        if (read.valid() && !read.is_nil()) {
            create.emplace_back("ENTRIESREAD");
            create.emplace_back(read_text);
        }
        writer.add(create);
        const ReplyView consumers = group.field("consumers");
        for (std::size_t c = 0; c < consumers.size(); ++c) {
            writer.add(
                {"XGROUP", "CREATECONSUMER", name, group_name, consumers[c].field("name").text()});
        }
        const ReplyView pending =
            group.field("pending");  // id, consumer, delivery time, delivery count
        for (std::size_t p = 0; p < pending.size(); ++p) {
            const std::string time = std::to_string(pending[p][2].integer());
            const std::string count = std::to_string(pending[p][3].integer());
            writer.add({"XCLAIM", name, group_name, pending[p][1].text(), "0", pending[p][0].text(),
                        "TIME", time, "RETRYCOUNT", count, "FORCE", "JUSTID"});
        }
    }
    for (const auto& [id, text] : phantoms) writer.add({"XDEL", name, text});
    const std::string added = std::to_string(full.field("entries-added").integer());
    std::vector<std::string_view> set{"XSETID", name, last_id};
    if (full.field("entries-added").valid()) {
        set.insert(set.end(), {"ENTRIESADDED", added, "MAXDELETEDID",
                               full.field("max-deleted-entry-id").text()});
    }
    writer.add(set);
}

}  // namespace

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
    Writer writer;
    writer.add({"DEL", name});
    const bool gone =
        reply.is_nil() || (reply.is_array() && reply.size() == 0) ||
        (reply.is_error() && reply.text().find("no such key") != std::string_view::npos);
    if (gone) {
        writer.value.absent = true;
        return std::move(writer.value);
    }
    if (reply.is_error())
        return tl::unexpected<Error>(error_of(reply, "reading a value by commands"));
    switch (kind) {
        case ValueKind::string:
            writer.add({"SET", name, reply.text()});
            break;
        case ValueKind::list:
            write_elements(writer, "RPUSH", name, reply, 1, false);
            break;
        case ValueKind::set:
            write_elements(writer, "SADD", name, reply, 1, false);
            break;
        case ValueKind::zset:
            write_elements(writer, "ZADD", name, reply, 2, true);
            break;
        case ValueKind::hash:
            write_elements(writer, "HSET", name, reply, 2, false);
            break;
        case ValueKind::stream:
            write_stream(writer, name, reply);
            break;
        case ValueKind::other:
            return fail(ErrorCode::data, "a value of this type cannot be rewritten by commands");
    }
    if (expiry_ms >= 0) {
        const std::string at = std::to_string(expiry_ms);
        writer.add({"PEXPIREAT", name, at});
    }
    return std::move(writer.value);
}

}  // namespace exodus::redis
