// Lane: FUNCTION libraries by state, in the destination's own transaction with the checkpoint: the
// same rule as for keys, one watermark for all of them.
#include <fmt/format.h>

#include "families/redis/functions.h"
#include "families/redis/lane.h"

namespace exodus::redis {

namespace {

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

/// What an operation of the stream removes, whoever had it before.
LibraryNames removed_by(const StreamCommand& op, const Libraries& there) {
    LibraryNames out;
    if (op.args.size() < 2) return out;
    const bool all = word_is(op.args[1], "FLUSH") ||
                     (word_is(op.args[1], "RESTORE") && word_is(op.args.back(), "FLUSH"));
    if (word_is(op.args[1], "DELETE") && op.args.size() > 2) out.emplace(op.args[2]);
    if (all) {
        for (const auto& [name, library] : there) out.insert(name);
    }
    return out;
}

}  // namespace

/// At `place`, for an operation of the stream there, or for all that was before (`op` nullptr).
Status Lane::copy_functions(const StreamPlace& place, const StreamCommand* op) {
    if (functions_at_ >= place.offset && functions_at_ != 0)
        return transact({}, 0, place, nullptr).map([](const Reply&) {});
    origin_->append({"MULTI"});
    origin_->append({"FUNCTION", "LIST", "WITHCODE"});
    origin_->append({"INFO", "replication"});
    origin_->append({"EXEC"});
    auto replies = origin_->read_all();
    if (!replies) return tl::unexpected<Error>(std::move(replies).error());
    const Reply& exec = replies->back();
    if (error_word((*replies)[1]) == "ERR")  // below 7.0: none to copy
        return transact({}, 0, place, nullptr).map([](const Reply&) {});
    for (const ReplyView reply : {ReplyView((*replies)[1]), ReplyView(exec), exec[0]}) {
        if (reply.is_error())
            return tl::unexpected<Error>(error_of(reply, "origin: FUNCTION LIST"));
    }
    const auto at = offset_of_info(exec[1].text(), flow_.followed());
    if (!at) return tl::unexpected<Error>(at.error());
    const Libraries here = libraries_of(exec[0]);
    auto there = read_libraries(*destination_);
    if (!there) return tl::unexpected<Error>(std::move(there).error());

    Journal& journal = flow_.context.journal;
    const bool forward = flow_.direction == Direction::forward;
    const std::string past = flow_.name + "-past";
    auto ours = load_library_names(journal, past, "functions");
    if (!ours) return tl::unexpected<Error>(std::move(ours).error());
    auto kept = forward ? kept_libraries(journal) : Result<LibraryNames>(LibraryNames());
    if (!kept) return tl::unexpected<Error>(std::move(kept).error());
    LibraryNames gone = op != nullptr ? removed_by(*op, *there) : LibraryNames();
    gone.insert(ours->begin(), ours->end());
    if (forward && op == nullptr && authority_wins(flow_.context.settings)) {
        for (const auto& [name, library] : *there) gone.insert(name);
    }
    const LibraryChanges changes = library_changes(here, *there, *kept, gone);

    // Durable before they are written: a crash must not make them look like the destination's own.
    LibraryNames now;
    for (const auto& [name, library] : here) {
        if (!kept->contains(name)) now.insert(name);
    }
    LibraryNames both = *ours;
    both.insert(now.begin(), now.end());
    if (both != *ours) EXODUS_TRY(save_library_names(journal, past, "functions", both));
    std::string body;
    for (const auto& name : changes.removed) append_command(body, {"FUNCTION", "DELETE", name});
    for (const auto& name : changes.loaded)
        append_command(body, {"FUNCTION", "LOAD", here.at(name).code});
    auto ran = transact(body, changes.removed.size() + changes.loaded.size(), place, nullptr);
    if (!ran) return tl::unexpected<Error>(std::move(ran).error());
    for (std::size_t i = 0; i < changes.loaded.size(); ++i) {
        const ReplyView loaded = (*ran)[changes.removed.size() + i];
        if (!loaded.is_error()) continue;
        (void)journal.add_event("warn", "functions",
                                fmt::format("function library {} could not be copied: {}",
                                            changes.loaded[i], loaded.text()));
    }
    if (!changes.removed.empty())
        (void)journal.add_event("info", "functions",
                                "function libraries replaced or removed on the destination: " +
                                    joined(changes.removed));
    if (both != now) EXODUS_TRY(save_library_names(journal, past, "functions", now));
    functions_at_ = *at;
    return {};
}

}  // namespace exodus::redis
