// Keys copied in pieces, without servers: what an operation names, what it becomes without the
// elements that were read later, when a copy has to start again, and which operations follow it.
#include "families/redis/bigkey.h"

#include <algorithm>
#include <doctest/doctest.h>

#include "families/redis/options.h"

namespace exodus::redis {
namespace {

const Digest128 kKey = key_hash(0, "k");

/// A command of the stream that owns its bytes.
StreamCommand op(const std::vector<std::string_view>& words, uint64_t end = 100) {
    StreamCommand command;
    append_command(command.owned, words);
    command.raw = command.owned;
    command.end = end;
    REQUIRE(split_command(command.raw, command.args).has_value());
    classify(command);
    return command;
}

std::string resp(const std::vector<std::string_view>& words) {
    std::string out;
    append_command(out, words);
    return out;
}

std::vector<std::string> named(ValueKind kind, const std::vector<std::string_view>& words) {
    const StreamCommand command = op(words);
    const auto effect = big_effect(kind, command, kKey);
    REQUIRE(effect.effect == BigEffect::elements);
    return {effect.names.begin(), effect.names.end()};
}

BigEffect effect(ValueKind kind, const std::vector<std::string_view>& words) {
    const StreamCommand command = op(words);
    return big_effect(kind, command, kKey).effect;
}

using Names = std::vector<std::string>;

TEST_CASE("big key: the elements that an operation names") {
    CHECK(named(ValueKind::hash, {"HSET", "k", "a", "1", "b", "2"}) == Names{"a", "b"});
    CHECK(named(ValueKind::hash, {"hmset", "k", "a", "1"}) == Names{"a"});
    CHECK(named(ValueKind::hash, {"HSETNX", "k", "a", "1"}) == Names{"a"});
    CHECK(named(ValueKind::hash, {"HDEL", "k", "a", "b", "c"}) == Names{"a", "b", "c"});
    CHECK(named(ValueKind::hash, {"HINCRBY", "k", "a", "7"}) == Names{"a"});
    CHECK(named(ValueKind::set, {"SADD", "k", "NX", "b"}) == Names{"NX", "b"});
    CHECK(named(ValueKind::set, {"SREM", "k", "a"}) == Names{"a"});
    CHECK(named(ValueKind::zset, {"ZADD", "k", "1", "a", "2", "b"}) == Names{"a", "b"});
    CHECK(named(ValueKind::zset, {"ZADD", "k", "gt", "CH", "1", "NX"}) == Names{"NX"});
    CHECK(named(ValueKind::zset, {"ZINCRBY", "k", "1", "a"}) == Names{"a"});
    CHECK(named(ValueKind::zset, {"ZREM", "k", "a", "b"}) == Names{"a", "b"});
    CHECK(named(ValueKind::stream, {"XDEL", "k", "1-1", "2-2"}) == Names{"1-1", "2-2"});
}

TEST_CASE("big key: what is read whole at the end, and what makes the copy start again") {
    for (const auto kind : {ValueKind::hash, ValueKind::set, ValueKind::zset, ValueKind::stream,
                            ValueKind::list, ValueKind::string}) {
        CHECK(effect(kind, {"PEXPIREAT", "k", "99"}) == BigEffect::none);
        CHECK(effect(kind, {"PERSIST", "k"}) == BigEffect::none);
        CHECK(effect(kind, {"DEL", "k"}) == BigEffect::whole);
        CHECK(effect(kind, {"SET", "k", "v"}) == BigEffect::whole);
        CHECK(effect(kind, {"RENAME", "k", "other"}) == BigEffect::whole);
        CHECK(effect(kind, {"RENAME", "other", "k"}) == BigEffect::whole);
        CHECK(effect(kind, {"MOVE", "k", "1"}) == BigEffect::whole);
        CHECK(effect(kind, {"COPY", "k", "other", "REPLACE"}) == BigEffect::none);
        CHECK(effect(kind, {"COPY", "other", "k", "REPLACE"}) == BigEffect::whole);
        CHECK(effect(kind, {"SORT", "other", "STORE", "k"}) == BigEffect::whole);
    }
    CHECK(effect(ValueKind::set, {"SUNIONSTORE", "other", "k"}) == BigEffect::none);
    CHECK(effect(ValueKind::set, {"SUNIONSTORE", "k", "other"}) == BigEffect::whole);
    CHECK(effect(ValueKind::set, {"SUNIONSTORE", "k", "k"}) == BigEffect::whole);
    CHECK(effect(ValueKind::set, {"SMOVE", "other", "k", "m"}) == BigEffect::whole);
    CHECK(effect(ValueKind::zset, {"ZPOPMIN", "k", "2"}) == BigEffect::whole);
    CHECK(effect(ValueKind::zset, {"ZREMRANGEBYRANK", "k", "0", "1"}) == BigEffect::whole);
    CHECK(effect(ValueKind::hash, {"SADD", "k", "a"}) == BigEffect::whole);  // made anew
    CHECK(effect(ValueKind::list, {"LPUSH", "k", "a"}) == BigEffect::whole);
    CHECK(effect(ValueKind::string, {"APPEND", "k", "a"}) == BigEffect::whole);
    for (const auto& words : std::vector<std::vector<std::string_view>>{
             {"XADD", "k", "5-1", "f", "v"},
             {"XTRIM", "k", "MAXLEN", "=", "3"},
             {"XACK", "k", "g", "1-1"},
             {"XCLAIM", "k", "g", "c", "0", "1-1", "FORCE", "JUSTID"},
             {"XGROUP", "SETID", "k", "g", "1-1"}}) {
        CHECK(effect(ValueKind::stream, words) == BigEffect::none);
    }
    CHECK(effect(ValueKind::stream, {"XGROUP", "CREATE", "k", "g", "0"}) == BigEffect::whole);
}

TEST_CASE("big key: operations are split around elements that were read later") {
    const auto without_b = [](ValueKind kind, const std::vector<std::string_view>& words) {
        return redirect(kind, op(words), "tmp", {"b"});
    };
    CHECK(without_b(ValueKind::hash, {"HSET", "k", "a", "1", "b", "2", "c", "3"}) ==
          resp({"HSET", "tmp", "a", "1", "c", "3"}));
    CHECK(without_b(ValueKind::hash, {"HDEL", "k", "b", "a"}) == resp({"HDEL", "tmp", "a"}));
    CHECK(without_b(ValueKind::hash, {"HINCRBY", "k", "b", "4"}).empty());
    CHECK(without_b(ValueKind::hash, {"HINCRBY", "k", "a", "4"}) ==
          resp({"HINCRBY", "tmp", "a", "4"}));
    CHECK(without_b(ValueKind::zset, {"ZADD", "k", "GT", "CH", "1", "b", "2", "a"}) ==
          resp({"ZADD", "tmp", "GT", "CH", "2", "a"}));
    CHECK(without_b(ValueKind::zset, {"ZINCRBY", "k", "4", "b"}).empty());
    CHECK(without_b(ValueKind::set, {"SREM", "k", "b"}).empty());
    CHECK(without_b(ValueKind::list, {"LPUSH", "k", "b"}) == resp({"LPUSH", "tmp", "b"}));
    CHECK(without_b(ValueKind::string, {"SETRANGE", "k", "3", "b"}) ==
          resp({"SETRANGE", "tmp", "3", "b"}));
}

BigKeyCopy::Limits limits_of_test() { return {2, 10, 10'000, 3, 10'000, 3}; }
using Next = BigKeyCopy::Next;

TEST_CASE("big key: marks, rounds, the end, and what follows it") {
    BigKeyCopy copy(ValueKind::hash, kKey, "tmp", 100, limits_of_test());
    copy.note(op({"DEL", "k"}, 100));  // before the first mark: contained in what is read
    copy.note(op({"HSET", "k", "a", "1", "b", "2", "c", "3"}, 150));
    CHECK(copy.next(150) == Next::wait);
    copy.round_written(200);
    CHECK(copy.next(199) == Next::wait);  // what changed up to the mark is not known yet
    CHECK(copy.next(200) == Next::read_names);
    auto names = copy.take_names();
    std::sort(names.begin(), names.end());
    CHECK(names == Names{"a", "b", "c"});
    copy.note(op({"HDEL", "k", "b"}, 250));
    copy.round_written(260);
    CHECK(copy.next(260) == Next::read_last);
    CHECK(copy.names() == NameSet{"b"});
    copy.settle(300);
    copy.note(op({"HSET", "k", "b", "7", "d", "8"}, 280));
    copy.note(op({"PEXPIREAT", "k", "5"}, 290));  // the end has read the expiry
    copy.note(op({"HINCRBY", "k", "a", "1"}, 300));
    copy.note(op({"HSET", "k", "b", "9"}, 310));
    copy.note(op({"DEL", "k"}, 320));  // behind the end everything may come
    CHECK(copy.catch_up() == resp({"HSET", "tmp", "d", "8"}) + resp({"HINCRBY", "tmp", "a", "1"}));
    CHECK(copy.catch_up_commands() == 2);
    CHECK(copy.next(299) == Next::wait);
    CHECK(copy.next(320) == Next::install);
    const auto kept = copy.take_kept();
    REQUIRE(kept.size() == 2);
    CHECK(kept[0].end == 310);
    CHECK(kept[0].args[3] == "9");
    CHECK(kept[1].role == StreamRole::reset);
}

TEST_CASE("big key: lists and strings are valid when nothing fell between their pieces") {
    BigKeyCopy moved(ValueKind::list, kKey, "tmp", 100, limits_of_test());
    moved.note(op({"LPUSH", "k", "a"}, 150));
    moved.piece_written(140);
    CHECK(moved.next(150) == Next::wait);  // it came behind that piece
    moved.piece_written(160);
    CHECK(moved.next(160) == Next::start_again);
    CHECK(moved.reason().find("LPUSH") != std::string::npos);

    BigKeyCopy still(ValueKind::list, kKey, "tmp", 100, limits_of_test());
    still.note(op({"RPOP", "k"}, 90));
    still.note(op({"PERSIST", "k"}, 120));
    still.round_written(160);
    still.note(op({"LPUSH", "k", "a"}, 170));
    REQUIRE(still.next(170) == Next::read_last);
    still.settle(180);
    still.note(op({"RPUSH", "k", "b"}, 175));
    still.note(op({"RPUSH", "k", "c"}, 185));
    CHECK(still.catch_up() == resp({"LPUSH", "tmp", "a"}) + resp({"RPUSH", "tmp", "b"}));
    CHECK(still.take_kept().size() == 1);
}

TEST_CASE("big key: entries of a stream that are deleted while the copy settles are named too") {
    BigKeyCopy copy(ValueKind::stream, kKey, "tmp", 100, limits_of_test());
    copy.note(op({"XDEL", "k", "1-1"}, 110));
    copy.note(op({"XADD", "k", "9-9", "f", "v"}, 120));
    copy.round_written(130);
    REQUIRE(copy.next(130) == Next::read_last);
    copy.settle(200);
    copy.note(op({"XDEL", "k", "2-2"}, 190));
    copy.note(op({"XTRIM", "k", "MAXLEN", "=", "4"}, 195));
    copy.note(op({"XDEL", "k", "3-3"}, 210));
    CHECK(copy.names() == NameSet{"1-1", "2-2"});
    CHECK(copy.catch_up().empty());
    CHECK(copy.take_kept().size() == 1);
}

TEST_CASE("big key: every way of starting again, and every bound") {
    const auto fresh = [](ValueKind kind = ValueKind::hash) {
        return BigKeyCopy(kind, kKey, "tmp", 100, limits_of_test());
    };
    auto whole = fresh(ValueKind::zset);
    whole.note(op({"ZPOPMIN", "k", "1"}, 120));
    CHECK(whole.next(120) == Next::start_again);
    auto settled = fresh();
    settled.round_written(130);
    settled.settle(200);
    settled.note(op({"DEL", "k"}, 150));
    CHECK(settled.next(150) == Next::start_again);
    auto with_others = fresh();
    with_others.round_written(130);
    with_others.settle(200);
    with_others.note(op({"COPY", "k", "other", "REPLACE"}, 205));  // read only
    CHECK(with_others.next(205) == Next::install);
    with_others.note(op({"DEL", "k", "other"}, 210));
    CHECK(with_others.next(210) == Next::start_again);
    auto names = fresh();
    for (int i = 0; i < 11; ++i) {
        const std::string name = std::to_string(i);
        names.note(op({"HDEL", "k", name}, 120));
    }
    CHECK(names.next(120) == Next::start_again);
    auto kept = fresh(ValueKind::string);
    for (int i = 0; i < 4; ++i) kept.note(op({"APPEND", "k", "x"}, 120));
    CHECK(kept.next(120) == Next::start_again);
    auto rounds = fresh();
    for (uint64_t round = 1; round <= 4; ++round) {
        for (const std::string_view name : {"a", "b", "c"})
            rounds.note(op({"HDEL", "k", name}, 100 + 10 * round));
        rounds.round_written(100 + 10 * round);
        REQUIRE(rounds.next(100 + 10 * round) == Next::read_names);
        (void)rounds.take_names();
    }
    CHECK(rounds.next(150) == Next::start_again);
    CHECK(rounds.reason() != "");
}

TEST_CASE("big key: which keys are copied in pieces") {
    constexpr int64_t kMiB = 1024 * 1024;
    const BigKeySizes same{false, false};
    CHECK(same.in_pieces(ValueKind::set, 9 * kMiB));
    CHECK_FALSE(same.in_pieces(ValueKind::set, 8 * kMiB));
    CHECK_FALSE(same.in_pieces(ValueKind::other, 900 * kMiB));
    const BigKeySizes older{true, false};
    CHECK(older.in_pieces(ValueKind::stream, 2 * kMiB));
    CHECK_FALSE(older.in_pieces(ValueKind::hash, 2 * kMiB));
    CHECK(older.in_pieces(ValueKind::hash, 9 * kMiB));
    const BigKeySizes fields{false, true};
    CHECK_FALSE(fields.in_pieces(ValueKind::hash, 9 * kMiB));
    CHECK(fields.in_pieces(ValueKind::zset, 9 * kMiB));
}

TEST_CASE("copy.big_key = hold is refused with its reason") {
    Settings settings;
    const auto errors_of = [&](const std::string& value) {
        settings.family_options["copy.big_key"] = value;
        std::string text;
        for (const auto& error : validate_settings(settings)) text += error.message + error.hint;
        return text;
    };
    CHECK(errors_of("dump").find("big_key") == std::string::npos);
    CHECK(errors_of("fail").find("big_key") == std::string::npos);
    CHECK(errors_of("hold").find("cannot hold the writes of a single key") != std::string::npos);
    CHECK(errors_of("pause").find("dump|fail") != std::string::npos);
}

}  // namespace
}  // namespace exodus::redis
