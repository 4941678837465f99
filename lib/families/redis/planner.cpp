#include "families/redis/planner.h"

#include <algorithm>

namespace exodus::redis {

namespace {

Key own(const KeyRef& key) { return {key.db, std::string(key.name), key.hash}; }

}  // namespace

const Watermark* Planner::look(const Digest128& key) const {
    if (const auto reset = resets_.find(key); reset != resets_.end()) return &reset->second;
    const auto found = overlay_.find(key);
    return found != overlay_.end() ? &found->second : watermarks_.find(key);
}

bool Planner::ahead(const KeyRef& key, uint64_t end) const {
    if (copied_.contains(key.hash)) return true;
    const Watermark* mark = look(key.hash);
    return mark != nullptr && mark->copied_at >= end;
}

bool Planner::unknown(const KeyRef& key, uint64_t end) const {
    return end <= watermarks_.doubt(key.db) || (options_.doubtful && options_.doubtful(key.hash));
}

bool Planner::forced(const StreamCommand& op) const {
    if (op.by_state) return true;
    if (!by_state_.empty() && by_state_.contains(verb_of(op))) return true;
    // Keys in and out of scope in one operation: what is out of scope is not there, so the rest is
    // copied.
    return !std::all_of(op.keys.begin(), op.keys.end(),
                        [this](const KeyRef& key) { return in_scope(key); });
}

KeySet Planner::closure(const std::vector<StreamCommand>& ops, const std::vector<CopyItem>& items,
                        const KeySet& repairs) {
    overlay_.clear();
    copied_ = repairs;
    item_due_.assign(items.size(), false);
    for (std::size_t i = 0; i < items.size(); ++i) {
        const CopyItem& item = items[i];
        if (look(item.key.hash) != nullptr || repairs.contains(item.key.hash)) continue;
        if (!in_scope({item.key.db, item.key.name, item.key.hash, false})) continue;
        if (left_alone(item)) continue;
        item_due_[i] = true;
        overlay_[item.key.hash] = {item.unreadable ? kNoOffset : item.at, item.at, item.key.db,
                                   !item.expires};
    }
    for (bool grew = !ops.empty(); grew;) {
        grew = false;
        resets_.clear();
        for (const auto& op : ops) {
            if (op.role == StreamRole::reset && !forced(op)) {
                for (const auto& key : op.keys) {
                    if (!ahead(key, op.end)) resets_[key.hash] = {op.end, op.end, key.db, false};
                }
                continue;
            }
            if (op.role != StreamRole::op && op.role != StreamRole::reset) continue;
            bool copy = forced(op);
            std::size_t ahead_count = 0;
            std::size_t ours = 0;
            for (const auto& key : op.keys) {
                if (!in_scope(key)) continue;
                ++ours;
                if (ahead(key, op.end))
                    ++ahead_count;
                else if (look(key.hash) == nullptr && unknown(key, op.end))
                    copy = true;
            }
            if (ahead_count == ours || (ahead_count == 0 && !copy)) continue;
            for (const auto& key : op.keys) {
                if (in_scope(key)) grew = copied_.emplace(key.hash, own(key)).second || grew;
            }
        }
    }
    resets_.clear();
    return copied_;
}

Watermark& Planner::overlay(const KeyRef& key) {
    const auto found = overlay_.find(key.hash);
    if (found != overlay_.end()) return found.value();
    const Watermark* known = watermarks_.find(key.hash);
    return overlay_.emplace(key.hash, known != nullptr ? *known : Watermark{0, 0, key.db, false})
        .first.value();
}

void Planner::plan_reset(const StreamCommand& op, std::size_t index, Plan& plan) {
    std::vector<const KeyRef*> due;
    // A server puts only the removal of a key that it had into its stream: whatever the destination
    // had of its own under this name gives way, also when the key came and went before the copy.
    const bool removal = verb_is(op, "DEL") || verb_is(op, "UNLINK");
    for (const auto& key : op.keys) {
        if (!in_scope(key)) continue;
        if (!ahead(key, op.end) || (removal && left_alone_.contains(key.hash))) due.push_back(&key);
    }
    if (due.empty()) {
        ++plan.contained;
        return;
    }
    ++plan.applied;
    Step step{Step::Kind::command, op.db, index, {}, {}, op.raw, {}};
    const bool pairs = verb_is(op, "MSET") || verb_is(op, "MSETNX");
    if (verb_is(op, "SETNX")) {
        append_command(step.rewritten, {"SET", op.args[1], op.args[2]});
    } else if (verb_is(op, "RESTORE") || verb_is(op, "RESTORE-ASKING")) {
        std::vector<std::string_view> args = op.args;
        args[0] = "RESTORE";
        if (std::none_of(args.begin(), args.end(),
                         [](auto word) { return word_is(word, "REPLACE"); })) {
            args.emplace_back("REPLACE");
        }
        append_command(step.rewritten, args);
    } else if (pairs || due.size() != op.keys.size()) {
        std::vector<std::string_view> args{pairs ? std::string_view("MSET") : op.args[0]};
        for (std::size_t i = 1; i < op.args.size(); i += pairs ? 2 : 1) {
            const auto hash = key_hash(op.db, op.args[i]);
            if (std::none_of(due.begin(), due.end(),
                             [&](const KeyRef* key) { return key->hash == hash; }))
                continue;
            args.push_back(op.args[i]);
            if (pairs && i + 1 < op.args.size()) args.push_back(op.args[i + 1]);
        }
        append_command(step.rewritten, args);
    }
    plan.steps.push_back(std::move(step));
    for (const KeyRef* key : due) {
        overlay(*key) = {op.end, op.end, key->db, !op.gives_ttl};
        alive_[key->hash] = !op.gives_ttl;
    }
}

void Planner::plan_op(const StreamCommand& op, std::size_t index, Plan& plan) {
    if (op.keys.empty() || std::any_of(op.keys.begin(), op.keys.end(), [&](const KeyRef& key) {
            return ahead(key, op.end) || !in_scope(key);
        })) {
        ++plan.contained;
        return;
    }
    ++plan.applied;
    for (const auto& key : op.keys) {
        if (!options_.presence_checks || key.written_whole) continue;
        const Watermark* mark = look(key.hash);
        if (mark != nullptr && mark->no_expiry) continue;
        if (alive_[key.hash]) continue;
        alive_[key.hash] = true;
        plan.steps.push_back({Step::Kind::check, key.db, index, key.hash, key.name, {}, {}});
    }
    plan.steps.push_back({Step::Kind::command, op.db, index, {}, {}, op.raw, {}});
    for (const auto& key : op.keys) {
        Watermark& mark = overlay(key);
        mark.last = op.end;
        if (op.gives_ttl) {
            mark.no_expiry = false;
            alive_[key.hash] = false;
        }
    }
}

Plan Planner::plan(const std::vector<StreamCommand>& ops, const std::vector<CopyItem>& items,
                   const std::vector<CopyItem>& copies) {
    Plan plan;
    alive_.clear();
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!item_due_[i]) continue;
        if (copied_.contains(items[i].key.hash)) {  // the closure copies it at a later offset
            overlay_.erase(items[i].key.hash);
            item_due_[i] = false;
            continue;
        }
        if (items[i].commands > 0)
            plan.steps.push_back({Step::Kind::item, items[i].key.db, i, {}, {}, {}, {}});
    }
    left_alone_.clear();
    for (std::size_t i = 0; i < copies.size(); ++i) {
        if (left_alone(copies[i]))
            left_alone_.insert(copies[i].key.hash);
        else if (copies[i].commands > 0)
            plan.steps.push_back({Step::Kind::copy, copies[i].key.db, i, {}, {}, {}, {}});
    }
    for (std::size_t i = 0; i < ops.size(); ++i) {
        const StreamCommand& op = ops[i];
        if (op.role == StreamRole::reset && !forced(op))
            plan_reset(op, i, plan);
        else if (op.role == StreamRole::op || op.role == StreamRole::reset)
            plan_op(op, i, plan);
    }
    return plan;
}

