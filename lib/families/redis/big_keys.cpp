#include "families/redis/big_keys.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "families/redis/key_reader.h"
#include "families/redis/text.h"
#include "wire/resp/slot.h"

namespace exodus::redis {

namespace {

constexpr BigKeyCopy::Limits kLimits{limits::kBigKeyFinal_names, limits::kBigKeyNames_max,
                                     limits::kBigKeyNames_bytes, limits::kGroupOperations_max,
                                     limits::kGroup_bytes_max,   limits::kBigKeyRounds_max};

std::string member_of(const Key& key) { return fmt::format("{} {}", key.db, key.name); }

std::optional<Key> key_of_member(std::string_view member) {
    const auto space = member.find(' ');
    const auto db = to_number(member.substr(0, space));
    if (space == std::string_view::npos || !db) return std::nullopt;
    const auto name = member.substr(space + 1);
    const int number = static_cast<int>(*db);
    return Key{number, std::string(name), key_hash(number, name)};
}

Result<std::vector<Key>> read_record(const Flow& flow, Client& destination) {
    auto members = destination.ask({"SMEMBERS", flow.big_record});
    if (!members) return tl::unexpected<Error>(std::move(members).error());
    std::vector<Key> keys;
    for (std::size_t i = 0; i < members->size(); ++i) {
        if (auto key = key_of_member((*members)[i].text())) keys.push_back(std::move(*key));
    }
    return keys;
}

std::string_view length_verb(ValueKind kind) {
    switch (kind) {
        case ValueKind::hash:
            return "HLEN";
        case ValueKind::set:
            return "SCARD";
        case ValueKind::zset:
            return "ZCARD";
        case ValueKind::list:
            return "LLEN";
        case ValueKind::stream:
            return "XLEN";
        case ValueKind::string:
        case ValueKind::other:
            break;
    }
    return "STRLEN";
}

}  // namespace

std::string temporary_of(const Flow& flow, const Key& key) {
    // Any name in the slot will do: one big key is copied at a time.
    const uint16_t slot = resp::key_slot(key.name);
    for (uint32_t n = 0;; ++n) {
        std::string name = fmt::format("{}:{{{}}}", flow.big_record, n);
        if (resp::key_slot(name) == slot) return name;
    }
}

Status forget_big_keys(const Flow& flow, Client& destination) {
    EXODUS_TRY(destination.select(0));
    auto keys = read_record(flow, destination);
    if (!keys) return tl::unexpected<Error>(std::move(keys).error());
    for (const auto& key : *keys) {
        EXODUS_TRY(destination.select(key.db));
        auto gone = destination.ask({"UNLINK", temporary_of(flow, key)});
        if (!gone) return fail(std::move(gone).error(), "removing a temporary key");
    }
    EXODUS_TRY(destination.select(0));
    auto gone = destination.ask({"DEL", flow.big_record});
    if (!gone) return fail(std::move(gone).error(), "removing the record of big keys");
    return {};
}

BigKeys::BigKeys(Flow& flow) : flow_(flow) {}

Status BigKeys::open(Client& origin, Client& destination, int origin_rdb, int destination_rdb) {
    withdraw();
    asides_.clear();
    order_.clear();
    changes_.clear();
    garbage_.clear();
    filling_ = false;
    auto version = origin.server_version();
    if (!version) return tl::unexpected<Error>(std::move(version).error());
    sizes_ = {origin_rdb > destination_rdb, version->has_field_expiries()};
    auto keys = read_record(flow_, destination);
    if (!keys) return tl::unexpected<Error>(std::move(keys).error());
    for (const auto& key : *keys) {
        set_aside(key, true);
        garbage_.emplace_back(key.db, temporary_of(flow_, key));
    }
    changes_.clear();  // they are in the record
    return {};
}

std::string BigKeys::doing() const {
    if (!active_) return {};
    return fmt::format("a big key is copied in pieces: db{} \"{}\" ({} more wait)", active_->key.db,
                       escape_key(active_->key.name, 100), asides_.size() - 1);
}

void BigKeys::record(std::string_view verb, const Key& key) {
    changes_.emplace_back(verb, member_of(key));
}

void BigKeys::set_aside(const Key& key, bool found_by_fill) {
    if (!asides_.emplace(key.hash, key).second) return;
    filling_ = filling_ || found_by_fill;
    order_.push_back(key.hash);
    record("SADD", key);
}

void BigKeys::release(const Key& key) {
    if (asides_.erase(key.hash) == 0) return;
    record("SREM", key);
    if (asides_.empty()) filling_ = false;
}

Result<bool> BigKeys::set_aside_big(Client& origin, const KeySet& wanted, KeySet& repairs,
                                    Watermarks& watermarks) {
    if (wanted.empty()) return false;
    std::vector<const Key*> asked;
    for (const auto& [hash, key] : wanted) {
        const auto known = restarts_.find(hash);
        if (known == restarts_.end() || known->second < limits::kBigKeyRestarts_max)
            asked.push_back(&key);
    }
    const auto ask =
        [&](std::initializer_list<std::string_view> head,
            std::initializer_list<std::string_view> tail) -> Result<std::vector<Reply>> {
        std::string bytes;
        for (const Key* key : asked) {
            append_command(bytes, {"SELECT", std::to_string(key->db)});
            std::vector<std::string_view> args(head);
            args.push_back(key->name);
            args.insert(args.end(), tail);
            append_command(bytes, args);
        }
        origin.append_raw(bytes, 2 * asked.size());
        return origin.read_all();
    };
    if (asked.empty()) return false;
    auto sizes = ask({"MEMORY", "USAGE"}, {"SAMPLES", "5"});
    if (!sizes) return tl::unexpected<Error>(std::move(sizes).error());
    std::vector<const Key*> large;
    std::vector<int64_t> bytes;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        const int64_t size = (*sizes)[2 * i + 1].integer();
        if (!sizes_.may_be(size)) continue;
        large.push_back(asked[i]);
        bytes.push_back(size);
    }
    if (large.empty()) return false;
    asked = large;
    auto types = ask({"TYPE"}, {});
    if (!types) return tl::unexpected<Error>(std::move(types).error());
    bool any = false;
    for (std::size_t i = 0; i < large.size(); ++i) {
        if (!sizes_.in_pieces(kind_of_name((*types)[2 * i + 1].text()), bytes[i])) continue;
        set_aside(*large[i], false);
        watermarks.erase(large[i]->hash);
        repairs.erase(large[i]->hash);
        any = true;
    }
    return any;
}

