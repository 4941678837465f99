#include "families/redis/lane.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "base/stop_token.h"

namespace exodus::redis {

namespace {

/// What comes one by one is applied in batches all the same: each is a transaction.
constexpr milliseconds kGather{1};

/// What a destination says when it cannot write for a while.
bool passes_by_itself(std::string_view word) {
    for (const std::string_view known : {"OOM", "READONLY", "LOADING", "CLUSTERDOWN", "MISCONF",
                                         "MASTERDOWN", "BUSY", "TRYAGAIN", "NOREPLICAS"}) {
        if (word == known) return true;
    }
    return false;
}

bool needs_operator(ErrorCode code) {
    return code == ErrorCode::second_writer || code == ErrorCode::safety ||
           code == ErrorCode::permission || code == ErrorCode::config;
}

}  // namespace

Lane::Lane(Flow& flow, ForeignKeys foreign)
    : flow_(flow),
      reader_(DestinationFormat{}),
      foreign_(std::move(foreign)),
      watermarks_(flow.tuning.watermarks),
      big_(flow),
      planner_(watermarks_, {.presence_checks = flow.tuning.presence_checks,
                             .in_scope =
                                 [this](const KeyRef& key) {
                                     return !big_.aside(key.hash) &&
                                            flow_.scope.contains(key.name) &&
                                            !foreign_.never_written(key.hash);
                                 },
                             .doubtful = {}}) {
    if (!foreign_.empty())
        planner_.set_doubtful([this](const Digest128& key) { return foreign_.doubtful(key); });
    const std::lock_guard lock(flow_.mutex);
    flow_.status.items_kept = flow_.direction == Direction::forward ? foreign_.kept_count() : 0;
}

Status Lane::run(const std::stop_token& stop) {
    int64_t back_off = limits::kRetry_ms_min;
    while (!stop.stop_requested()) {
        Status done = ready_ ? step(stop) : open(stop);
        if (done) {
            if (ready_) back_off = limits::kRetry_ms_min;
            continue;
        }
        if (stop.stop_requested()) break;
        ready_ = false;
        exact_ = false;
        const bool blocked = needs_operator(done.error().code);
        flow_.trouble(&Flow::lane_trouble, done.error(), blocked);
        // Another process writes there: to go on would be to fight it.
        if (done.error().code == ErrorCode::second_writer) return done;
        // Anything else may be mended on the servers: looked at again, never worked around.
        if (blocked) back_off = limits::kRetry_ms_max;
        {
            const std::lock_guard lock(flow_.mutex);
            ++flow_.status.retries;
        }
        wait_unless_stopped(stop, milliseconds(back_off));
        back_off = std::min(back_off * 2, limits::kRetry_ms_max);
    }
    return {};
}

// --- from the spool to units

Status Lane::read_spool() {
    // Two batches ahead are enough: one is planned while the next is parsed from memory.
    while (parsed_.size() < 2 * limits::kBatchOperations_max) {
        auto block = flow_.spool->read(limits::kBatch_bytes);
        if (!block) return tl::unexpected<Error>(std::move(block).error());
        if (!block->bytes) break;
        EXODUS_TRY(parse(std::move(*block)));
    }
    return {};
}

Status Lane::parse(SpoolBlock block) {
    for (const auto& frame : block.frames) {
        StreamCommand command;
        command.end = frame.end;
        command.db = command.stream_db = frame.db;
        command.raw = frame.bytes;
        auto used = split_command(frame.bytes, command.args);
        if (!used) return tl::unexpected<Error>(std::move(used).error());
        if (*used != frame.bytes.size())
            return fail(ErrorCode::data, "a spool frame is not one command");
        classify(command);
        // An argument longer than the destination takes would end the connection: by state it
        // becomes an item error.
        if (std::any_of(command.args.begin(), command.args.end(), [this](std::string_view word) {
                return word.size() > format_.bulk_bytes_max;
            })) {
            command.by_state = true;
        }
        const bool multi = verb_is(command, "MULTI");
        const bool exec = verb_is(command, "EXEC");
        if (!multi && !exec && open_group_.empty()) {
            parsed_.push_back(std::move(command));
            if (parsed_.back().own) parsed_.back().role = StreamRole::ignored;
            continue;
        }
        open_group_bytes_ += frame.bytes.size();
        open_group_.push_back(std::move(command));
        const bool too_large = open_group_.size() > limits::kGroupOperations_max ||
                               open_group_bytes_ > limits::kGroup_bytes_max;
        if (exec || too_large) finish_unit();
    }
    blocks_.emplace_back(block.frames.back().end, std::move(block.bytes));
    return {};
}

/// Closes a group. One that holds a checkpoint was written by exodus for the other direction: it is
/// dropped whole.
void Lane::finish_unit() {
    bool ours = false;
    for (const auto& command : open_group_) {
        for (const auto& key : command.keys) ours = ours || key.name.starts_with(kCheckpointPrefix);
    }
    const uint64_t end = open_group_.back().end;
    for (auto& command : open_group_) {
        command.group = end;
        if (ours || command.own) command.role = StreamRole::ignored;
        parsed_.push_back(std::move(command));
    }
    open_group_.clear();
    open_group_bytes_ = 0;
}

/// Commands of the next batch: whole groups, up to the first global one and not behind `limit`.
std::size_t Lane::batch_size(uint64_t limit) const {
    std::size_t count = 0;
    std::size_t operations = 0;
    std::size_t bytes = 0;
    for (const auto& command : parsed_) {
        const bool new_unit = count == 0 || parsed_[count - 1].group != command.group;
        if (command.role == StreamRole::global || command.role == StreamRole::unknown) break;
        if (new_unit && command.group > limit) break;
        if (new_unit &&
            (operations >= limits::kBatchOperations_max || bytes >= limits::kBatch_bytes ||
             count >= 8 * limits::kBatchOperations_max)) {
            break;
        }
        if (command.role != StreamRole::ignored) {
            ++operations;
            bytes += command.raw.size();
        }
        ++count;
    }
    return count;
}

// --- one round

Status Lane::step(const std::stop_token& stop) {
    const uint64_t seen = flow_.lane_work.seen();
    if (flow_.tuning.lane_stall_ms > 0)
        wait_unless_stopped(stop, milliseconds(flow_.tuning.lane_stall_ms));
    EXODUS_TRY(read_spool());
    EXODUS_TRY(take_redriven());
    CopyQueue::Batch due = flow_.queue.take(limits::kBatchItems_max, 4 * limits::kBatch_bytes);
    std::vector<StreamCommand> ops;
    EXODUS_TRY(follow_big_keys(due, ops));
    const uint64_t limit = flow_.stand.limit();
    const std::size_t size = batch_size(limit);
    const bool global_next =
        size < parsed_.size() && parsed_[size].end <= limit &&
        (parsed_[size].role == StreamRole::global || parsed_[size].role == StreamRole::unknown);
    if (size == 0 && ops.empty() && due.items.empty() && due.chunks == 0 && repairs_.empty()) {
        if (global_next) {
            if (parsed_.front().role == StreamRole::unknown)
                return resolve_unknown(parsed_.front());
            const StreamCommand op = parsed_.front();
            EXODUS_TRY(run_global(op));
            parsed_.pop_front();
            publish();
            return {};
        }
        EXODUS_TRY(finish_fill());
        const bool behind = written_ != last().text() || big_.changed();
        if (behind && steady_us() - checkpoint_us_ > limits::kIdleCheckpoint_ms * 1000) {
            return transact({}, 0, applied_, nullptr).map([](const Reply&) {});
        }
        EXODUS_TRY(look_at_checkpoint());
        publish();
        flow_.stand.reached(applied_.offset, exact_);
        rest(seen, limit != kNoOffset, behind, stop);
        return {};
    }
    ops.reserve(ops.size() + size);
    std::optional<StreamCommand> last;
    for (std::size_t i = 0; i < size; ++i) {
        if (i + 1 == size) last = parsed_.front();
        if (parsed_.front().role != StreamRole::ignored) ops.push_back(std::move(parsed_.front()));
        parsed_.pop_front();
    }
    int db_max = 0;
    for (const auto& op : ops) db_max = std::max(db_max, op.db);
    for (const auto& item : due.items) db_max = std::max(db_max, item.key.db);
    EXODUS_TRY(reach_database(db_max));
    if (repairs_.empty()) passed_ = applied_;
    if (!ops.empty() || !due.items.empty() || due.chunks > 0 || !repairs_.empty())
        EXODUS_TRY(run_batch(ops, due));
    // Neither the checkpoint nor the fill's place passes what has still to arrive. The repairs of
    // the batch before are known to have arrived only now, not when they are sent.
    if (refused_.empty()) {
        passed_ = applied_;
        flow_.queue.finish();
    }
    if (last) advance(*last);
    EXODUS_TRY(finish_fill());
    make_room();
    publish();
    return {};
}

/// Until there is something to do; `standing`: somebody waits for every millisecond.
void Lane::rest(uint64_t seen, bool standing, bool behind, const std::stop_token& stop) {
    const milliseconds longest(standing ? 1 : behind ? 20 : 50);
    const bool told = flow_.lane_work.wait(seen, stop, longest);
    if (told && !standing) wait_unless_stopped(stop, kGather);
}

/// A SELECT that fails inside an EXEC would let what follows run in the database before it: so the
/// first use of a database is tried outside.
Status Lane::reach_database(int db) {
    if (db <= database_reached_) return {};
    auto selected = destination_->command({"SELECT", std::to_string(db)});
    if (!selected) return fail(std::move(selected).error(), "destination");
    if (selected->is_error()) {
        return fail(
            ErrorCode::safety,
            fmt::format("database {} does not exist on the destination ({})", db, selected->text()),
            "raise `databases` there");
    }
    auto back = destination_->command({"SELECT", "0"});
    if (!back) return fail(std::move(back).error(), "destination");
    database_reached_ = db;
    return {};
}

Status Lane::run_batch(const std::vector<StreamCommand>& ops, const CopyQueue::Batch& due) {
    for (;;) {
        const KeySet wanted = planner_.closure(ops, due.items, repairs_);
        auto too_big = big_.set_aside_big(*origin_, wanted, repairs_, watermarks_);
        if (!too_big) return fail(std::move(too_big).error(), "origin");
        if (*too_big) continue;  // they are out of the planner's scope now
        auto copies = read_copies(wanted);
        if (!copies) return tl::unexpected<Error>(std::move(copies).error());
        Plan plan = planner_.plan(ops, due.items, *copies);
        big_.add_pieces(plan, due.items);
        EXODUS_TRY(before_batch(plan, ops, due.items, *copies));
        auto executed = execute(plan, due.items, *copies);
        if (!executed) {
            if (executed.error().code != ErrorCode::data)
                return tl::unexpected<Error>(std::move(executed).error());
            // A verb that the destination does not know: nothing ran; its keys are copied by state
            // from now on. No copy gets by without the verbs that are exodus' own.
            const std::string verb = executed.error().message;
            const bool from_origin =
                std::any_of(ops.begin(), ops.end(),
                            [&](const StreamCommand& op) { return verb_of(op) == verb; });
            if (!from_origin || !planner_.copy_by_state(verb)) {
                const auto side = to_string(destination_of(flow_.direction));
                return fail(
                    ErrorCode::safety,
                    fmt::format("the {} does not know {}, which exodus needs there", side, verb),
                    fmt::format("let the {} have it (rename-command)", side));
            }
            (void)flow_.context.journal.add_event(
                "warn", "unknown-verb",
                verb + " is not known to the destination: its keys are copied by state");
            continue;
        }
        EXODUS_TRY(after_batch(plan, ops, due.items, *copies, executed->results));
        return {};
    }
}

Result<std::vector<CopyItem>> Lane::read_copies(const KeySet& wanted) {
    if (wanted.empty()) return std::vector<CopyItem>{};
    std::vector<Key> keys;
    keys.reserve(wanted.size());
    for (const auto& [hash, key] : wanted) keys.push_back(key);
    std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return a.db < b.db; });
    auto copies = reader_.read(*origin_, keys, flow_.followed());
    if (!copies) return fail(std::move(copies).error(), "origin");
    return copies;
}

