// Lane: operations on whole databases, functions, and verbs of modules (redis.md 4.7). Each is a
// transaction of its own behind empty repairs, and carries its own end as checkpoint: SWAPDB must
// not run twice.
#include <algorithm>
#include <fmt/format.h>

#include "families/redis/lane.h"

namespace exodus::redis {

Status Lane::run_global(const StreamCommand& op) {
    const StreamPlace end{flow_.followed(), op.end, op.stream_db};
    Status done;
    switch (op.global) {
        case GlobalKind::flush_db:
            done = reach_database(op.db);
            if (done) done = flush(op, {op.db});
            break;
        case GlobalKind::flush_all: {
            std::vector<int> all;
            all.reserve(static_cast<std::size_t>(destination_databases_));
            for (int db = 0; db < destination_databases_; ++db) all.push_back(db);
            done = flush(op, all);
            break;
        }
        case GlobalKind::swap_db:
            done = swap(op);
            break;
        case GlobalKind::function:
            done = copy_functions(end, &op);
            break;
        case GlobalKind::none:
            break;
    }
    if (!done) return done;
    advance(op);
    const std::lock_guard lock(flow_.mutex);
    ++flow_.status.changes_applied;
    return {};
}

/// Keys that are not ours: out of scope, or the destination's own. No whole database may be emptied
/// or swapped there.
bool Lane::others_live_there() const { return !flow_.scope.everything() || !foreign_.empty(); }

/// Instead of emptying a database: every key is read again, and what the origin lacks is found by a
/// sweep.
Status Lane::fill_again(const StreamCommand& op, const std::vector<int>& databases) {
    flow_.queue.restart({ScanPlace::Phase::copy, true, 0, "0", {}});
    flow_.fill_open = true;
    EXODUS_TRY(flow_.context.journal.save_position(flow_.name, "fill", flow_.queue.place().text()));
    watermarks_.clear();
    EXODUS_TRY(forget_failed(databases));
    EXODUS_TRY(load_failed());
    for (const int db : databases) big_.drop_db(db);
    big_.start_again();
    return transact({}, 0, {flow_.followed(), op.end, op.stream_db}, nullptr).map([](const Reply&) {
    });
}

/// Rows of databases that are emptied or read again: a key of that name is another one now, and
/// what fails again gets a row of its own. Called before the transaction that empties, and where a
/// fill is needed behind its place is durable: a crash in between leads to that fill, not to a key
/// that nobody misses.
Status Lane::forget_failed(const std::vector<int>& databases) {
    std::vector<Key> gone;
    for (const auto& [hash, key] : failed_) {
        const bool there = std::find(databases.begin(), databases.end(), key.db) != databases.end();
        // Of the destination's own keys a row waits for the operator's consent.
        if (there && !foreign_.never_written(hash)) gone.push_back(key);
    }
    for (const auto& key : gone) EXODUS_TRY(resolve_failed(key));
    return {};
}

Status Lane::flush(const StreamCommand& op, const std::vector<int>& databases) {
    const StreamPlace end{flow_.followed(), op.end, op.stream_db};
    if (others_live_there()) return fill_again(op, databases);
    std::string body;
    std::size_t commands = 0;
    for (const int db : databases) {
        append_command(body, {"SELECT", std::to_string(db)});
        append_command(body, {"FLUSHDB"});
        commands += 2;
    }
    append_command(body, {"SELECT", "0"});
    EXODUS_TRY(forget_failed(databases));
    for (const int db : databases) {
        flow_.queue.drop_db(db);
        watermarks_.drop_db(db);
        big_.drop_db(db);
        if (db == 0) big_.record_gone();
    }
    auto ran = transact(body, commands + 1, end, nullptr);
    if (!ran) return tl::unexpected<Error>(std::move(ran).error());
    // Keys copied ahead of the FLUSH are gone with it: until here every key is unknown.
    auto now = origin_offset();
    if (!now) return tl::unexpected<Error>(std::move(now).error());
    for (const int db : databases) watermarks_.set_doubt(db, *now);
    (void)flow_.context.journal.add_event("info", "flush",
                                          fmt::format("{} came through the stream", verb_of(op)));
    return {};
}

Status Lane::swap(const StreamCommand& op) {
    const StreamPlace end{flow_.followed(), op.end, op.stream_db};
    const int a = op.db;
    const int b = op.swap_with;
    EXODUS_TRY(reach_database(std::max(a, b)));
    if (others_live_there()) return fill_again(op, {a, b});
    std::string body;
    std::size_t commands = 0;
    const bool verbatim = !flow_.fill_open && watermarks_.exact_db_before(a, op.end) &&
                          watermarks_.exact_db_before(b, op.end) && !big_.any_in(a) &&
                          !big_.any_in(b);
    if (verbatim) {
        if (a == 0 ||
            b == 0) {  // what is exodus' own must not move along; the transaction writes it again
            append_command(body, {"DEL", flow_.checkpoint_key, flow_.big_record});
            ++commands;
            big_.record_gone();
        }
        append_command(body, {"SWAPDB", std::to_string(a), std::to_string(b)});
        ++commands;
    } else {
        for (const int db : {a, b}) {
            append_command(body, {"SELECT", std::to_string(db)});
            append_command(body, {"FLUSHDB"});
            commands += 2;
            big_.drop_db(db);
            if (db == 0) big_.record_gone();
        }
        append_command(body, {"SELECT", "0"});
        ++commands;
        big_.start_again();
        const ScanPlace again{
            ScanPlace::Phase::copy, flow_.queue.place().repair, std::min(a, b), "0", {}};
        const ScanPlace open_place = flow_.queue.place();
        const bool earlier = flow_.fill_open && open_place.phase == ScanPlace::Phase::copy &&
                             open_place.db < again.db;
        flow_.queue.restart(earlier ? open_place : again);
        flow_.fill_open = true;
        EXODUS_TRY(
            flow_.context.journal.save_position(flow_.name, "fill", flow_.queue.place().text()));
        EXODUS_TRY(forget_failed({a, b}));
    }
    auto ran = transact(body, commands, end, nullptr);
    if (!ran) return tl::unexpected<Error>(std::move(ran).error());
    for (const int db : {a, b}) {
        watermarks_.drop_db(db);
        if (!verbatim) watermarks_.set_doubt(db, kNoOffset);
    }
    (void)flow_.context.journal.add_event(
        "info", "swapdb",
        fmt::format("SWAPDB {} {} came through the stream{}", a, b,
                    verbatim ? "" : ": both are copied again"));
    return {};
}

/// Modules: the origin knows the keys of its own commands. Their values are copied by state.
Status Lane::resolve_unknown(StreamCommand& op) {
    std::vector<std::string_view> ask{"COMMAND", "GETKEYS"};
    ask.insert(ask.end(), op.args.begin(), op.args.end());
    auto keys = origin_->command(std::span<const std::string_view>(ask));
    if (!keys) return tl::unexpected<Error>(std::move(keys).error());
    if (!keys->is_array() || keys->size() == 0) {
        return fail(ErrorCode::safety, "unknown verb in the stream: " + verb_of(op),
                    "its keys are not known, so its effect cannot be carried over");
    }
    for (std::size_t i = 0; i < keys->size(); ++i) {
        // The names live in the command itself; the reply's memory does not last.
        for (const auto arg : op.args) {
            if (arg != (*keys)[i].text()) continue;
            op.keys.push_back({op.db, arg, key_hash(op.db, arg), false});
            break;
        }
    }
    op.role = StreamRole::op;
    op.by_state = true;
    return {};
}

}  // namespace exodus::redis
