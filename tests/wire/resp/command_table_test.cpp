// The command table against COMMAND and COMMAND GETKEYS of the installed servers, and the policy
// rows that matter most.
#include "wire/resp/command_table.h"

#include <doctest/doctest.h>
#include <set>

#include "tests/support/redis_server.h"
#include "wire/resp/codec.h"

using namespace exodus;
using namespace exodus::test;
using resp::CompareRule;
using resp::ConnectionClass;
using resp::Effect;
using resp::StreamRole;

namespace {

using Words = std::vector<std::string>;

std::vector<std::string_view> views(const Words& words) { return {words.begin(), words.end()}; }

const resp::CommandRow& row_of(const Words& words) { return resp::classify(views(words)); }

/// Raw bytes of a reply: hiredis' tree written back as RESP2.
void encode(const redisReply* reply, std::string& out) {
    switch (reply->type) {
        case REDIS_REPLY_ARRAY:
            resp::append_array_header(out, reply->elements);
            for (std::size_t i = 0; i < reply->elements; ++i) encode(reply->element[i], out);
            break;
        case REDIS_REPLY_INTEGER:
            resp::append_integer(out, reply->integer);
            break;
        case REDIS_REPLY_STATUS:
            resp::append_simple(out, {reply->str, static_cast<std::size_t>(reply->len)});
            break;
        case REDIS_REPLY_STRING:
            resp::append_bulk(out, {reply->str, static_cast<std::size_t>(reply->len)});
            break;
        default:
            resp::append_null(out, 2);
            break;
    }
}

std::vector<resp::CommandFacts> facts_of(RedisServer& server) {
    std::string bytes;
    encode(server.command({"COMMAND"}).get(), bytes);
    const auto value = resp::parse_reply(bytes);
    REQUIRE(value.has_value());
    return resp::parse_command_reply(*value);
}

void check_facts(const std::vector<resp::CommandFacts>& all, uint16_t bit, bool newest,
                 std::size_t& seen) {
    for (const resp::CommandFacts& facts : all) {
        ++seen;
        const std::size_t blank = facts.name.find(' ');
        const std::string name = facts.name.substr(0, blank);
        const std::string sub = blank == std::string::npos ? "" : facts.name.substr(blank + 1);
        const resp::CommandRow* row = resp::find_command(name, sub);
        INFO(facts.name);
        REQUIRE(row != nullptr);
        CHECK(row->name == facts.name);
        CHECK((row->engines & bit) != 0);
        CHECK(row->container == !facts.subcommands.empty());
        // Valkey 8.0's facts are the table's; Redis 7.0 differs in details that were looked at:
        // arity of ZRANK (WITHSCORE) and COMMAND GETKEYS, flags noscript, stale, no_async_loading.
        // What decides about data never differs.
        constexpr uint32_t kDeciding = resp::flag::kWrite | resp::flag::kReadonly |
                                       resp::flag::kAdmin | resp::flag::kPubsub |
                                       resp::flag::kMayReplicate | resp::flag::kMovableKeys;
        CHECK((row->flags & kDeciding) == (facts.flags & kDeciding));
        if (newest) {
            CHECK(row->arity == facts.arity);
            CHECK(row->flags == facts.flags);
        }
        REQUIRE(row->keys.size() == facts.keys.size());
        for (std::size_t i = 0; i < row->keys.size(); ++i) {
            const resp::KeySpec& ours = row->keys[i];
            const resp::KeySpec& theirs = facts.keys[i].spec;
            CHECK(ours.begin == theirs.begin);
            CHECK(ours.find == theirs.find);
            CHECK(ours.read_only == theirs.read_only);
            CHECK(ours.index == theirs.index);
            CHECK(ours.keyword == facts.keys[i].keyword);
            CHECK(ours.last == theirs.last);
            CHECK(ours.step == theirs.step);
            CHECK(ours.limit == theirs.limit);
            CHECK(ours.first == theirs.first);
        }
        // The old form of COMMAND gives the same first key.
        if (facts.first_key > 0 && !row->keys.empty() &&
            row->keys[0].begin == resp::KeySpec::Begin::index &&
            row->keys[0].find == resp::KeySpec::Find::range) {
            CHECK(row->keys[0].index == facts.first_key);
        }
        check_facts(facts.subcommands, bit, newest, seen);
    }
}

Words split(const std::string& text) {
    Words words;
    REQUIRE(resp::split_inline(text, words));
    return words;
}

// Requests whose keys the servers are asked for with COMMAND GETKEYS.
const char* const kSamples[] = {"GET k",
                                "SET k v",
                                "SET k v GET EX 10",
                                "MSET a 1 b 2 c 3",
                                "MSETNX a 1 b 2",
                                "MGET a b c",
                                "DEL a b c",
                                "UNLINK a",
                                "EXISTS a b",
                                "APPEND k v",
                                "RENAME a b",
                                "RENAMENX a b",
                                "COPY a b",
                                "COPY a b DB 3 REPLACE",
                                "MOVE a 3",
                                "OBJECT ENCODING k",
                                "MEMORY USAGE k SAMPLES 0",
                                "BITOP AND dest a b c",
                                "BITFIELD k GET u8 0",
                                "BITFIELD_RO k GET u8 0",
                                "PFCOUNT a b",
                                "PFMERGE dest a b",
                                "SORT k",
                                "SORT k BY w_* GET # STORE dest",
                                "SORT k LIMIT 0 5 GET STORE STORE d1 STORE d2",
                                "SORT_RO k BY nosort",
                                "EVAL \"return 1\" 2 a b c d",
                                "EVAL \"return 1\" 0 x",
                                "EVALSHA abc 1 k v",
                                "EVAL_RO s 1 k",
                                "FCALL f 2 a b c",
                                "FCALL_RO f 1 k",
                                "XREAD COUNT 1 STREAMS a b 0 0",
                                "XREAD BLOCK 5 STREAMS s $",
                                "XREADGROUP GROUP g c STREAMS a b c > > >",
                                "XREADGROUP GROUP g STREAMS COUNT 1 STREAMS a 0",
                                "XADD s * f v",
                                "XGROUP CREATE s g $",
                                "XGROUP SETID s g 0",
                                "XINFO STREAM s",
                                "XINFO GROUPS s",
                                "XCLAIM s g c 0 1-1",
                                "XAUTOCLAIM s g c 0 0",
                                "ZADD z 1 a",
                                "ZUNIONSTORE dest 2 a b WEIGHTS 1 2",
                                "ZINTERSTORE dest 1 a",
                                "ZDIFFSTORE dest 2 a b",
                                "ZUNION 2 a b WITHSCORES",
                                "ZINTER 3 a b c",
                                "ZDIFF 1 a",
                                "ZINTERCARD 2 a b LIMIT 1",
                                "SINTERCARD 2 a b",
                                "ZRANGESTORE dst src 0 -1",
                                "ZMPOP 2 a b MIN",
                                "BZMPOP 1 2 a b MAX COUNT 2",
                                "LMPOP 1 l LEFT",
                                "BLMPOP 0 2 a b RIGHT",
                                "BLPOP a b 0",
                                "BRPOP a 5",
                                "BLMOVE a b LEFT RIGHT 0",
                                "LMOVE a b LEFT RIGHT",
                                "RPOPLPUSH a b",
                                "BRPOPLPUSH a b 0",
                                "BZPOPMIN a b 0",
                                "SMOVE a b m",
                                "SINTERSTORE d a b",
                                "SDIFF a b",
                                "GEOADD g 1 2 m",
                                "GEORADIUS g 1 2 3 km",
                                "GEORADIUS g 1 2 3 km STORE dest",
                                "GEORADIUS g 1 2 3 km COUNT 1 STOREDIST dest",
                                "GEORADIUSBYMEMBER g m 3 km STORE d",
                                "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km",
                                "GEORADIUS_RO g 1 2 3 km",
                                "MIGRATE h 1 k 0 1000",
                                "MIGRATE h 1 \"\" 0 1000 KEYS a b c",
                                "MIGRATE h 1 \"\" 0 1000 AUTH2 KEYS p REPLACE KEYS a b",
                                "MIGRATE h 1 \"\" 0 1000 COPY AUTH p KEYS a",
                                "WATCH a b",
                                "RESTORE k 0 x REPLACE",
                                "DUMP k",
                                "TOUCH a b",
                                "EXPIRE k 1",
                                "GETEX k EX 1",
                                "LCS a b",
                                "STRLEN k",
                                "HSET h f v",
                                "HRANDFIELD h 1",
                                "ZRANDMEMBER z",
                                "SUBSTR k 0 1",
                                "DEBUG OBJECT k",
                                "PFDEBUG GETREG k",
                                "RESTORE-ASKING k 0 x",
                                "XSETID s 1-1",
                                "XPENDING s g",
                                "SSCAN s 0",
                                "LPOS l e",
                                "SMISMEMBER s a b",
                                "HINCRBYFLOAT h f 1",
                                "PERSIST k",
                                "XTRIM s MAXLEN 1",
                                "XACK s g 1-1",
                                "SPUBLISH ch m"};

}  // namespace