Result<BigKeys::Outcome> BigKeys::advance(Client& origin, uint64_t applied, KeySet& repairs) {
    // The fill first: until it ends nearly every operation on several keys would make the copy
    // start again.
    if (!active_) {
        if (flow_.fill_open) return Outcome{};
        while (!order_.empty() && !asides_.contains(order_.front())) order_.pop_front();
        if (order_.empty()) return Outcome{};
        const Key key = asides_.at(order_.front());
        EXODUS_TRY(begin(origin, key, repairs));
        return Outcome{};
    }
    Outcome outcome;
    switch (active_->copy.next(applied)) {
        case BigKeyCopy::Next::wait:
            return outcome;
        case BigKeyCopy::Next::read_names: {
            BigKeyRound round = *active_->round;
            round.again = true;
            round.names = active_->copy.take_names();
            post(std::move(round));
            break;
        }
        case BigKeyCopy::Next::read_last:
            EXODUS_TRY(read_end(origin));
            break;
        case BigKeyCopy::Next::install:
            outcome = install();
            break;
        case BigKeyCopy::Next::start_again:
            restart(outcome, repairs);
            break;
    }
    flow_.lane_work.tell();  // the next look goes on from here
    return outcome;
}

Status BigKeys::begin(Client& origin, const Key& key, KeySet& repairs) {
    const std::string db = std::to_string(key.db);
    origin.append({"SELECT", db});
    origin.append({"TYPE", key.name});
    origin.append({"MEMORY", "USAGE", key.name, "SAMPLES", "5"});
    auto what = origin.read_all();
    if (!what) return tl::unexpected<Error>(std::move(what).error());
    const ValueKind kind = kind_of_name((*what)[1].text());
    const int64_t bytes = (*what)[2].integer();
    // One that is near the limit must not go to and fro.
    if (!sizes_.in_pieces(kind, 2 * bytes)) {
        release(key);
        repairs.emplace(key.hash, key);
        return {};
    }
    origin.append({length_verb(kind), key.name});
    origin.append({"INFO", "replication"});
    auto begun = origin.read_all();
    if (!begun) return tl::unexpected<Error>(std::move(begun).error());
    const auto mark = offset_of_info((*begun)[1].text(), flow_.followed());
    if (!mark) return tl::unexpected<Error>(mark.error());
    const bool string = kind == ValueKind::string;
    const auto each = std::max<std::size_t>(
        1, static_cast<std::size_t>(bytes / std::max<int64_t>(1, (*begun)[0].integer())));
    BigKeyRound round;
    round.copy = next_copy_++;
    round.key = key;
    round.kind = kind;
    round.temporary = temporary_of(flow_, key);
    round.page = string ? limits::kBigKeyPiece_bytes
                        : std::clamp<std::size_t>(limits::kBigKeyPiece_bytes / each, 1,
                                                  limits::kBigKeyPage_max);
    BigKeyCopy::Limits most = kLimits;
    most.final_names =
        std::clamp<std::size_t>(limits::kBigKeyFinal_bytes / each, 1, limits::kBigKeyFinal_names);
    active_.emplace(Active{
        key, bytes, nullptr, BigKeyCopy(kind, key.hash, round.temporary, *mark, most), {}, {}});
    post(std::move(round));
    return {};
}