KeySet Planner::commit(const Plan& plan, const std::vector<StreamCommand>& ops,
                       const std::vector<CopyItem>&, const std::vector<CopyItem>& copies,
                       const std::vector<StepResult>& results) {
    KeySet repairs;
    std::vector<bool> ran(ops.size(), false);
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const Step& step = plan.steps[i];
        if (step.kind == Step::Kind::command) {
            ran[step.index] = true;
            if (results[i].failed) {
                for (const auto& key : ops[step.index].keys) {
                    if (in_scope(key)) repairs.emplace(key.hash, own(key));
                }
            }
        } else if (step.kind == Step::Kind::check) {
            if (results[i].failed || results[i].value == -2) {
                for (const auto& key : ops[step.index].keys) {
                    if (key.hash == step.key) repairs.emplace(key.hash, own(key));
                }
            } else if (const auto found = overlay_.find(step.key);
                       found != overlay_.end() && alive_[step.key]) {
                found.value().no_expiry =
                    results[i].value == -1;  // of several checks the last one counts
            }
        }
    }
    for (bool grew = !repairs.empty(); grew;) {
        grew = false;
        for (std::size_t i = 0; i < ops.size(); ++i) {
            if (!ran[i]) continue;
            const auto& keys = ops[i].keys;
            // A reset takes nothing from other keys; an operation spreads what is wrong to all it
            // names.
            if (ops[i].role == StreamRole::reset) continue;
            if (std::none_of(keys.begin(), keys.end(),
                             [&](const KeyRef& key) { return repairs.contains(key.hash); })) {
                continue;
            }
            for (const auto& key : keys) grew = repairs.emplace(key.hash, own(key)).second || grew;
        }
    }
    for (const auto& [hash, mark] : overlay_) watermarks_.put(hash, mark);
    for (const auto& copy : copies) {
        if (left_alone(copy)) continue;  // it stays doubtful
        watermarks_.put(copy.key.hash, {copy.unreadable ? kNoOffset : copy.at, copy.at, copy.key.db,
                                        !copy.expires && !copy.unreadable});
    }
    overlay_.clear();
    copied_.clear();
    return repairs;
}

}  // namespace exodus::redis
