// Values taken apart into elements, for keys that change faster than they can be read whole: what
// stood still in between can still be compared, element by element.
#include <charconv>

#include "base/limits.h"
#include "families/redis/canonical.h"

namespace exodus::redis {

namespace {

Digest128 element(std::string_view kind, std::string_view name) {
    StreamDigest digest;
    digest.update(kind);
    digest.update({"\0", 1});
    digest.update(name);
    return digest.value();
}

/// Scores by value: versions print them differently.
Digest128 score_state(std::string_view text) {
    double score = 0;
    std::from_chars(text.data(), text.data() + text.size(), score);
    return xxh3_128({reinterpret_cast<const char*>(&score), sizeof score});
}

/// A stream's id as a state that can be ordered: Digest128 compares `low` first, so see id_before()
/// in pair_reader.cpp.
ElementState id_state(std::string_view text) {
    ElementState id{{}, true};
    const char* end = text.data() + text.size();
    const auto ms = std::from_chars(text.data(), end, id.state.high);
    if (ms.ptr != end) std::from_chars(ms.ptr + 1, end, id.state.low);
    return id;
}

void add_pending(std::string_view group, ReplyView entries, ElementMap& elements) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const std::string name = std::string(group) + " " + std::string(entries[i][0].text());
        elements[element("pending", name)].state = xxh3_128(
            std::string(entries[i][1].text()) + " " + std::to_string(entries[i][3].integer()));
    }
}

}  // namespace

Result<bool> CanonicalReader::read_elements(int db, std::string_view name, bool expiry,
                                            ElementMap& elements) {
    elements.clear();
    EXODUS_TRY(client_.select(db));
    client_.append({"MULTI"});
    append_meta(name);
    client_.append({"EXISTS", name});
    append_tail();
    EXODUS_TRY(client_.flush());
    const std::string any;
    auto meta = take_exec(1, 3, 6, std::span(&any, 1));
    if (!meta) return tl::unexpected<Error>(std::move(meta).error());
    const auto& state = meta->states[0];
    if (!state.present) return true;
    elements[element("type", "")].state = xxh3_128(state.type);
    if (expiry) {
        elements[element("expiry", "")].state = xxh3_128(std::to_string(state.expire_ms));
    }
    return read_collection(name, state.type, elements);
}

Result<bool> CanonicalReader::read_collection(std::string_view name, std::string_view type,
                                              ElementMap& elements) {
    const std::string page = std::to_string(limits::kCanonicalPage_elements);
    const auto ask = [&](Client::Args args) { return client_.command(args); };
    if (type == "set" || type == "hash" || type == "zset") {
        const std::string_view command = type == "set"    ? "SSCAN"
                                         : type == "hash" ? "HSCAN"
                                                          : "ZSCAN";
        std::string cursor = "0";
        do {
            auto reply = ask({command, name, cursor, "COUNT", page});
            if (!reply) return tl::unexpected<Error>(std::move(reply).error());
            if (reply->is_error()) return false;
            cursor = (*reply)[0].text();
            const auto items = (*reply)[1];
            for (std::size_t i = 0; i < items.size(); i += type == "set" ? 1 : 2) {
                elements[element("member", items[i].text())].state =
                    type == "set"    ? Digest128{1, 1}
                    : type == "hash" ? xxh3_128(items[i + 1].text())
                                     : score_state(items[i + 1].text());
            }
        } while (cursor != "0");
        return true;
    }
    if (type == "list") {
        // Positions move with every push: what is compared is how often each element is there.
        auto reply = ask({"LRANGE", name, "0", "-1"});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (reply->is_error()) return false;
        for (std::size_t i = 0; i < reply->size(); ++i) {
            ++elements[element("member", (*reply)[i].text())].state.low;
        }
        return true;
    }
    if (type == "string") {
        auto reply = ask({"GET", name});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (reply->is_error()) return false;
        // In blocks: a string that is only appended to keeps its earlier ones.
        const auto bytes = reply->text();
        for (std::size_t at = 0; at < bytes.size(); at += limits::kHotBlock_bytes) {
            elements[element("block", std::to_string(at))].state =
                xxh3_128(bytes.substr(at, limits::kHotBlock_bytes));
        }
        return true;
    }
    if (type == "stream") {
        std::string from = "-";
        while (true) {
            auto reply = ask({"XRANGE", name, from, "+", "COUNT", page});
            if (!reply) return tl::unexpected<Error>(std::move(reply).error());
            if (reply->is_error()) return false;
            for (std::size_t i = 0; i < reply->size(); ++i) {
                StreamDigest digest;
                const auto fields = (*reply)[i][1];
                for (std::size_t f = 0; f < fields.size(); ++f) {
                    digest.update(std::to_string(fields[f].text().size()) + ":");
                    digest.update(fields[f].text());
                }
                elements[element("entry", (*reply)[i][0].text())].state = digest.value();
            }
            if (reply->size() < static_cast<std::size_t>(limits::kCanonicalPage_elements)) break;
            from = "(" + std::string((*reply)[reply->size() - 1][0].text());
        }
        auto stream = ask({"XINFO", "STREAM", name});
        if (!stream) return tl::unexpected<Error>(std::move(stream).error());
        auto groups = ask({"XINFO", "GROUPS", name});
        if (!groups) return tl::unexpected<Error>(std::move(groups).error());
        // Deleted or of another type since: nothing to compare this time.
        if (stream->is_error() || groups->is_error()) return false;
        elements[element("last id", "")] = id_state(stream->field("last-generated-id").text());
        for (std::size_t i = 0; i < groups->size(); ++i) {
            const auto group = (*groups)[i].field("name").text();
            // That it is there apart from how far it is: a new group begins at 0-0, like none.
            elements[element("group", group)].state = {1, 1};
            elements[element("delivered", group)] =
                id_state((*groups)[i].field("last-delivered-id").text());
            std::string start = "-";
            while (true) {
                auto reply = ask({"XPENDING", name, group, start, "+", page});
                if (!reply) return tl::unexpected<Error>(std::move(reply).error());
                if (reply->is_error()) return false;  // the group was destroyed meanwhile
                add_pending(group, *reply, elements);
                if (reply->size() < static_cast<std::size_t>(limits::kCanonicalPage_elements))
                    break;
                start = "(" + std::string((*reply)[reply->size() - 1][0].text());
            }
        }
        return true;
    }
    return false;  // a module's value has no elements that we know
}

}  // namespace exodus::redis
