#include "families/redis/bigkey_reader.h"

#include <algorithm>
#include <span>

#include "base/limits.h"
#include "families/redis/key_reader.h"

namespace exodus::redis {

namespace {

std::vector<std::string> ask_elements(ValueKind kind, const std::string& key,
                                      std::span<const std::string> names) {
    std::vector<std::string> args{kind == ValueKind::hash  ? "HMGET"
                                  : kind == ValueKind::set ? "SMISMEMBER"
                                                           : "ZMSCORE",
                                  key};
    args.insert(args.end(), names.begin(), names.end());
    return args;
}

/// Makes these elements of the key `name` what the reply to ask_elements says.
void write_changes(RespWriter& writer, ValueKind kind, std::string_view name,
                   std::span<const std::string> names, ReplyView reply) {
    const bool hash = kind == ValueKind::hash;
    const bool set = kind == ValueKind::set;
    std::vector<std::string_view> put{hash ? "HSET" : set ? "SADD" : "ZADD", name};
    std::vector<std::string_view> gone{hash ? "HDEL" : set ? "SREM" : "ZREM", name};
    for (std::size_t i = 0; i < names.size(); ++i) {
        const ReplyView state = reply[i];
        if (set ? state.integer() == 0 : state.is_nil()) {
            gone.push_back(names[i]);
            continue;
        }
        if (kind == ValueKind::zset) put.push_back(state.text());
        put.push_back(names[i]);
        if (hash) put.push_back(state.text());
    }
    if (put.size() > 2) writer.add(put);
    if (gone.size() > 2) writer.add(gone);
}

std::vector<std::string> names_of_groups(ReplyView groups) {
    std::vector<std::string> names;
    for (std::size_t g = 0; g < groups.size(); ++g)
        names.emplace_back(groups[g].field("name").text());
    return names;
}

std::string behind(const std::string& id) { return id.empty() ? std::string("-") : "(" + id; }

/// Reads replies of "MULTI, `queued` commands, EXEC" with SELECT as the first of them.
Result<Reply> read_exec(Client& origin, std::size_t queued) {
    auto replies = origin.read_all();
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    Reply exec = std::move(replies->back());
    if (exec.is_error() || exec.size() != queued)
        return tl::unexpected<Error>(error_of(exec, "reading a big key"));
    return exec;
}

}  // namespace

Result<CopyItem> BigKeyReader::next(Client& origin, const BigKeyRound& round,
                                    std::string_view replid) {
    if (round_ != round.round) {
        round_ = round.round;
        first_ = true;
        cursor_ = "0";
        at_ = 0;
        groups_.clear();
        if (!round.again) phantoms_.clear();
        reached_ = round.after;
    }
    CopyItem item;
    item.key = round.key;
    item.piece.copy = round.copy;
    Status read;
    if (round.kind == ValueKind::stream)
        read = entries(origin, round, replid, item);
    else if (round.kind == ValueKind::list || round.kind == ValueKind::string)
        read = in_order(origin, round, replid, item);
    else if (round.again)
        read = elements(origin, round, replid, item);
    else
        read = scan(origin, round, replid, item);
    if (!read) {
        forget();
        return tl::unexpected<Error>(std::move(read).error());
    }
    first_ = false;
    return item;
}

/// One command and the offset behind it.
Result<Reply> BigKeyReader::ask(Client& origin, const BigKeyRound& round,
                                const std::vector<std::string>& command, std::string_view replid,
                                CopyItem& item) {
    origin.append({"SELECT", std::to_string(round.key.db)});
    origin.append(command);
    origin.append({"INFO", "replication"});
    auto replies = origin.read_all();
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    EXODUS_TRY(origin.select(round.key.db));  // what the client believes
    const auto at = offset_of_info((*replies)[2].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    item.at = *at;
    return std::move((*replies)[1]);
}

Status BigKeyReader::scan(Client& origin, const BigKeyRound& round, std::string_view replid,
                          CopyItem& item) {
    const std::string verb = round.kind == ValueKind::hash  ? "HSCAN"
                             : round.kind == ValueKind::set ? "SSCAN"
                                                            : "ZSCAN";
    auto reply =
        ask(origin, round, {verb, round.key.name, cursor_, "COUNT", std::to_string(round.page)},
            replid, item);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    RespWriter writer;
    if (first_) writer.add({"DEL", round.temporary});
    if (reply->is_error()) {
        item.piece.last = true;
    } else {
        cursor_ = (*reply)[0].text();
        item.piece.last = cursor_ == "0";
        const ReplyView found = (*reply)[1];
        if (first_ && round.kind == ValueKind::zset && found.size() >= 2)
            begin_skip_list(writer, round.temporary, found);
        write_elements(writer, round.kind, round.temporary, found);
    }
    item.bytes = std::move(writer.bytes);
    item.commands = writer.commands;
    return {};
}

Status BigKeyReader::elements(Client& origin, const BigKeyRound& round, std::string_view replid,
                              CopyItem& item) {
    const std::size_t count = std::min(round.page, round.names.size() - at_);
    const auto part = std::span(round.names).subspan(at_, count);
    auto reply = ask(origin, round, ask_elements(round.kind, round.key.name, part), replid, item);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    at_ += count;
    item.piece.last = at_ == round.names.size() || reply->is_error();
    RespWriter writer;
    if (!reply->is_error()) write_changes(writer, round.kind, round.temporary, part, *reply);
    item.bytes = std::move(writer.bytes);
    item.commands = writer.commands;
    return {};
}

Status BigKeyReader::in_order(Client& origin, const BigKeyRound& round, std::string_view replid,
                              CopyItem& item) {
    const bool list = round.kind == ValueKind::list;
    auto reply = ask(origin, round,
                     {list ? "LRANGE" : "GETRANGE", round.key.name, std::to_string(at_),
                      std::to_string(at_ + round.page - 1)},
                     replid, item);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    RespWriter writer;
    if (first_) writer.add({"DEL", round.temporary});
    const std::size_t count = reply->is_error() ? 0 : list ? reply->size() : reply->text().size();
    at_ += count;
    item.piece.last = count < round.page;
    if (list)
        write_elements(writer, round.kind, round.temporary, *reply);
    else if (count > 0)
        writer.add({"APPEND", round.temporary, reply->text()});
    item.bytes = std::move(writer.bytes);
    item.commands = writer.commands;
    return {};
}

/// Entries with the pending ones of the same range in one transaction: a pending entry whose
/// message is gone needs a phantom in its place, which cannot be put there later.
Status BigKeyReader::entries(Client& origin, const BigKeyRound& round, std::string_view replid,
                             CopyItem& item) {
    const std::string from = behind(reached_);
    const std::string count = std::to_string(round.page);
    Reply exec;
    for (int tries = 0;; ++tries) {
        if (tries > limits::kItemTries_max)
            return fail(ErrorCode::unreachable, "the groups of a stream change all the time");
        origin.append({"MULTI"});
        origin.append({"SELECT", std::to_string(round.key.db)});
        origin.append({"INFO", "replication"});
        origin.append({"XRANGE", round.key.name, from, "+", "COUNT", count});
        origin.append({"XINFO", "GROUPS", round.key.name});
        for (const auto& group : groups_)
            origin.append({"XPENDING", round.key.name, group, from, "+", count});
        origin.append({"EXEC"});
        auto read = read_exec(origin, 4 + groups_.size());
        if (!read) return tl::unexpected<Error>(std::move(read).error());
        exec = std::move(*read);
        EXODUS_TRY(origin.select(round.key.db));
        if (exec[2].is_error() || exec[3].is_error()) break;  // no stream any more
        auto now = names_of_groups(exec[3]);
        if (now == groups_) break;
        groups_ = std::move(now);
    }
    const auto at = offset_of_info(exec[1].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    item.at = *at;
    RespWriter writer;
    if (first_ && !round.again) writer.add({"DEL", round.temporary});
    const ReplyView entries = exec[2];
    item.piece.last = entries.is_error() || exec[3].is_error();
    if (!item.piece.last) {
        // The piece ends where the first of the replies was cut.
        StreamId end{UINT64_MAX, UINT64_MAX};
        const auto cut = [&](ReplyView reply) -> Status {
            if (reply.size() != round.page) return {};
            const auto id = stream_id(reply[reply.size() - 1][0].text());
            if (!id) return tl::unexpected<Error>(id.error());
            end = std::min(end, *id);
            return {};
        };
        EXODUS_TRY(cut(entries));
        for (std::size_t g = 0; g < groups_.size(); ++g) EXODUS_TRY(cut(exec[4 + g]));
        std::map<StreamId, ReplyView> messages;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            const auto id = stream_id(entries[i][0].text());
            if (!id) return tl::unexpected<Error>(id.error());
            if (*id <= end) messages.emplace(*id, entries[i]);
        }
        StreamIds phantoms;
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            const ReplyView pending = exec[4 + g];
            for (std::size_t p = 0; p < pending.size(); ++p) {
                const auto id = stream_id(pending[p][0].text());
                if (!id) return tl::unexpected<Error>(id.error());
                if (*id <= end && !messages.contains(*id))
                    phantoms.emplace(*id, pending[p][0].text());
            }
        }
        write_entries(writer, round.temporary, messages, phantoms);
        StreamId last{};
        if (!messages.empty()) {
            last = messages.rbegin()->first;
            reached_ = messages.rbegin()->second[0].text();
        }
        if (!phantoms.empty() && phantoms.rbegin()->first > last)
            reached_ = phantoms.rbegin()->second;
        for (const auto& [id, text] : phantoms) phantoms_.push_back(text);
        item.piece.last = end.first == UINT64_MAX;
    }
    if (item.piece.last) {
        item.piece.through = reached_;
        item.piece.phantoms = phantoms_;
    }
    item.bytes = std::move(writer.bytes);
    item.commands = writer.commands;
    return {};
}

namespace {

Result<BigKeyEnd> read_stream_end(Client& origin, const BigKeyRound& round, const Piece& stream,
                                  std::string_view replid) {
    const std::string& key = round.key.name;
    const std::string most = std::to_string(limits::kBigKeyPending_max);
    const std::string page = std::to_string(round.page);
    std::vector<std::string> groups;
    Reply exec;
    for (int tries = 0;; ++tries) {
        origin.append({"MULTI"});
        origin.append({"SELECT", std::to_string(round.key.db)});
        origin.append({"INFO", "replication"});
        origin.append({"TIME"});
        origin.append({"PEXPIRETIME", key});
        origin.append({"XINFO", "STREAM", key});
        origin.append({"XRANGE", key, behind(stream.through), "+", "COUNT", page});
        origin.append({"XINFO", "GROUPS", key});
        for (const auto& group : groups) {
            origin.append({"XINFO", "CONSUMERS", key, group});
            origin.append({"XPENDING", key, group, "-", "+", most});
        }
        origin.append({"EXEC"});
        auto read = read_exec(origin, 7 + 2 * groups.size());
        if (!read) return tl::unexpected<Error>(std::move(read).error());
        exec = std::move(*read);
        if (exec[4].is_error() || exec[5].is_error() || exec[6].is_error()) break;
        auto now = names_of_groups(exec[6]);
        if (now == groups) break;
        if (tries == limits::kItemTries_max) {
            BigKeyEnd end;
            end.spoiled = "its groups change all the time";
            return end;
        }
        groups = std::move(now);
    }
    BigKeyEnd end;
    const auto at = offset_of_info(exec[1].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    end.at = *at;
    end.expiry_ms = exec[3].integer();
    const ReplyView info = exec[4];
    const ReplyView tail = exec[5];
    if (info.is_error() || tail.is_error() || exec[6].is_error()) {
        end.spoiled = "it is no stream any more";
        return end;
    }
    if (tail.size() == round.page) {
        end.more = true;
        return end;
    }
    std::map<StreamId, ReplyView> messages;
    for (std::size_t i = 0; i < tail.size(); ++i) {
        const auto id = stream_id(tail[i][0].text());
        if (!id) return tl::unexpected<Error>(id.error());
        messages.emplace(*id, tail[i]);
    }
    StreamIds phantoms;
    const auto reached =
        stream.through.empty() ? Result<StreamId>(StreamId{}) : stream_id(stream.through);
    if (!reached) return tl::unexpected<Error>(reached.error());
    for (std::size_t g = 0; g < groups.size(); ++g) {
        const ReplyView pending = exec[8 + 2 * g];
        if (pending.size() >= limits::kBigKeyPending_max) {
            end.spoiled = "a group has too many pending entries";
            return end;
        }
        for (std::size_t p = 0; p < pending.size(); ++p) {
            const auto id = stream_id(pending[p][0].text());
            if (!id) return tl::unexpected<Error>(id.error());
            if (*id > *reached && !messages.contains(*id))
                phantoms.emplace(*id, pending[p][0].text());
        }
    }
    const std::string& name = round.temporary;
    write_entries(end.changes, name, messages, phantoms);
    if (stream.through.empty() && messages.empty() && phantoms.empty()) {
        end.changes.add({"XADD", name, "0-1", "x", ""});
        end.finish.add({"XDEL", name, "0-1"});
    }
    const int64_t now_ms = exec[2][0].integer() * 1000 + exec[2][1].integer() / 1000;
    for (std::size_t g = 0; g < groups.size(); ++g)
        write_group(end.changes, name, {exec[6][g], exec[7 + 2 * g], exec[8 + 2 * g], now_ms});
    for (const auto& id : stream.phantoms) end.finish.add({"XDEL", name, id});
    for (const auto& [id, text] : phantoms) end.finish.add({"XDEL", name, text});
    // What was trimmed while it was copied: everything before the first entry of now.
    const ReplyView first = info.field("first-entry");
    if (first.is_array() && first.size() > 0)
        end.finish.add({"XTRIM", name, "MINID", "=", first[0].text()});
    else
        end.finish.add({"XTRIM", name, "MAXLEN", "=", "0"});
    write_stream_end(end.finish, name, info);
    return end;
}

}  // namespace

Result<BigKeyEnd> read_big_end(Client& origin, const BigKeyRound& round, const NameSet& names,
                               const Piece& stream, std::string_view replid) {
    if (round.kind == ValueKind::stream) return read_stream_end(origin, round, stream, replid);
    const bool in_order = round.kind == ValueKind::list || round.kind == ValueKind::string;
    const std::vector<std::string> wanted(names.begin(), names.end());
    const auto part = [&](std::size_t at) {
        return std::span(wanted).subspan(at,
                                         std::min(limits::kBigKeyAsk_names, wanted.size() - at));
    };
    std::size_t queued = 4;
    origin.append({"MULTI"});
    origin.append({"SELECT", std::to_string(round.key.db)});
    origin.append({"INFO", "replication"});
    origin.append({"TYPE", round.key.name});
    origin.append({"PEXPIRETIME", round.key.name});
    for (std::size_t i = 0; !in_order && i < wanted.size(); i += limits::kBigKeyAsk_names) {
        origin.append(ask_elements(round.kind, round.key.name, part(i)));
        ++queued;
    }
    origin.append({"EXEC"});
    auto exec = read_exec(origin, queued);
    if (!exec) return tl::unexpected<Error>(std::move(exec).error());
    BigKeyEnd end;
    const auto at = offset_of_info((*exec)[1].text(), replid);
    if (!at) return tl::unexpected<Error>(at.error());
    end.at = *at;
    end.expiry_ms = (*exec)[3].integer();
    if (kind_of_name((*exec)[2].text()) != round.kind) {
        end.spoiled = "it is gone, or of another type";
        return end;
    }
    for (std::size_t i = 4; i < queued; ++i) {
        write_changes(end.changes, round.kind, round.temporary,
                      part((i - 4) * limits::kBigKeyAsk_names), (*exec)[i]);
    }
    return end;
}

}  // namespace exodus::redis