// --- one transaction on the destination

Result<Lane::Executed> Lane::execute(const Plan& plan, const std::vector<CopyItem>& items,
                                     const std::vector<CopyItem>& copies) {
    std::string body;
    std::vector<std::pair<std::size_t, int>>
        answers;  // of each step: index of its first answer, how many
    std::size_t commands = 0;
    int db = 0;
    for (const auto& step : plan.steps) {
        if (step.db != db) {
            append_command(body, {"SELECT", std::to_string(step.db)});
            db = step.db;
            ++commands;
        }
        int count = 1;
        switch (step.kind) {
            case Step::Kind::item:
            case Step::Kind::copy: {
                const CopyItem& item =
                    step.kind == Step::Kind::item ? items[step.index] : copies[step.index];
                body += item.bytes;
                count = item.commands;
                break;
            }
            case Step::Kind::check:
                append_command(body, {"PEXPIRETIME", step.name});
                break;
            case Step::Kind::command:
                if (step.rewritten.empty())
                    body.append(step.raw);
                else
                    body.append(step.rewritten);
                break;
        }
        answers.emplace_back(commands, count);
        commands += static_cast<std::size_t>(count);
    }
    if (db != 0) {
        append_command(body, {"SELECT", "0"});
        ++commands;
    }
    std::string unknown_verb;
    const int64_t sent_us = steady_us();
    auto exec = transact(body, commands, passed_, &unknown_verb);
    if (exec) count_batch(static_cast<uint64_t>(steady_us() - sent_us));
    if (!exec) {
        if (!unknown_verb.empty()) return fail(ErrorCode::data, unknown_verb);
        return tl::unexpected<Error>(std::move(exec).error());
    }
    Executed executed;
    executed.results.reserve(plan.steps.size());
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        StepResult result;
        for (int n = 0; n < answers[i].second; ++n) {
            const ReplyView answer = (*exec)[answers[i].first + static_cast<std::size_t>(n)];
            if (answer.is_error() && !result.failed) {
                result.failed = true;
                result.error = answer.text();
            }
            if (plan.steps[i].kind == Step::Kind::check) result.value = answer.integer();
        }
        executed.results.push_back(result);
    }
    executed.exec.push_back(std::move(*exec));
    return executed;
}

