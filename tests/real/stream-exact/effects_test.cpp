// Every effect of redis.md 4.1 and every edge case of the data in redis.md 11, each by its name:
// run while the stream is followed, and again while the copy still runs behind a stalled lane. The
// keys of a case carry its name, so a difference says which case it is.
#include <doctest/doctest.h>
#include <functional>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

using Words = std::vector<std::string>;

/// A word that begins with '%' is a key of the case; "@+N" and "@-N" are the time N ms from now.
struct Case {
    const char* name;
    std::vector<Words> before;  ///< before the movement starts
    std::vector<Words> live;
};

const std::vector<Case>& cases() {
    static const std::string kZero("\0", 1);
    static const std::vector<Case> all{
        {"set-with-expiry",
         {{"SET", "%keep", "1", "PX", "900000"}, {"SET", "%had", "1", "PX", "900000"}},
         {{"SET", "%ex", "v", "EX", "1000"},
          {"SET", "%px", "v", "PX", "100000", "NX"},
          {"SET", "%xx", "v", "XX"},
          {"SET", "%keep", "2", "KEEPTTL"},
          {"SET", "%had", "2"},
          {"SETEX", "%setex", "500", "v"},
          {"PSETEX", "%psetex", "500000", "v"},
          {"SET", "%get", "v", "EXAT", "33177117420", "GET"}}},
        {"expire-kinds",
         {{"MSET", "%a", "1", "%b", "1", "%c", "1", "%d", "1", "%e", "1", "%f", "1"},
          {"PEXPIRE", "%d", "500000"},
          {"PEXPIRE", "%e", "500000"}},
         {{"EXPIRE", "%a", "1000"},
          {"PEXPIREAT", "%b", "33177117420000"},
          {"EXPIRE", "%c", "100", "NX"},
          {"EXPIRE", "%d", "1000", "GT"},
          {"EXPIRE", "%e", "100", "GT"},
          {"EXPIREAT", "%f", "33177117420", "LT"}}},
        {"persist-and-getex",
         {{"SET", "%a", "1", "EX", "600"},
          {"SET", "%b", "1", "EX", "600"},
          {"SET", "%c", "1"},
          {"SET", "%d", "1"}},
         {{"PERSIST", "%a"},
          {"GETEX", "%b", "PERSIST"},
          {"GETEX", "%c", "PX", "700000"},
          {"GETDEL", "%d"},
          {"GETEX", "%c"}}},
        {"past-expiry",
         {{"SET", "%a", "1"}, {"SET", "%b", "1"}},
         {{"SET", "%new", "1", "PXAT", "@-1000"},
          {"PEXPIREAT", "%a", "@-1000"},
          {"GETEX", "%b", "PXAT", "@-5"},
          {"INCR", "%a"},
          {"SET", "%again", "1", "PXAT", "@-1000"},
          {"RPUSH", "%again", "now a list"}}},
        {"dies-and-comes-back",
         {{"SET", "%a", "5", "PX", "150"}, {"RPUSH", "%l", "x"}, {"PEXPIRE", "%l", "150"}},
         {{"SET", "%b", "7", "PX", "60"},
          {"~", "400"},
          {"INCR", "%a"},
          {"INCR", "%b"},
          {"RPUSH", "%l", "y"}}},
        {"spop",
         {{"SADD", "%one", "a", "b", "c"}, {"SADD", "%many", "1", "2", "3", "4", "5", "6"}},
         {{"SPOP", "%one"},
          {"SPOP", "%many", "4"},
          {"SADD", "%last", "only"},
          {"SPOP", "%last"},
          {"SADD", "%all", "a", "b"},
          {"SPOP", "%all", "10"}}},
        {"float-increments",
         {{"SET", "%s", "10.5", "EX", "900"}, {"HSET", "%h", "f", "1.5"}},
         {{"INCRBYFLOAT", "%s", "0.1"},
          {"INCRBYFLOAT", "%n", "3e2"},
          {"HINCRBYFLOAT", "%h", "f", "-0.25"},
          {"HINCRBYFLOAT", "%h", "g", "1e-3"}}},
        {"pops",
         {{"RPUSH", "%l", "1", "2", "3", "4", "5", "6", "7", "8"},
          {"ZADD", "%z", "1", "a", "2", "b", "3", "c", "4", "d", "5", "e"}},
         {{"BLPOP", "%l", "1"},
          {"BRPOP", "%l", "1"},
          {"LMPOP", "2", "%none", "%l", "RIGHT", "COUNT", "2"},
          {"BLMPOP", "1", "1", "%l", "LEFT"},
          {"BLMOVE", "%l", "%moved", "LEFT", "RIGHT", "1"},
          {"RPOPLPUSH", "%l", "%moved"},
          {"BZPOPMIN", "%z", "1"},
          {"BZPOPMAX", "%z", "1"},
          {"ZMPOP", "1", "%z", "MIN"},
          {"BZMPOP", "1", "1", "%z", "MAX", "COUNT", "1"},
          {"ZPOPMIN", "%z", "5"}}},
        {"last-element-goes",
         {{"RPUSH", "%l", "x"}, {"HSET", "%h", "f", "v"}, {"ZADD", "%z", "1", "m"}},
         {{"LPOP", "%l"},
          {"HDEL", "%h", "f"},
          {"ZREM", "%z", "m"},
          {"LPUSHX", "%l", "not there"},
          {"SADD", "%s", "m"},
          {"SMOVE", "%s", "%t", "m"}}},
        {"lists",
         {{"RPUSH", "%l", "a", "b", "c", "b", "d"}},
         {{"LINSERT", "%l", "BEFORE", "c", "n"},
          {"LSET", "%l", "0", "z"},
          {"LREM", "%l", "1", "b"},
          {"LTRIM", "%l", "0", "3"},
          {"LMOVE", "%l", "%l", "LEFT", "RIGHT"},
          {"SORT", "%l", "ALPHA", "DESC", "STORE", "%sorted"},
          {"RPUSH", "%n", "3", "1", "2"},
          {"SORT", "%n", "STORE", "%n"}}},
        {"hashes",
         {{"HSET", "%h", "a", "1", "b", "2"}},
         {{"HSETNX", "%h", "a", "9"},
          {"HSETNX", "%h", "c", "3"},
          {"HINCRBY", "%h", "b", "40"},
          {"HDEL", "%h", "a", "none"},
          {"HMSET", "%h2", "x", "", "", "empty field"}}},
        {"sets",
         {{"SADD", "%a", "1", "2", "3"}, {"SADD", "%b", "2", "3", "4"}},
         {{"SADD", "%a", "1"},
          {"SREM", "%a", "9"},
          {"SMOVE", "%a", "%b", "1"},
          {"SDIFFSTORE", "%d", "%b", "%a"},
          {"SINTERSTORE", "%i", "%a", "%b"},
          {"SUNIONSTORE", "%u", "%a", "%b"},
          {"SINTERSTORE", "%u2", "%a", "%none"}}},
        {"sorted-sets",
         {{"ZADD", "%a", "1", "x", "2", "y", "3", "z"}, {"ZADD", "%b", "5", "x", "6", "w"}},
         {{"ZADD", "%a", "GT", "CH", "7", "x", "1", "y"},
          {"ZADD", "%a", "NX", "9", "x", "9", "n"},
          {"ZADD", "%a", "INCR", "1.5", "y"},
          {"ZINCRBY", "%a", "-0.1", "z"},
          {"ZREMRANGEBYSCORE", "%b", "6", "+inf"},
          {"ZREMRANGEBYRANK", "%a", "0", "0"},
          {"ZADD", "%lex", "0", "a", "0", "b", "0", "c"},
          {"ZREMRANGEBYLEX", "%lex", "[b", "[c"},
          {"ZRANGESTORE", "%rs", "%a", "0", "1", "REV"},
          {"ZUNIONSTORE", "%u", "2", "%a", "%b", "WEIGHTS", "2", "3", "AGGREGATE", "MAX"},
          {"ZINTERSTORE", "%i", "2", "%a", "%b"},
          {"ZDIFFSTORE", "%d", "2", "%a", "%b"},
          {"GEOADD", "%g", "13.361389", "38.115556", "P", "15.087269", "37.502669", "C"},
          {"GEOSEARCHSTORE", "%gs", "%g", "FROMLONLAT", "15", "37", "BYRADIUS", "200", "km"}}},
        {"scores-at-the-edge",
         {{"ZADD", "%z", "inf", "top", "-inf", "bottom", "-0", "minus", "0", "plus"}},
         {{"ZADD", "%n", "-0.0", "m", "1.7976931348623157e308", "max", "5e-324", "tiny"},
          {"ZINCRBY", "%z", "1", "minus"},
          {"ZADD", "%z", "0.1", "third", "3", "three", "1e21", "big"}}},
        {"bits-and-strings",
         {{"SET", "%s", "Hello"}},
         {{"SETRANGE", "%s", "10", "x"},
          {"SETBIT", "%b", "77", "1"},
          {"BITFIELD", "%f", "SET", "u8", "#1", "200", "INCRBY", "i5", "100", "1"},
          {"BITOP", "XOR", "%x", "%s", "%b"},
          {"BITOP", "NOT", "%not", "%none"},
          {"APPEND", "%s", ""},
          {"SETRANGE", "%none2", "0", ""},
          {"SET", "%empty", ""},
          {"MSETNX", "%m1", "1", "%m2", "2"},
          {"MSETNX", "%m2", "9", "%m3", "9"},
          {"GETSET", "%m1", "new"},
          {"DECRBY", "%n", "7"}}},
        {"nothing-changes",
         {{"SET", "%a", "1", "EX", "900"}, {"SADD", "%s", "m"}},
         {{"SETNX", "%a", "2"},
          {"SADD", "%s", "m"},
          {"EXPIRE", "%a", "5", "GT"},
          {"DEL", "%none"},
          {"HDEL", "%none", "f"},
          {"RENAMENX", "%a", "%s"},
          {"COPY", "%a", "%s"}}},
        {"rename-and-copy",
         {{"SET", "%a", "1", "EX", "900"},
          {"HSET", "%h", "f", "v"},
          {"SET", "%x", "old"},
          {"RPUSH", "%self", "1"}},
         {{"RENAME", "%a", "%x"},
          {"RENAME", "%self", "%self"},
          {"RENAMENX", "%h", "%h2"},
          {"COPY", "%x", "%y", "REPLACE"},
          {"COPY", "%x", "%z", "DB", "1"},
          {"MOVE", "%h2", "2"},
          {"APPEND", "%x", "more"},
          {"SET", "%a", "again"}}},
        {"unlink-and-del",
         {{"MSET", "%a", "1", "%b", "2", "%c", "3"}},
         {{"UNLINK", "%a", "%none"}, {"DEL", "%b", "%c"}, {"SET", "%c", "new"}}},
        {"hyperloglog",
         {{"PFADD", "%a", "1", "2", "3"}, {"PFADD", "%b", "3", "4"}},
         {{"PFCOUNT", "%a"},
          {"PFADD", "%a", "5"},
          {"PFMERGE", "%c", "%a", "%b"},
          {"PFCOUNT", "%a", "%b"},
          {"PFADD", "%e"}}},
        {"streams",
         {{"XADD", "%s", "1-1", "f", "v"},
          {"XADD", "%s", "2-1", "f", "v"},
          {"XADD", "%s", "3-1", "f", "v"},
          {"XADD", "%s", "4-1", "f", "v"},
          {"XGROUP", "CREATE", "%s", "g", "0"},
          {"XREADGROUP", "GROUP", "g", "c1", "COUNT", "2", "STREAMS", "%s", ">"}},
         {{"XADD", "%s", "MAXLEN", "~", "3", "*", "f", "v"},
          {"XREADGROUP", "GROUP", "g", "c2", "COUNT", "2", "STREAMS", "%s", ">"},
          {"XACK", "%s", "g", "1-1"},
          {"XAUTOCLAIM", "%s", "g", "c3", "0", "0", "COUNT", "1"},
          {"XCLAIM", "%s", "g", "c4", "0", "3-1"},
          {"XDEL", "%s", "3-1"},
          {"XGROUP", "CREATE", "%s", "h", "$", "ENTRIESREAD", "2"},
          {"XGROUP", "SETID", "%s", "h", "2-1"},
          {"XREADGROUP", "GROUP", "h", "n", "NOACK", "STREAMS", "%s", ">"},
          {"XGROUP", "CREATECONSUMER", "%s", "g", "idle"},
          {"XGROUP", "DELCONSUMER", "%s", "g", "c2"},
          {"XGROUP", "CREATE", "%s", "gone", "0"},
          {"XGROUP", "DESTROY", "%s", "gone"},
          {"XSETID", "%s", "9999999999999-5"},
          {"XADD", "%nomk", "NOMKSTREAM", "*", "f", "v"}}},
        {"stream-trim-then-add",
         {{"XADD", "%s", "5-1", "f", "v"}, {"XADD", "%s", "6-1", "f", "v"}},
         {{"XTRIM", "%s", "MAXLEN", "0"},
          {"XADD", "%s", "*", "f", "w"},
          {"XTRIM", "%s", "MINID", "~", "1"}}},
        {"stream-empty-with-groups",
         {{"XGROUP", "CREATE", "%a", "g", "$", "MKSTREAM"},
          {"XADD", "%b", "1-1", "f", "v"},
          {"XGROUP", "CREATE", "%b", "g", "0"},
          {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "%b", ">"},
          {"XDEL", "%b", "1-1"}},
         {{"XGROUP", "CREATE", "%c", "g", "$", "MKSTREAM"},
          {"XADD", "%c", "7-7", "f", "v"},
          {"XREADGROUP", "GROUP", "g", "c", "STREAMS", "%c", ">"},
          {"XDEL", "%c", "7-7"}}},
        {"scripts",
         {{"SET", "%n", "1"}},
         {{"EVAL",
           "local t=redis.call('TIME'); redis.call('SET',KEYS[1],t[1]..'.'..t[2]); "
           "redis.call('INCR',KEYS[2]); redis.call('SADD',KEYS[3],'a','b','c'); "
           "return redis.call('SPOP',KEYS[3])",
           "3", "%t", "%n", "%s"},
          {"EVAL", "return redis.call('GET',KEYS[1])", "1", "%n"},
          {"EVAL", "redis.call('SET',KEYS[1],'x'); redis.call('PEXPIRE',KEYS[1],900000)", "1",
           "%e"},
          {"FCALL", "bump", "1", "%n"}}},
        {"transactions",
         {{"SET", "%a", "1"}, {"SET", "%other", "db0"}},
         {{"MULTI"},
          {"INCR", "%a"},
          {"RPUSH", "%l", "1"},
          {"EXEC"},
          {"MULTI"},
          {"GET", "%a"},
          {"LRANGE", "%l", "0", "-1"},
          {"EXEC"},
          {"MULTI"},
          {"INCR", "%a"},
          {"SELECT", "1"},
          {"SET", "%other", "db1"},
          {"SELECT", "0"},
          {"INCR", "%a"},
          {"EXEC"},
          {"MULTI"},
          {"INCR", "%a"},
          {"DISCARD"},
          {"MULTI"},
          {"SET", "%a", "text"},
          {"!", "INCR", "%a"},
          {"APPEND", "%a", "+"},
          {"EXEC"}}},
        {"names",
         {{"SET", "%with\r\nlines", "1"},
          {"SET", "%nul" + kZero + "byte", "1"},
          {"SET", "%{}", "1"},
          {"SET", "%{tag}x", "1"},
          {"SET", "%" + std::string(524'288, 'n'), "long name"},
          {"HSET", "%h", "f\r\n" + kZero, "v\r\n"}},
         {{"APPEND", "%with\r\nlines", "\r\n+OK\r\n"},
          {"INCR", "%nul" + kZero + "byte"},
          {"INCR", "%{}"},
          {"INCR", "%{tag}x"},
          {"APPEND", "%" + std::string(524'288, 'n'), "!"},
          {"HSET", "%h", kZero, ""},
          {"SET", "", "the empty name"},
          {"APPEND", "", "!"}}},
    };
    return all;
}

class Runner {
  public:
    explicit Runner(RedisServer& server) : context_(server.connect()), name_(nullptr) {}

    void run(const char* name, const std::vector<Words>& commands) {
        name_ = name;
        for (const Words& words : commands) one(words);
    }

  private:
    void one(Words words) {
        if (words[0] == "~") return sleep_ms(std::stoll(words[1]));
        const bool may_fail = words[0] == "!";
        if (may_fail) words.erase(words.begin());
        for (std::string& word : words) {
            if (word.starts_with("%")) word = std::string(name_) + ":" + word.substr(1);
            if (word.starts_with("@+") || word.starts_with("@-"))
                word = std::to_string(wall_ms() + std::stoll(word.substr(1)));
        }
        const std::string reply = to_text(send_command(context_.get(), words).get());
        INFO(name_ << ": " << words[0] << " " << (words.size() > 1 ? words[1].substr(0, 60) : "")
                   << " -> " << reply.substr(0, 200));
        const bool refused = reply.find("(error)") == 0 || reply == "(connection lost)";
        CHECK((may_fail || !refused));
    }

    ContextPtr context_;
    const char* name_;
};

/// `stall_ms`: the lane sleeps before each batch, so what happens meanwhile overtakes the copy.
void all_cases(Engine from, Engine to, int64_t stall_ms) {
    RedisServer source({.engine = from, .config = {}, .acl = {}});
    RedisServer target({.engine = to, .config = {}, .acl = {}});
    source.text({"FUNCTION", "LOAD",
                 "#!lua name=lib\nredis.register_function('bump', function(k,a) return "
                 "redis.call('INCR', k[1]) end)"});
    Runner runner(source);
    for (const Case& one : cases()) runner.run(one.name, one.before);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.watermarks = 60, .lane_stall_ms = stall_ms});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] {
        const MovementStage stage = mover.forward->status().stage;
        return stage == MovementStage::following ||
               (stall_ms > 0 && stage == MovementStage::filling);
    }));
    for (const Case& one : cases()) runner.run(one.name, one.live);
    const bool caught = mover.caught_up(*mover.forward, milliseconds(60'000));
    const MovementStatus status = mover.forward->status();
    INFO("blocked: " << status.blocked << " degraded: " << status.degraded);
    REQUIRE(caught);
    CHECK(differences(source, target) == "");
    CHECK(status.failed_items == 0);
    CHECK(source.info("total_forks") == "0");
}

TEST_CASE("every effect while following, 7.0 to 8.0") {
    all_cases(Engine::redis, Engine::valkey, 0);
}
TEST_CASE("every effect while following, 8.0 to 7.0") {
    all_cases(Engine::valkey, Engine::redis, 0);
}
TEST_CASE("every effect during the copy, 7.0 to 8.0") {
    all_cases(Engine::redis, Engine::valkey, 120);
}
TEST_CASE("every effect during the copy, 8.0 to 7.0") {
    all_cases(Engine::valkey, Engine::redis, 120);
}

TEST_CASE("keys that expire between SCAN, DUMP and RESTORE are absent in the end, not immortal") {
    RedisServer source;
    RedisServer target;
    const auto context = source.connect();
    for (int i = 0; i < 20'000; ++i) {
        const std::string words =
            "SET dies:" + std::to_string(i) + " v PX " + std::to_string(1 + i % 1500);
        redisAppendCommand(context.get(), words.c_str());
    }
    for (int i = 0; i < 20'000; ++i) {
        void* reply = nullptr;
        REQUIRE(redisGetReply(context.get(), &reply) == REDIS_OK);
        freeReplyObject(reply);
    }
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    CHECK(eventually(milliseconds(20'000), [&] { return source.text({"DBSIZE"}) == "0"; }));
    REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
    CHECK(eventually(milliseconds(10'000), [&] { return target.text({"DBSIZE"}) == "1"; }));
    CHECK(target.text({"KEYS", "dies:*"}) == "[]");
}

TEST_CASE("a transaction of 100,000 effects, and a hash that grows to a million fields") {
    RedisServer source;
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(10'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    CHECK(source.text({"EVAL", "for i=1,100000 do redis.call('RPUSH', KEYS[1], i) end return 1",
                       "1", "many"}) == "1");
    // In parts, so that a slow machine does not keep the server from answering for too long.
    for (int part = 0; part < 100; ++part) {
        CHECK(source.text({"EVAL",
                           "for i=1,5 do local a={} for j=1,2000 do "
                           "a[#a+1]='f'..ARGV[1]..':'..(i*2000+j) a[#a+1]=j end "
                           "redis.call('HSET', KEYS[1], unpack(a)) end return 1",
                           "1", "million", std::to_string(part)}) == "1");
    }
    CHECK(source.text({"HLEN", "million"}) == "1000000");
    REQUIRE(mover.caught_up(*mover.forward, milliseconds(60'000)));
    CHECK(differences(source, target) == "");
}

TEST_CASE("sixteen databases against one: refused before anything is half done") {
    RedisServer source;
    RedisServer target({.engine = Engine::valkey, .config = {"databases 1"}, .acl = {}});
    const auto context = source.connect();
    send_command(context.get(), {"SELECT", "5"});
    send_command(context.get(), {"SET", "k", "v"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    CHECK(eventually(milliseconds(10'000), [&] {
        return mover.forward->status().blocked.find("database 5") != std::string::npos;
    }));
    INFO("blocked: " << mover.forward->status().blocked
                     << " degraded: " << mover.forward->status().degraded);
    CHECK(mover.forward->status().blocked != "");
}

}  // namespace
}  // namespace exodus::test
