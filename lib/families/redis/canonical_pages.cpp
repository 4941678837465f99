// Values too large for one reply: read in pages with WATCH around, and digested as they come.
#include "base/limits.h"
#include "families/redis/canonical.h"
#include "families/redis/value_digest.h"

namespace exodus::redis {

namespace {

constexpr int kBigKeyTries = 3;

}  // namespace

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

}  // namespace exodus::redis