TEST_CASE("the table is what the servers' COMMAND says") {
    struct Case {
        Engine engine;
        uint16_t bit;
        bool newest;
    };
    for (const Case& c : {Case{Engine::redis, resp::engine::kRedis70, false},
                          Case{Engine::valkey, resp::engine::kValkey80, true}}) {
        RedisServer server({c.engine, {}, {}});
        const auto facts = facts_of(server);
        CHECK(facts.size() >= 240);
        std::size_t seen = 0;
        check_facts(facts, c.bit, c.newest, seen);
        std::size_t ours = 0;
        for (const resp::CommandRow& row : resp::builtin_rows())
            ours += (row.engines & c.bit) != 0 ? 1 : 0;
        CHECK(ours == seen);
        // Nothing to add for these servers.
        resp::CommandOverlay overlay;
        overlay.add(facts);
        CHECK(overlay.added() == 0);
    }
}

TEST_CASE("keys are those of COMMAND GETKEYS") {
    for (const Engine engine : {Engine::redis, Engine::valkey}) {
        RedisServer server({engine, {}, {}});
        for (const char* sample : kSamples) {
            const Words words = split(sample);
            INFO(sample);
            Words ask{"COMMAND", "GETKEYS"};
            ask.insert(ask.end(), words.begin(), words.end());
            const ReplyPtr reply = server.command(ask);
            std::vector<resp::KeyRef> keys;
            const bool told = resp::extract_keys(row_of(words), views(words), keys);
            if (reply->type != REDIS_REPLY_ARRAY) {  // "The command has no key arguments", also for
                                                     // SPUBLISH's channel
                CHECK(keys.empty());
                continue;
            }
            REQUIRE(told);
            std::erase_if(keys, [&](const resp::KeyRef& key) {
                return key.database >= 0 && words[0] == "MOVE";
            });
            Words ours, theirs;
            for (const resp::KeyRef& key : keys) ours.emplace_back(key.key);
            for (std::size_t i = 0; i < reply->elements; ++i) {
                theirs.emplace_back(reply->element[i]->str,
                                    static_cast<std::size_t>(reply->element[i]->len));
            }
            CHECK(ours == theirs);
            if (!theirs.empty()) CHECK(resp::first_key(row_of(words), views(words)) == theirs[0]);
        }
    }
}

