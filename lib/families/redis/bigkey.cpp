#include "families/redis/bigkey.h"

#include <algorithm>

#include "base/limits.h"

namespace exodus::redis {

namespace {

/// Where the named elements of a verb are.
struct Elements {
    ValueKind kind;
    std::string_view verb;
    std::size_t first;   ///< argument index of the first element
    std::size_t step;    ///< from one to the next; 0: there is only one
    std::size_t before;  ///< arguments in front of each that belong to it (the score)
    std::size_t behind;  ///< arguments behind it (the value)
};

// Argument orders: redis 7.0.15 and valkey 8.0.1 COMMAND DOCS.
constexpr Elements kElements[] = {
    {ValueKind::hash, "HSET", 2, 2, 0, 1},    {ValueKind::hash, "HMSET", 2, 2, 0, 1},
    {ValueKind::hash, "HSETNX", 2, 0, 0, 0},  {ValueKind::hash, "HDEL", 2, 1, 0, 0},
    {ValueKind::hash, "HINCRBY", 2, 0, 0, 0}, {ValueKind::hash, "HINCRBYFLOAT", 2, 0, 0, 0},
    {ValueKind::set, "SADD", 2, 1, 0, 0},     {ValueKind::set, "SREM", 2, 1, 0, 0},
    {ValueKind::zset, "ZADD", 3, 2, 1, 0},    {ValueKind::zset, "ZINCRBY", 3, 0, 0, 0},
    {ValueKind::zset, "ZREM", 2, 1, 0, 0},    {ValueKind::stream, "XDEL", 2, 1, 0, 0},
};

const Elements* elements_of(ValueKind kind, const StreamCommand& op) {
    const auto* found =
        std::find_if(std::begin(kElements), std::end(kElements),
                     [&](const Elements& e) { return e.kind == kind && verb_is(op, e.verb); });
    return found == std::end(kElements) ? nullptr : found;
}

/// Index of the first element: ZADD has flags in front.
std::size_t first_of(const Elements& elements, const StreamCommand& op) {
    std::size_t first = elements.first;
    if (elements.before == 0) return first;
    for (; first - 1 < op.args.size(); ++first) {
        const auto word = op.args[first - 1];
        if (!word_is(word, "NX") && !word_is(word, "XX") && !word_is(word, "GT") &&
            !word_is(word, "LT") && !word_is(word, "CH") && !word_is(word, "INCR")) {
            break;
        }
    }
    return first;
}

bool one_of(const StreamCommand& op, std::initializer_list<std::string_view> verbs) {
    return std::any_of(verbs.begin(), verbs.end(),
                       [&](std::string_view verb) { return verb_is(op, verb); });
}

/// Operations on several keys: none of them leaves a key in pieces as it was, but as a mere source.
BigEffect effect_of_many(const StreamCommand& op, const Digest128& key) {
    if (op.role == StreamRole::reset || op.by_state) return BigEffect::whole;
    const bool stores =
        one_of(op, {"SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE", "ZUNIONSTORE", "ZINTERSTORE",
                    "ZDIFFSTORE", "ZRANGESTORE", "GEOSEARCHSTORE", "BITOP", "COPY"});
    // SUNIONSTORE a a b reads and writes `a`: it stands first, which is where the result goes.
    const std::size_t result = verb_is(op, "COPY") ? 1 : 0;
    const bool written = result < op.keys.size() && op.keys[result].hash == key;
    return stores && !written ? BigEffect::none : BigEffect::whole;
}

}  // namespace

bool BigKeySizes::may_be(int64_t bytes) const {
    return bytes >
           static_cast<int64_t>(rewritten ? limits::kBigKeyTyped_bytes : limits::kBigKey_bytes);
}

bool BigKeySizes::in_pieces(ValueKind kind, int64_t bytes) const {
    if (kind == ValueKind::other || (kind == ValueKind::hash && field_expiries)) return false;
    // Only these two have encodings that an older server may not know (redis.md 4.9).
    if (kind == ValueKind::set || kind == ValueKind::stream) return may_be(bytes);
    return bytes > static_cast<int64_t>(limits::kBigKey_bytes);
}

BigEffectOf big_effect(ValueKind kind, const StreamCommand& op, const Digest128& key) {
    if (op.keys.size() != 1) return {effect_of_many(op, key), {}};
    if (op.role != StreamRole::op || op.by_state) return {};
    if (one_of(op, {"PEXPIREAT", "EXPIREAT", "PEXPIRE", "EXPIRE", "PERSIST"}))
        return {BigEffect::none, {}};
    if (kind == ValueKind::stream &&
        (one_of(op, {"XADD", "XTRIM", "XSETID", "XACK", "XCLAIM", "XAUTOCLAIM"}) ||
         // A new group may hold entries that were deleted before their piece was read.
         (verb_is(op, "XGROUP") && op.args.size() > 1 && !word_is(op.args[1], "CREATE")))) {
        return {BigEffect::none, {}};
    }
    const Elements* elements = elements_of(kind, op);
    if (elements == nullptr) return {};
    BigEffectOf result{BigEffect::elements, {}};
    for (std::size_t i = first_of(*elements, op); i < op.args.size(); i += elements->step) {
        result.names.push_back(op.args[i]);
        if (elements->step == 0) break;
    }
    return result;
}

std::string redirect(ValueKind kind, const StreamCommand& op, std::string_view name,
                     const NameSet& skip) {
    std::string out;
    const Elements* elements = elements_of(kind, op);
    if (elements == nullptr || op.args.size() < 2) {
        std::vector<std::string_view> args = op.args;
        if (args.size() > 1) args[1] = name;
        append_command(out, args);
        return out;
    }
    const std::size_t first = first_of(*elements, op);
    std::vector<std::string_view> args(
        op.args.begin(), op.args.begin() + static_cast<std::ptrdiff_t>(first - elements->before));
    args[1] = name;
    const std::size_t head = args.size();
    for (std::size_t i = first; i < op.args.size(); i += elements->step) {
        const bool left = !skip.contains(std::string(op.args[i]));
        const std::size_t end = elements->step == 0 ? op.args.size() : i + elements->behind + 1;
        for (std::size_t a = i - elements->before; left && a < std::min(end, op.args.size()); ++a)
            args.push_back(op.args[a]);
        if (elements->step == 0) break;
    }
    if (args.size() > head) append_command(out, args);
    return out;
}

BigKeyCopy::BigKeyCopy(ValueKind kind, const Digest128& key, std::string temporary, uint64_t mark,
                       const Limits& limits)
    : kind_(kind), key_(key), temporary_(std::move(temporary)), mark_(mark), limits_(limits) {}

/// Lists and strings: elements have no names, a change moves all that is behind it.
bool BigKeyCopy::in_order() const { return kind_ == ValueKind::list || kind_ == ValueKind::string; }

void BigKeyCopy::spoil(std::string reason) {
    if (reason_.empty()) reason_ = std::move(reason);
}

void BigKeyCopy::note(const StreamCommand& op) {
    if (!reason_.empty() || op.end <= mark_) return;
    const BigEffectOf effect = big_effect(kind_, op, key_);
    if (settling_ && op.end > settled_at_) {
        // Its other keys were copied without it: what it does to this one cannot be done later.
        if (op.keys.size() == 1)
            keep(op);
        else if (effect.effect != BigEffect::none)
            spoil(verb_of(op) + " wrote it together with other keys");
        return;
    }
    if (effect.effect == BigEffect::none) return;
    if (in_order()) {
        if (op.keys.size() != 1)
            spoil(verb_of(op) + " wrote it together with other keys");
        else if (op.end <= read_at_)
            spoil(verb_of(op) + " changed it while it was read");
        else if (settling_)
            run_on_temporary(op);
        else
            keep(op);
        return;
    }
    if (effect.effect == BigEffect::whole) {
        spoil(verb_of(op) + " changed it and names no elements");
    } else if (settling_ && kind_ != ValueKind::stream) {
        run_on_temporary(op);
    } else {
        add_names(effect.names);
    }
}

void BigKeyCopy::add_names(const std::vector<std::string_view>& names) {
    for (const auto name : names) {
        if (names_.emplace(name).second) names_bytes_ += name.size() + 64;
    }
    if (names_.size() > limits_.names || names_bytes_ > limits_.names_bytes)
        spoil("too many of its elements changed while it was read");
}

void BigKeyCopy::keep(const StreamCommand& op) {
    StreamCommand own;
    own.end = op.end;
    own.db = op.db;
    own.stream_db = op.stream_db;
    own.owned = op.raw;
    own.raw = own.owned;
    if (!split_command(own.raw, own.args)) return spoil("an operation on it cannot be read");
    classify(own);
    own.role = op.role;  // what the lane made of it (no expiries) holds
    own.by_state = op.by_state;
    own.gives_ttl = op.gives_ttl;
    kept_bytes_ += own.owned.size();
    kept_.push_back(std::move(own));
    if (kept_.size() > limits_.kept || kept_bytes_ > limits_.kept_bytes)
        spoil("too many operations changed it while it was read");
}

void BigKeyCopy::run_on_temporary(const StreamCommand& op) {
    const std::string command = redirect(kind_, op, temporary_, names_);
    if (command.empty()) return;
    catch_up_ += command;
    ++catch_up_commands_;
    if (catch_up_.size() > limits_.kept_bytes)
        spoil("too many operations changed it while it was read");
}

void BigKeyCopy::piece_written(uint64_t read_at) {
    read_at_ = std::max(read_at_, read_at);
    if (in_order() && !kept_.empty() && kept_.front().end <= read_at_)
        spoil(verb_of(kept_.front()) + " changed it while it was read");
}

void BigKeyCopy::round_written(uint64_t read_at) {
    piece_written(read_at);
    round_done_ = true;
}

BigKeyCopy::Next BigKeyCopy::next(uint64_t applied) const {
    if (!reason_.empty()) return Next::start_again;
    if (settling_) return applied >= settled_at_ ? Next::install : Next::wait;
    if (!round_done_ || applied < read_at_) return Next::wait;
    const bool few = kind_ == ValueKind::stream || names_.size() <= limits_.final_names;
    return few ? Next::read_last : Next::read_names;
}

std::vector<std::string> BigKeyCopy::take_names() {
    std::vector<std::string> names(names_.begin(), names_.end());
    names_.clear();
    names_bytes_ = 0;
    read_on();
    return names;
}

void BigKeyCopy::read_on() {
    round_done_ = false;
    if (++rounds_ > limits_.rounds) spoil("it changes faster than it is read");
}

void BigKeyCopy::settle(uint64_t offset) {
    settling_ = true;
    settled_at_ = offset;
    std::vector<StreamCommand> noted = std::move(kept_);
    kept_.clear();
    kept_bytes_ = 0;
    for (const auto& op : noted) note(op);
}

}  // namespace exodus::redis