void BigKeys::post(BigKeyRound round) {
    round.round = next_round_++;
    active_->round = std::make_shared<const BigKeyRound>(std::move(round));
    {
        const std::lock_guard lock(flow_.mutex);
        flow_.big_round = active_->round;
    }
    flow_.copier_work.tell();
}

void BigKeys::withdraw() {
    active_.reset();
    const std::lock_guard lock(flow_.mutex);
    flow_.big_round.reset();
}

Status BigKeys::read_end(Client& origin) {
    auto end = read_big_end(origin, *active_->round, active_->copy.names(), active_->stream,
                            flow_.followed());
    if (!end) return tl::unexpected<Error>(std::move(end).error());
    if (!end->spoiled.empty()) {
        active_->copy.spoil(end->spoiled);
    } else if (end->more) {
        active_->copy.read_on();
        BigKeyRound round = *active_->round;
        round.again = true;
        round.after = active_->stream.through;
        post(std::move(round));
    } else {
        active_->copy.settle(end->at);
        active_->end = std::move(*end);
    }
    return {};
}

BigKeys::Outcome BigKeys::install() {
    Outcome outcome;
    const Active& done = *active_;
    CopyItem item;
    item.key = done.key;
    item.at = done.copy.settled_at();
    RespWriter writer = done.end.changes;
    writer.bytes += done.copy.catch_up();
    writer.commands += done.copy.catch_up_commands();
    if (done.copy.kind() == ValueKind::stream) {
        for (const auto& id : done.copy.names()) writer.add({"XDEL", done.round->temporary, id});
    }
    writer.bytes += done.end.finish.bytes;
    writer.commands += done.end.finish.commands;
    writer.add({"UNLINK", done.key.name});  // RENAME would free it at once
    writer.add({"RENAME", done.round->temporary, done.key.name});
    item.expires = done.end.expiry_ms >= 0;
    if (item.expires) writer.add({"PEXPIREAT", done.key.name, std::to_string(done.end.expiry_ms)});
    item.bytes = std::move(writer.bytes);
    item.commands = writer.commands;
    outcome.ops = active_->copy.take_kept();
    garbage_.emplace_back(done.key.db, done.round->temporary);  // should it not be written
    release(done.key);
    outcome.item = std::move(item);
    withdraw();
    return outcome;
}