TEST_CASE("names are found in any case, and nothing else") {
    for (const resp::CommandRow& row : resp::builtin_rows()) {
        const std::size_t blank = row.name.find(' ');
        std::string name(row.name.substr(0, blank));
        std::string sub(blank == std::string_view::npos ? "" : row.name.substr(blank + 1));
        CHECK(resp::find_command(name, sub) == &row);
        for (char& c : name) c = static_cast<char>(std::tolower(c));
        for (char& c : sub) c = static_cast<char>(std::tolower(c));
        CHECK(resp::find_command(name, sub) == &row);
        CHECK(resp::builtin_rows()[row.id - 1U].name == row.name);
    }
    using namespace std::string_view_literals;
    for (const std::string_view name :
         {"GETT"sv, "GE"sv, ""sv, "GET\0"sv, "G\xc5T"sv, "ID"sv, "CLIENT ID"sv, "g`t"sv, "[et"sv}) {
        CHECK(resp::find_command(name) == nullptr);
    }
    CHECK(resp::find_command(std::string(1000, 'A')) == nullptr);
    CHECK(resp::find_command("CLIENT", "NOSUCH") == nullptr);
    CHECK(!row_of({"NOSUCH"}).known);
    CHECK(!row_of({"CLIENT", "NOSUCH"}).known);
    CHECK(row_of({"CONFIG"}).name == "CONFIG");
}