/// An idle lane sends nothing, so it would not hear that the destination went away or was emptied.
Status Lane::look_at_checkpoint() {
    if (steady_us() - checkpoint_us_ < limits::kIdleLook_ms * 1000) return {};
    auto held = destination_->command({"GET", flow_.checkpoint_key});
    if (!held) return fail(std::move(held).error(), "destination");
    if (held->is_nil() || held->text() != written_)
        return tl::unexpected<Error>(changed_by_other(*held));
    checkpoint_us_ = steady_us();
    return {};
}

/// What it means that the checkpoint is not the one that the lane wrote last.
Error Lane::changed_by_other(ReplyView held) const {
    auto checkpoint = flow_.checkpoint_in(held);
    if (!checkpoint) return std::move(checkpoint).error();
    if (!*checkpoint) return flow_.destination_lost();
    return {ErrorCode::second_writer,
            "second writer: somebody else changed the checkpoint on the destination",
            "another exodus process moves data in this direction; stop one of them"};
}

Result<Reply> Lane::transact(std::string_view body, std::size_t commands, const StreamPlace& place,
                             std::string* unknown_verb) {
    std::string bytes;
    bytes.reserve(body.size() + 256);
    append_command(bytes, {"MULTI"});
    bytes += body;
    commands += big_.append_changes(bytes);
    in_flight_ = Checkpoint{epoch_, place, ++batch_}.text();
    append_command(bytes, {"SET", flow_.checkpoint_key, in_flight_});
    append_command(bytes, {"EXEC"});
    append_command(bytes, {"WATCH", flow_.checkpoint_key});
    append_command(bytes, {"GET", flow_.checkpoint_key});
    destination_->append_raw(bytes, commands + 5);
    EXODUS_TRY(destination_->flush());
    std::optional<Error> refused;
    auto odd = destination_->read_queued(commands + 2);  // MULTI's OK is one
    if (!odd) return fail(std::move(odd).error(), "destination");
    for (const Reply& queued : *odd) {
        if (!queued.is_error() || refused) continue;
        const auto word = error_word(queued);
        if (passes_by_itself(word)) {
            refused = Error{ErrorCode::unreachable,
                            "destination refuses writes: " + std::string(queued.text()),
                            {}};
        } else if (word == "NOPERM" || word == "NOAUTH") {
            refused =
                Error{ErrorCode::permission, "destination: " + std::string(queued.text()), {}};
        } else {
            refused = Error{ErrorCode::data, std::string(queued.text()), {}};
            const auto from = queued.text().find("unknown command '");
            if (unknown_verb != nullptr && from != std::string_view::npos) {
                const auto verb = queued.text().substr(from + 17);
                *unknown_verb = verb.substr(0, verb.find('\''));
                for (auto& c : *unknown_verb)
                    c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
            }
        }
    }
    auto exec = destination_->read_reply();
    if (!exec) return fail(std::move(exec).error(), "destination");
    auto watched = destination_->read_reply();
    if (!watched) return fail(std::move(watched).error(), "destination");
    auto held = destination_->read_reply();
    if (!held) return fail(std::move(held).error(), "destination");
    if (refused) {
        if (refused->code == ErrorCode::data) refused->code = ErrorCode::unreachable;
        return tl::unexpected<Error>(std::move(*refused));
    }
    if (exec->is_error())
        return fail(ErrorCode::unreachable, "destination: " + std::string(exec->text()));
    if (exec->is_nil() || held->is_nil() || held->text() != in_flight_)
        return tl::unexpected<Error>(changed_by_other(*held));
    written_ = in_flight_;
    big_.changes_written();
    checkpoint_us_ = steady_us();
    flow_.spool->trim(place.offset);
    return std::move(*exec);
}

}  // namespace exodus::redis