void BigKeys::restart(Outcome& outcome, KeySet& repairs) {
    const Key key = active_->key;
    const int64_t bytes = active_->bytes;
    const std::string reason = active_->copy.reason();
    garbage_.emplace_back(key.db, active_->round->temporary);
    withdraw();
    release(key);
    if (++restarts_[key.hash] < limits::kBigKeyRestarts_max) {
        repairs.emplace(key.hash, key);  // it is looked at again: it may be small by now
        return;
    }
    const auto& options = flow_.context.settings.family_options;
    const auto policy = options.find("copy.big_key");
    const std::string text =
        fmt::format("db{} \"{}\" could not be copied in pieces in {} tries: {}", key.db,
                    escape_key(key.name, 100), limits::kBigKeyRestarts_max, reason);
    // DUMP of more than a reply can carry would hold up the origin for nothing.
    const bool too_large = bytes > static_cast<int64_t>(limits::kRespBulk_bytes_max);
    if (too_large || (policy != options.end() && policy->second == "fail")) {
        restarts_.erase(key.hash);
        outcome.failed = key;
        outcome.reason = text;
        return;
    }
    (void)flow_.context.journal.add_event("warn", "big-key", text + "; it is copied whole");
    repairs.emplace(key.hash, key);
}

void BigKeys::add_pieces(Plan& plan, const std::vector<CopyItem>& items) const {
    std::vector<Step> pieces;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].piece.copy != 0 && items[i].commands > 0) {
            pieces.push_back({Step::Kind::item, items[i].key.db, i, {}, {}, {}, {}});
        }
    }
    plan.steps.insert(plan.steps.begin(), pieces.begin(), pieces.end());
}

void BigKeys::after_batch(const Plan& plan, const std::vector<StreamCommand>& ops,
                          const std::vector<CopyItem>& items,
                          const std::vector<StepResult>& results) {
    if (!active_) return;
    BigKeyCopy& copy = active_->copy;
    for (const auto& op : ops) {
        for (const auto& key : op.keys) {
            if (key.hash != active_->key.hash) continue;
            copy.note(op);
            break;
        }
    }
    for (std::size_t i = 0; i < plan.steps.size(); ++i) {
        const auto& step = plan.steps[i];
        if (step.kind == Step::Kind::item && results[i].failed &&
            items[step.index].piece.copy != 0) {
            copy.spoil("the destination refused a piece: " + std::string(results[i].error));
        }
    }
    for (const auto& item : items) {
        if (item.piece.copy == 0) continue;
        if (!item.piece.last) {
            copy.piece_written(item.at);
            continue;
        }
        active_->stream = item.piece;
        copy.round_written(item.at);
    }
}

void BigKeys::copied(const Digest128& key) {
    if (!restarts_.empty()) restarts_.erase(key);
}

void BigKeys::drop_db(int db) {
    if (active_ && active_->key.db == db) withdraw();
    std::vector<Key> dropped;
    for (const auto& [hash, key] : asides_) {
        if (key.db == db) dropped.push_back(key);
    }
    for (const auto& key : dropped) {
        garbage_.emplace_back(db, temporary_of(flow_, key));
        release(key);
    }
}

bool BigKeys::any_in(int db) const {
    return std::any_of(asides_.begin(), asides_.end(),
                       [db](const auto& aside) { return aside.second.db == db; });
}

void BigKeys::start_again() { withdraw(); }

void BigKeys::record_gone() {
    changes_.clear();
    for (const auto& [hash, key] : asides_) record("SADD", key);
}

std::size_t BigKeys::append_changes(std::string& out) const {
    std::size_t commands = 0;
    for (const auto& [verb, member] : changes_) {
        append_command(out, {verb, flow_.big_record, member});
        ++commands;
    }
    for (const auto& [db, name] : garbage_) {
        append_command(out, {"SELECT", std::to_string(db)});
        append_command(out, {"UNLINK", name});
        commands += 2;
    }
    if (!garbage_.empty()) {
        append_command(out, {"SELECT", "0"});
        ++commands;
    }
    return commands;
}

void BigKeys::changes_written() {
    changes_.clear();
    garbage_.clear();
}

}  // namespace exodus::redis