TEST_CASE("policy") {
    CHECK(row_of({"GET", "k"}).effect == Effect::read);
    CHECK(row_of({"GET", "k"}).connection == ConnectionClass::shared);
    CHECK(row_of({"GET", "k"}).compare == CompareRule::exact);
    for (const char* name : {"SORT", "GETEX", "BITFIELD", "GEORADIUS", "SET", "SPOP", "FLUSHALL",
                             "SWAPDB", "XREADGROUP", "XADD"}) {
        CHECK_MESSAGE(row_of({name}).effect == Effect::write, name);
    }
    for (const char* name : {"EVAL", "EVALSHA", "FCALL", "PFCOUNT", "PUBLISH", "SPUBLISH"}) {
        CHECK_MESSAGE(row_of({name}).effect == Effect::may_write, name);
    }
    // A script that does not end must not stand before what others ask on the same connection.
    const auto is_script = [](std::string_view name) {
        return name == "EVAL" || name == "EVALSHA" || name == "FCALL" || name == "EVAL_RO" ||
               name == "EVALSHA_RO" || name == "FCALL_RO";
    };
    for (const char* name : {"EVAL", "EVALSHA_RO", "FCALL_RO"})
        CHECK(row_of({name}).connection == ConnectionClass::leased_until_done);
    for (const char* name : {"PFCOUNT", "PUBLISH", "SPUBLISH"})
        CHECK(row_of({name}).connection == ConnectionClass::shared);
    CHECK(row_of({"SCRIPT", "KILL"}).connection == ConnectionClass::shared);
    for (const char* name :
         {"INFO", "TIME", "DBSIZE", "SCAN", "HSCAN", "DUMP", "TOUCH", "ROLE", "XPENDING"}) {
        CHECK_MESSAGE(row_of({name}).effect == Effect::read, name);
        CHECK_MESSAGE(row_of({name}).compare == CompareRule::never, name);
        CHECK_MESSAGE(row_of({name}).connection == ConnectionClass::shared, name);
    }
    CHECK(row_of({"CONFIG", "GET"}).effect == Effect::read);
    CHECK(row_of({"CONFIG", "SET"}).effect == Effect::admin);
    CHECK(row_of({"FUNCTION", "LOAD"}).effect == Effect::write);
    CHECK(row_of({"FUNCTION", "LOAD"}).stream == StreamRole::global);
    CHECK(row_of({"FUNCTION", "LIST"}).effect == Effect::read);
    CHECK(row_of({"MIGRATE"}).effect == Effect::admin);
    CHECK(row_of({"MIGRATE"}).writes());
    CHECK(row_of({"ACL", "SETUSER"}).effect == Effect::admin);
    for (const char* name : {"SHUTDOWN", "REPLICAOF", "FAILOVER", "SYNC", "PSYNC"})
        CHECK(row_of({name}).refused_while_migrating);
    CHECK(row_of({"CLUSTER", "MEET"}).refused_while_migrating);
    CHECK(!row_of({"CLUSTER", "SLOTS"}).refused_while_migrating);
    CHECK(row_of({"MODULE", "LOAD"}).refused_while_migrating);
    CHECK(!row_of({"SAVE"}).refused_while_migrating);
    for (const char* name : {"BLPOP", "BZMPOP", "WAIT", "WAITAOF", "MULTI", "WATCH", "EXEC"}) {
        CHECK_MESSAGE(row_of({name}).connection == ConnectionClass::leased_until_done, name);
    }
    for (const char* name : {"SUBSCRIBE", "MONITOR", "PSYNC"})
        CHECK(row_of({name}).connection == ConnectionClass::pinned);
    for (const char* name : {"AUTH", "HELLO", "SELECT", "QUIT", "RESET", "PING"})
        CHECK(row_of({name}).connection == ConnectionClass::session);
    CHECK(row_of({"CLIENT", "TRACKING"}).connection == ConnectionClass::session);
    // What is mirrored and compared never writes, never blocks without being asked, and runs on a
    // shared connection unless it is a script.
    for (const resp::CommandRow& row : resp::builtin_rows()) {
        INFO(row.name);
        if (row.compare != CompareRule::never) {
            CHECK(row.effect == Effect::read);
            CHECK(row.has(resp::flag::kReadonly));
            CHECK((row.connection == ConnectionClass::shared || is_script(row.name)));
        }
        if (row.has(resp::flag::kWrite)) CHECK(row.writes());
        if (row.stream == StreamRole::reset || row.stream == StreamRole::op)
            CHECK(!row.keys.empty());
    }
    const auto& unknown = resp::unknown_command();
    CHECK(unknown.effect == Effect::write);
    CHECK(unknown.connection == ConnectionClass::leased_until_done);
    CHECK(unknown.stream == StreamRole::global);
}

