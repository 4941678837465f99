// World: FLUSHDB, FLUSHALL and SWAPDB as lane_global.cpp applies them: each alone, behind empty
// repairs, in a transaction that carries its own end.
#include <algorithm>
#include <doctest/doctest.h>
#include <numeric>

#include "world.h"

namespace exodus::redis::sim {

void World::run_global() {
    const StreamCommand op = parse(origin_.log()[next_]);
    bool done = false;
    switch (op.global) {
        case GlobalKind::flush_db:
            done = flush(op, {op.db});
            break;
        case GlobalKind::flush_all: {
            std::vector<int> all(kDatabases);
            std::iota(all.begin(), all.end(), 0);
            done = flush(op, all);
            break;
        }
        case GlobalKind::swap_db:
            done = swap(op);
            break;
        default:
            FAIL("no global command");
    }
    if (!done) return;
    applied_ = op.end;
    ++next_;
    publish();
}

bool World::flush(const StreamCommand& op, const std::vector<int>& databases) {
    if (scoped_) return fill_again(op, databases);
    std::vector<Command> body;
    for (const int db : databases) {
        body.push_back({db, {"FLUSHDB"}});
        queue_->drop_db(db);
        watermarks_->drop_db(db);
        drop_aside(db);
    }
    if (!transact(op, body)) return false;
    for (const int db : databases) watermarks_->set_doubt(db, origin_.offset());
    ++counts_.flushed;
    return true;
}

bool World::swap(const StreamCommand& op) {
    const int a = op.db;
    const int b = op.swap_with;
    if (scoped_) return fill_again(op, {a, b});
    std::vector<Command> body;
    const bool verbatim = !fill_open_ && watermarks_->exact_db_before(a, op.end) &&
                          watermarks_->exact_db_before(b, op.end) && !any_aside_in(a) &&
                          !any_aside_in(b);
    if (verbatim) {
        body.push_back({0, {"SWAPDB", std::to_string(a), std::to_string(b)}});
    } else {
        for (const int db : {a, b}) {
            body.push_back({db, {"FLUSHDB"}});
            drop_aside(db);
        }
        active_.reset();
        const ScanPlace place = queue_->place();
        const ScanPlace again{ScanPlace::Phase::copy, place.repair, std::min(a, b), "0", {}};
        const bool earlier =
            fill_open_ && place.phase == ScanPlace::Phase::copy && place.db < again.db;
        queue_->restart(earlier ? place : again);
        fill_open_ = true;
        journal_ = queue_->place().text();
    }
    if (!transact(op, body)) return false;
    for (const int db : {a, b}) {
        watermarks_->drop_db(db);
        if (!verbatim) watermarks_->set_doubt(db, kNoOffset);
    }
    ++(verbatim ? counts_.swapped : counts_.filled_again);
    return true;
}

bool World::fill_again(const StreamCommand& op, const std::vector<int>& databases) {
    queue_->restart({ScanPlace::Phase::copy, true, 0, "0", {}});
    fill_open_ = true;
    watermarks_->clear();
    for (const int db : databases) drop_aside(db);
    active_.reset();
    journal_ = queue_->place().text();
    ++counts_.repaired;
    return transact(op, {});
}

/// False: it did not run, or nobody knows. Meanwhile the origin and the copier go on.
bool World::transact(const StreamCommand& op, const std::vector<Command>& body) {
    if (dice_.one_in(3)) origin_.write();
    if (dice_.one_in(3)) call_copier();
    now_ += static_cast<int64_t>(dice_.pick(3));
    const bool sent = calm_ || !dice_.one_in(25);
    for (const auto& command : body) {
        const std::vector<std::string_view> views(command.words.begin(), command.words.end());
        if (sent) target_.run(command.db, views, now_);
    }
    if (sent) checkpoint(op.end, next_ + 1);
    const bool answered = sent && (calm_ || !dice_.one_in(25));
    if (!answered) crash();
    if (answered && dice_.one_in(3)) call_copier();
    return answered;
}

void World::drop_aside(int db) {
    if (active_ && active_->item.key.db == db) active_.reset();
    std::erase_if(aside_, [db](const auto& aside) { return aside.second.db == db; });
}

bool World::any_aside_in(int db) const {
    return std::any_of(aside_.begin(), aside_.end(),
                       [db](const auto& aside) { return aside.second.db == db; });
}

}  // namespace exodus::redis::sim
