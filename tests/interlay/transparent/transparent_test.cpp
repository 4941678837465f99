// Transparency byte by byte: each conversation is held with a server directly and through the
// interlay (shared and own backend connections), and both sides must have said exactly the same,
// closes included. What a server answers by its own nature (ids, addresses, times) is left out.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/support/raw_client.h"
#include "tests/support/rig.h"

using namespace exodus;
using namespace exodus::test;

namespace {

constexpr const char* kEnd = "end-of-conversation";

/// A connection, and all that was said on it.
struct Wire {
    explicit Wire(int port) : client(port, milliseconds(15'000)) {}
    /// Until `text` was said, or the other end closed.
    bool wait_for(std::string_view text) {
        const std::string next = client.read_until(text);
        said += next;
        return next.ends_with(text) || client.ended();
    }
    RawClient client;
    std::string said;
};

/// What is sent on which connection; `until` must be answered there before the next step.
struct Step {
    int wire = 0;
    std::string bytes;
    std::string until = {};
};

enum class Ending { echo, closed, half_close };

struct Conversation {
    const char* name;
    std::vector<Step> steps;
    Ending ending = Ending::echo;  ///< of connection 0; the others always end with ECHO
    bool log_in = true;
};

std::string all_of(const std::vector<std::vector<std::string>>& commands) {
    std::string out;
    for (const auto& words : commands) out += request(words);
    return out;
}

std::string many(int count, const std::vector<std::string>& words) {
    std::string out;
    const std::string one = request(words);
    for (int i = 0; i < count; ++i) out += one;
    return out;
}

const std::vector<Conversation>& conversations() {
    const std::string big(3'000'000, 'b');
    static const std::vector<Conversation> all{
        {"inline", {{0, "SET a 1\r\nGET a\nset \"q\\x41\\n\" 'it''s'\r\n\r\n  GET   a  \r\n"}}},
        {"inline-quotes",
         {{0, "SET 'k k' \"v \\\"x\\\" \\t\"\r\nGET 'k k'\r\n"}, {0, "GET \"unbalanced\r\n"}},
         Ending::closed},
        {"skipped-frames", {{0, "*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n"}}},
        {"bad-multibulk", {{0, "*1\r\n$4\r\nPING\r\n*x\r\n"}}, Ending::closed},
        {"too-many-arguments", {{0, "*3000000000\r\n"}}, Ending::closed},
        {"no-dollar", {{0, "*1\r\n$4\r\nPING\r\n*1\r\n+PING\r\n"}}, Ending::closed},
        {"bad-bulk", {{0, "*2\r\n$3\r\nGET\r\n$-5\r\n"}}, Ending::closed},
        {"http", {{0, "Host: x\r\n\r\n"}}, Ending::closed},
        {"post", {{0, "POST / HTTP/1.1\r\n\r\n"}}, Ending::closed},
        {"unknown-and-arity",
         {{0, all_of({{"NOSUCH", "a", "b"},
                      {"GET"},
                      {"GET", "a", "b"},
                      {"SET", "a"},
                      {"OBJECT", "NOSUCH"},
                      {"CLIENT", "NOSUCH"},
                      {"CLIENT"},
                      {"XGROUP", "CREATE"},
                      {"", "x"},
                      {"COMMAND", "COUNT"},
                      {"EXEC"},
                      {"DISCARD"}})}}},
        {"wrong-type", {{0, all_of({{"SET", "s", "x"}, {"LPUSH", "s", "1"}, {"INCR", "s"}})}}},
        {"multi", {{0, all_of({{"MULTI"}, {"SET", "m", "1"}, {"INCR", "m"}, {"GET", "m"},
                               {"EXEC"},  {"MULTI"},         {"MULTI"},     {"DISCARD"},
                               {"MULTI"}, {"NOSUCH"},        {"EXEC"},      {"MULTI"},
                               {"GET"},   {"SET", "m", "5"}, {"EXEC"},      {"GET", "m"},
                               {"MULTI"}, {"WATCH", "m"},    {"EXEC"},      {"MULTI"},
                               {"EXEC"}})}}},
        {"multi-select",
         {{0, all_of({{"SET", "d", "zero"},
                      {"MULTI"},
                      {"SELECT", "1"},
                      {"SET", "d", "one"},
                      {"EXEC"},
                      {"GET", "d"},
                      {"SELECT", "0"},
                      {"GET", "d"},
                      {"MULTI"},
                      {"SELECT", "99"},
                      {"EXEC"},
                      {"GET", "d"}})}}},
        {"reset-in-multi",
         {{0, all_of({{"MULTI"},
                      {"SET", "r", "1"},
                      {"RESET"},
                      {"AUTH", Rig::kUser, Rig::kPassword},
                      {"GET", "r"},
                      {"EXEC"}})}}},
        {"watch",
         {{0, all_of({{"SET", "w", "1"}, {"WATCH", "w"}}), "+OK\r\n+OK\r\n"},
          {1, all_of({{"SET", "w", "2"}}), "+OK\r\n"},
          {0, all_of({{"MULTI"}, {"SET", "w", "3"}, {"EXEC"}, {"GET", "w"}})},
          {0, all_of({{"WATCH", "w"}, {"UNWATCH"}, {"MULTI"}, {"SET", "w", "4"}, {"EXEC"}})}}},
        {"watch-expiring",
         {{0, all_of({{"SET", "we", "1", "PX", "1"}, {"WATCH", "we"}, {"MULTI"}, {"EXEC"}})}}},
        {"select",
         {{0, all_of({{"SELECT", "3"},
                      {"SET", "x", "three"},
                      {"SELECT", "0"},
                      {"GET", "x"},
                      {"SELECT", "99"},
                      {"SELECT", "x"},
                      {"SELECT"},
                      {"SELECT", "3"},
                      {"GET", "x"}})}}},
        {"hello-in-a-pipeline",
         {{0, all_of({{"HSET", "h", "f", "v"}, {"HGETALL", "h"}, {"ZADD", "z", "1.5", "m"}})},
          {1, all_of({{"PING"}})},
          {0, all_of({{"HELLO", "9"}, {"HELLO", "x"}, {"ZSCORE", "z", "m"}})}}},
        {"resp3-types",
         {{0, all_of({{"HELLO", "3"}}), "modules\r\n*0\r\n"},
          {0, all_of({{"HSET", "h3", "f", "v"},
                      {"HGETALL", "h3"},
                      {"ZADD", "z3", "1.5", "m"},
                      {"ZSCORE", "z3", "m"},
                      {"ZRANGE", "z3", "0", "-1", "WITHSCORES"},
                      {"SADD", "s3", "a"},
                      {"SMEMBERS", "s3"},
                      {"GET", "none"},
                      {"EVAL", "redis.setresp(3); return {double=3.5}", "0"},
                      {"EVAL", "redis.setresp(3); return true", "0"},
                      {"LRANGE", "none", "0", "-1"},
                      {"DEBUG", "PROTOCOL", "attrib"}})}}},
        // One at a time: valkey 8.0.1 loses the answer of a refused AUTH in a pipeline now and
        // then.
        {"auth",
         {{0, all_of({{"PING"}, {"GET", "a"}}), "NOAUTH Authentication required.\r\n-NOAUTH"},
          {0, all_of({{"AUTH", "wrong"}}), "WRONGPASS"},
          {0, all_of({{"AUTH", Rig::kUser, "wrong"}}), "WRONGPASS"},
          {0, all_of({{"AUTH", Rig::kUser, Rig::kPassword}, {"GET", "none"}}), "$-1\r\n"},
          {0, all_of({{"AUTH", "nobody", "x"}}), "WRONGPASS"},
          {0, all_of({{"GET", "none"}, {"AUTH"}, {"AUTH", "a", "b", "c"}})}},
         Ending::echo,
         false},
        {"hello-auth",
         {{0, all_of({{"HELLO", "3", "AUTH", Rig::kUser, "wrong"},
                      {"GET", "none"},
                      {"HELLO", "2"},
                      {"AUTH", Rig::kUser, Rig::kPassword}})}},
         Ending::echo,
         false},
        {"no-permission",
         {{0, all_of({{"CONFIG", "GET", "port"}, {"FLUSHALL"}, {"DEBUG", "SLEEP", "0"}})}}},
        {"names",
         {{0, all_of({{"CLIENT", "GETNAME"},
                      {"CLIENT", "SETNAME", "me"},
                      {"CLIENT", "GETNAME"},
                      {"CLIENT", "SETNAME", "with space"},
                      {"CLIENT", "GETNAME"},
                      {"RESET"},
                      {"AUTH", Rig::kUser, Rig::kPassword},
                      {"CLIENT", "GETNAME"}})}}},
        {"reply-modes",
         {{0, all_of({{"CLIENT", "REPLY", "SKIP"},
                      {"SET", "a", "1"},
                      {"GET", "a"},
                      {"CLIENT", "REPLY", "OFF"},
                      {"SET", "a", "2"},
                      {"GET", "a"},
                      {"CLIENT", "REPLY", "ON"},
                      {"GET", "a"},
                      {"CLIENT", "REPLY", "SKIP"},
                      {"MULTI"},
                      {"SET", "a", "3"},
                      {"EXEC"},
                      {"CLIENT", "REPLY", "nonsense"}})}}},
        {"subscribe-resp2",
         {{0, all_of({{"SUBSCRIBE", "c1", "c2"}, {"PSUBSCRIBE", "p*"}}), "p*\r\n:3\r\n"},
          {1, all_of({{"PUBLISH", "c1", "one"}, {"PUBLISH", "p1", "two"}}), ":1\r\n:1\r\n"},
          {0, all_of({{"PING"}, {"PING", "text"}, {"GET", "a"}, {"UNSUBSCRIBE", "c2"}}), "c2\r\n"},
          {0, all_of({{"UNSUBSCRIBE"}, {"PUNSUBSCRIBE"}, {"GET", "none"}})}}},
        {"subscribe-then-quit",
         {{0, all_of({{"SUBSCRIBE", "c"}, {"QUIT"}, {"GET", "a"}})}},
         Ending::closed},
        {"subscribe-resp3",
         {{0, all_of({{"HELLO", "3"}}), "modules\r\n*0\r\n"},
          {0, all_of({{"SUBSCRIBE", "c3"}}), "c3\r\n:1\r\n"},
          {1, all_of({{"PUBLISH", "c3", "one"}}), ":1\r\n"},
          {0, all_of({{"GET", "none"}, {"SSUBSCRIBE", "sh"}, {"SUNSUBSCRIBE"}, {"UNSUBSCRIBE"}})}}},
        {"unsubscribe-nothing", {{0, all_of({{"UNSUBSCRIBE"}, {"PUNSUBSCRIBE", "x"}, {"PING"}})}}},
        {"quit", {{0, all_of({{"SET", "q", "1"}, {"QUIT"}, {"SET", "q", "2"}})}}, Ending::closed},
        {"blocking",
         {{0, all_of({{"BLPOP", "bl", "0.001"}, {"GET", "none"}})},
          {0, all_of({{"RPUSH", "bl", "1", "2"}, {"BLPOP", "none", "bl", "0"}})},
          {0, all_of({{"BLPOP", "bl", "-1"}, {"BLPOP", "bl", "x"}, {"BRPOP", "bl", "1"}})},
          {0, all_of({{"MULTI"}, {"BLPOP", "bl", "0"}, {"EXEC"}})}}},
        {"blocked-then-served",
         {{0, all_of({{"BLPOP", "served", "10"}, {"SET", "after", "1"}})},
          {1, all_of({{"RPUSH", "served", "x"}})},
          {0, all_of({{"GET", "after"}})}}},
        {"tracking",
         {{0, all_of({{"HELLO", "3"}}), "modules\r\n*0\r\n"},
          {0, all_of({{"CLIENT", "TRACKING", "ON"}, {"SET", "t", "0"}, {"GET", "t"}}),
           "$1\r\n0\r\n"},
          {1, all_of({{"SET", "t", "1"}}), "+OK\r\n"},
          {0, "", "invalidate\r\n*1\r\n$1\r\nt\r\n"},
          {0, all_of({{"CLIENT", "TRACKING", "OFF"}, {"GET", "t"}})}}},
        {"scripts",
         {{0, all_of({{"EVAL", "return {KEYS[1],ARGV[1],1,false}", "1", "k", "a"},
                      {"EVALSHA", std::string(40, '0'), "0"},
                      {"SCRIPT", "LOAD", "return 7"},
                      {"SCRIPT", "EXISTS", std::string(40, '0')},
                      {"EVAL", "return redis.call('NOSUCH')", "0"},
                      {"EVAL", "return redis.error_reply('MY error')", "0"},
                      {"EVAL", "syntax error here", "0"},
                      {"FCALL", "nosuch", "0"},
                      {"EVAL_RO", "return redis.call('SET','a','1')", "0"}})}}},
        {"scan-and-sort",
         {{0, all_of({{"SADD", "sc", "1", "2", "3"},
                      {"SSCAN", "sc", "0", "COUNT", "100"},
                      {"SCAN", "x"},
                      {"HSCAN", "none", "0"},
                      {"SORT", "sc", "DESC"}})}}},
        {"streams",
         {{0, all_of({{"XADD", "xs", "1-1", "f", "v"},
                      {"XREAD", "COUNT", "1", "STREAMS", "xs", "0"},
                      {"XREAD", "BLOCK", "1", "STREAMS", "xs", "$"},
                      {"XGROUP", "CREATE", "xs", "g", "0"},
                      {"XREADGROUP", "GROUP", "g", "c", "BLOCK", "1", "STREAMS", "xs", ">"},
                      {"XREADGROUP", "GROUP", "g", "c", "BLOCK", "1", "STREAMS", "xs", ">"},
                      {"XPENDING", "xs", "g"}})}}},
        {"pipeline-of-ten-thousand",
         {{0, many(5'000, {"INCR", "deep"}) + many(5'000, {"APPEND", "deep2", "x"})}}},
        {"large-values",
         {{0, request({"SET", "large", big}) + many(3, {"GET", "large"}) +
                  request({"STRLEN", "large"}) + request({"GETRANGE", "large", "0", "5"})}}},
        {"half-closed",
         {{0, many(200, {"INCR", "half"}) + many(50, {"PING"})}},
         Ending::half_close},
        {"wait", {{0, all_of({{"SET", "wa", "1"}, {"WAIT", "0", "100"}, {"WAIT", "1", "1"}})}}},
        {"object-and-debug",
         {{0, all_of({{"SET", "o", "12"},
                      {"OBJECT", "ENCODING", "o"},
                      {"OBJECT", "FREQ", "none"},
                      {"TYPE", "o"},
                      {"DUMP", "none"},
                      {"RESTORE", "bad", "0", "junk"}})}}},
        {"names-with-any-byte",
         {{0, all_of({{"SET", std::string("a\0b\r\nc", 6), "\r\n+OK\r\n"},
                      {"GET", std::string("a\0b\r\nc", 6)},
                      {"SET", "", "empty"},
                      {"GET", ""},
                      {"MGET", "", "none"}})}}},
    };
    return all;
}

/// The id in HELLO's answer is each connection's own.
std::string without_id(std::string text) {
    static constexpr std::string_view kId = "$2\r\nid\r\n:";
    for (std::size_t at = text.find(kId); at != std::string::npos; at = text.find(kId, at + 1)) {
        const std::size_t from = at + kId.size();
        text.replace(from, text.find('\r', from) - from, "ID");
    }
    return text;
}

/// Everything each connection was told, and whether it was closed.
std::vector<std::string> hold(const Conversation& talk, int port, std::size_t piece) {
    int wires = 0;
    for (const Step& step : talk.steps) wires = std::max(wires, step.wire + 1);
    std::vector<std::unique_ptr<Wire>> open;
    std::vector<std::string> said;
    for (int i = 0; i < wires; ++i) {
        open.push_back(std::make_unique<Wire>(port));
        if (!talk.log_in) continue;
        open.back()->client.send_and_listen(request({"AUTH", Rig::kUser, Rig::kPassword}));
        CHECK(open.back()->wait_for("+OK\r\n"));
    }
    for (const Step& step : talk.steps) {
        Wire& wire = *open[static_cast<std::size_t>(step.wire)];
        for (std::size_t at = 0; at < step.bytes.size(); at += piece)
            wire.client.send_and_listen(std::string_view(step.bytes).substr(at, piece));
        if (step.until.empty()) continue;
        INFO("waiting for " << step.until << " in " << wire.said);
        CHECK(wire.wait_for(step.until));
    }
    for (int i = 0; i < wires; ++i) {
        Wire& wire = *open[static_cast<std::size_t>(i)];
        const Ending ending = i == 0 ? talk.ending : Ending::echo;
        if (ending == Ending::echo) wire.client.send_and_listen(request({"ECHO", kEnd}));
        if (ending == Ending::half_close) wire.client.end_of_input();
        INFO("heard so far: " << wire.said.substr(0, 2000));
        CHECK(wire.wait_for(ending == Ending::echo ? kEnd : "never said"));
        said.push_back(without_id(wire.said) + (wire.client.ended() ? " (closed)" : ""));
    }
    return said;
}

/// A view of where two texts part.
std::string apart(const std::string& a, const std::string& b) {
    std::size_t at = 0;
    while (at < a.size() && at < b.size() && a[at] == b[at]) ++at;
    const std::size_t from = at < 60 ? 0 : at - 60;
    return fmt::format("at byte {} of {} and {}:\n--- direct\n{}\n--- interlay\n{}", at, a.size(),
                       b.size(), a.substr(from, 300), b.substr(from, 300));
}

void compare_all(Engine engine, const char* sharing) {
    const std::vector<std::pair<std::string, std::string>> config{
        {"redis", fmt::format("\"interlay.sharing\" = \"{}\"", sharing)}};
    RigOptions options;
    options.source = engine;
    Rig direct(options);  // the same server, without an interlay in between
    const int direct_port = direct.source().port();
    options.config = config;
    Rig rig(options);
    rig.expect(0, {"init", "redis"});
    rig.start_interlay();
    for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{7}}) {
        for (const Conversation& talk : conversations()) {
            if (piece < 100 && talk.steps[0].bytes.size() > 20'000) continue;
            INFO("conversation " << std::string(talk.name));
            INFO("in pieces of " << piece << " bytes");
            const auto expected = hold(talk, direct_port, piece);
            const auto got = hold(talk, rig.port(), piece);
            for (std::size_t i = 0; i < expected.size(); ++i) {
                INFO("connection " << i << " " << apart(expected[i], got[i]));
                CHECK(expected[i] == got[i]);
            }
        }
    }
    CHECK(rig.stop_interlay() == 0);
}

}  // namespace

TEST_CASE("redis 7.0, shared connections") { compare_all(Engine::redis, "on"); }
TEST_CASE("redis 7.0, own connections") { compare_all(Engine::redis, "off"); }
TEST_CASE("valkey 8.0, shared connections") { compare_all(Engine::valkey, "on"); }