TEST_CASE("what only arguments tell") {
    const auto blocks = [](const Words& words) {
        return resp::may_block(row_of(words), views(words));
    };
    CHECK(blocks({"BLPOP", "k", "0"}));
    CHECK(blocks({"wait", "1", "0"}));
    CHECK(blocks({"XREAD", "COUNT", "1", "block", "5", "STREAMS", "s", "$"}));
    CHECK(!blocks({"XREAD", "COUNT", "1", "STREAMS", "block", "0"}));
    CHECK(blocks({"XREADGROUP", "GROUP", "g", "c", "BLOCK", "5", "STREAMS", "s", ">"}));
    CHECK(!blocks({"XREADGROUP", "GROUP", "BLOCK", "BLOCK", "STREAMS", "s", ">"}));
    CHECK(!blocks({"GET", "k"}));
    const auto role = [](const Words& words) {
        return resp::stream_role(row_of(words), views(words));
    };
    CHECK(role({"SET", "k", "v", "PXAT", "1"}) == StreamRole::reset);
    CHECK(role({"SET", "k", "v", "keepttl"}) == StreamRole::op);
    CHECK(role({"SET", "k", "v", "NX"}) == StreamRole::op);
    CHECK(role({"RESTORE", "k", "0", "x", "ABSTTL", "REPLACE"}) == StreamRole::reset);
    CHECK(role({"RESTORE", "k", "0", "x"}) == StreamRole::op);
    CHECK(role({"DEL", "k"}) == StreamRole::reset);
    CHECK(role({"MSETNX", "k", "v"}) == StreamRole::op);
    CHECK(role({"FLUSHDB"}) == StreamRole::global);
    CHECK(role({"PUBLISH", "c", "m"}) == StreamRole::ignored);
    CHECK(role({"PING"}) == StreamRole::ignored);
    CHECK(role({"REPLCONF", "GETACK", "*"}) == StreamRole::ignored);
    CHECK(role({"SELECT", "1"}) == StreamRole::control);
    CHECK(role({"NOSUCH", "1"}) == StreamRole::global);
    const auto rule = [](const Words& words) {
        return resp::compare_rule(row_of(words), views(words));
    };
    CHECK(rule({"SORT_RO", "s", "BY", "nosort"}) == CompareRule::multiset);
    CHECK(rule({"SORT_RO", "s"}) == CompareRule::exact);
    CHECK(rule({"XREAD", "BLOCK", "0", "STREAMS", "s", "0"}) == CompareRule::never);
    std::vector<resp::KeyRef> keys;
    Words words{"COPY", "a", "b", "DB", "3"};
    REQUIRE(resp::extract_keys(row_of(words), views(words), keys));
    CHECK((keys[0].database == -1 && keys[1].database == 3 &&
           keys[1].access == resp::KeyAccess::write));
    words = {"MOVE", "a", "2"};
    REQUIRE(resp::extract_keys(row_of(words), views(words), keys));
    CHECK((keys.size() == 2 && keys[1].database == 2 && keys[1].key == "a"));
    words = {"EVAL", "s", "9", "k"};
    CHECK(!resp::extract_keys(row_of(words), views(words), keys));
    words = {"GET"};
    CHECK(!resp::extract_keys(row_of(words), views(words), keys));
}

TEST_CASE("an overlay adds what the table lacks") {
    const std::string reply =
        "*3\r\n*6\r\n$8\r\nbf.addxx\r\n:-3\r\n*2\r\n+write\r\n+denyoom\r\n:1\r\n:1\r\n:1\r\n"
        "*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n"
        "*6\r\n$7\r\nmod.odd\r\n:-1\r\n*2\r\n+readonly\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n";
    const auto value = resp::parse_reply(reply);
    REQUIRE(value.has_value());
    resp::CommandOverlay overlay;
    overlay.add(resp::parse_command_reply(*value));
    overlay.add(resp::parse_command_reply(*value));
    CHECK(overlay.added() == 2);
    const Words words{"Bf.AddXX", "key", "v"};
    const resp::CommandRow& row = overlay.classify(views(words));
    CHECK(row.known);
    CHECK(row.effect == Effect::write);
    CHECK(row.stream == StreamRole::op);
    CHECK(&overlay.row(row.id) == &row);
    std::vector<resp::KeyRef> keys;
    REQUIRE(resp::extract_keys(row, views(words), keys));
    CHECK(keys[0].key == "key");
    const Words odd{"MOD.ODD", "x"};
    CHECK(!overlay.classify(views(odd)).keys_known);
    CHECK(!overlay.classify(views({"nosuch"})).known);
    CHECK(overlay.classify(views({"get", "k"})).name == "GET");
}
