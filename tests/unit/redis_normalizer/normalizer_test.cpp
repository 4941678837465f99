// The compare rules of redis.md 7, one by one, on frames of both protocol versions.
#include "families/redis/normalizer.h"

#include <doctest/doctest.h>

#include "wire/resp/writer.h"

using namespace exodus;
using redis::make_redis_normalizer;
using redis::reply_digest;

namespace {

struct Judgement {
    Verdict verdict;
    std::string reason;
};

ExchangePair pair_of(std::initializer_list<std::string_view> request, std::string left,
                     std::string right) {
    ExchangePair pair;
    for (const std::string_view word : request)
        pair.command += (pair.command.empty() ? "" : " ") + std::string(word);
    pair.command = pair.command.substr(0, pair.command.find(' '));
    resp::append_command(pair.request, request);
    pair.left = std::move(left);
    pair.right = std::move(right);
    return pair;
}

Judgement judge(const ExchangePair& pair, const CompareSettings& settings = {}) {
    Judgement result{};
    result.verdict = make_redis_normalizer(settings)->judge(pair, result.reason);
    return result;
}

Judgement judge(std::initializer_list<std::string_view> request, std::string left,
                std::string right) {
    return judge(pair_of(request, std::move(left), std::move(right)));
}

bool equal(std::initializer_list<std::string_view> request, std::string left, std::string right) {
    return judge(request, std::move(left), std::move(right)).verdict == Verdict::equal;
}

std::string reason(std::initializer_list<std::string_view> request, std::string left,
                   std::string right) {
    const Judgement result = judge(request, std::move(left), std::move(right));
    return result.verdict == Verdict::candidate ? result.reason : "no candidate";
}

}  // namespace

TEST_CASE("exact answers") {
    CHECK(equal({"GET", "k"}, "$1\r\na\r\n", "$1\r\na\r\n"));
    CHECK(reason({"GET", "k"}, "$1\r\na\r\n", "$1\r\nb\r\n") == "value");
    CHECK(reason({"GET", "k"}, "$1\r\na\r\n", "$-1\r\n") == "missing");
    CHECK(equal({"GET", "k"}, "$-1\r\n", "_\r\n"));
    CHECK(reason({"LRANGE", "k", "0", "-1"}, "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n") ==
          "order");
    CHECK(reason({"LRANGE", "k", "0", "-1"}, "*2\r\n+a\r\n+b\r\n", "*1\r\n+a\r\n") == "size");
    CHECK(reason({"EXISTS", "k"}, ":1\r\n", ":0\r\n") == "value");
    CHECK(reason({"STRLEN", "k"}, ":3\r\n", "$1\r\n3\r\n") == "type_mismatch");
    CHECK(reason({"GET", "k"}, "$1\r\n3\r\n", "$3\r\n3.0\r\n") ==
          "value");  // bytes of the user, not a score
    CHECK(judge({"GET", "k"}, "$1\r\na\r\n", "$5\r\na\r\n").reason == "malformed");
}

TEST_CASE("any order") {
    CHECK(equal({"SMEMBERS", "s"}, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
                "~3\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nb\r\n"));
    CHECK(reason({"SMEMBERS", "s"}, "*2\r\n$1\r\na\r\n$1\r\na\r\n",
                 "*2\r\n$1\r\na\r\n$1\r\nb\r\n") == "value");
    CHECK(equal({"HGETALL", "h"}, "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
                "%2\r\n$1\r\nb\r\n$1\r\n2\r\n$1\r\na\r\n$1\r\n1\r\n"));
    // The same bag of words in other pairs.
    CHECK(reason({"HGETALL", "h"}, "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
                 "*4\r\n$1\r\na\r\n$1\r\n2\r\n$1\r\nb\r\n$1\r\n1\r\n") == "value");
    CHECK(equal({"KEYS", "*"}, "*2\r\n$1\r\na\r\n$2\r\nbb\r\n", "*2\r\n$2\r\nbb\r\n$1\r\na\r\n"));
    CHECK(equal({"SORT_RO", "k", "BY", "nosort"}, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
                "*2\r\n$1\r\nb\r\n$1\r\na\r\n"));
    CHECK(!equal({"SORT_RO", "k"}, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\na\r\n"));
}

TEST_CASE("doubles by value") {
    CHECK(equal({"ZSCORE", "z", "m"}, "$1\r\n3\r\n", ",3.0\r\n"));
    CHECK(equal({"ZSCORE", "z", "m"}, "$3\r\ninf\r\n", ",inf\r\n"));
    CHECK(equal({"ZSCORE", "z", "m"}, "$1\r\n3\r\n", "$3\r\n3.0\r\n"));
    CHECK(reason({"ZSCORE", "z", "m"}, "$1\r\n3\r\n", "$3\r\n3.1\r\n") == "value");
    // RESP2 is flat, RESP3 has pairs.
    CHECK(equal({"ZRANGE", "z", "0", "-1", "WITHSCORES"},
                "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n2.5\r\n",
                "*2\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\nb\r\n,2.5\r\n"));
    CHECK(!equal({"ZRANGE", "z", "0", "-1", "WITHSCORES"},
                 "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$3\r\n2.5\r\n",
                 "*2\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\nb\r\n,2.6\r\n"));
}

TEST_CASE("expiries by absolute time") {
    auto pair = pair_of({"PTTL", "k"}, ":5000\r\n", ":4000\r\n");
    pair.sent_us = 1'000'000;
    pair.left_us = 1'001'000;
    pair.right_us = 2'000'000;  // asked about a second later
    CHECK(judge(pair).verdict == Verdict::equal);
    pair.right_us = 1'002'000;
    CHECK(judge(pair).reason == "ttl");
    pair = pair_of({"TTL", "k"}, ":100\r\n", ":99\r\n");
    CHECK(judge(pair).verdict == Verdict::equal);
    pair.right = ":90\r\n";
    CHECK(judge(pair).reason == "ttl");
    pair.right = ":-1\r\n";
    CHECK(judge(pair).reason == "ttl");
    pair.right = ":-2\r\n";
    CHECK(judge(pair).reason == "ttl");
    pair.left = ":1\r\n";  // the last second on one side, gone on the other
    CHECK(judge(pair).verdict == Verdict::equal);
    CHECK(judge({"TTL", "k"}, ":-1\r\n", ":-2\r\n").reason == "ttl");
    CHECK(judge({"PTTL", "k"}, ":9223372036854775807\r\n", ":0\r\n").reason == "ttl");
    CHECK(reason({"PEXPIRETIME", "k"}, ":1700000000000\r\n", ":1700000000001\r\n") == "ttl");
    CHECK(equal({"PEXPIRETIME", "k"}, ":1700000000000\r\n", ":1700000000000\r\n"));
}

TEST_CASE("random reads by type and size") {
    CHECK(equal({"SRANDMEMBER", "s", "2"}, "*2\r\n$1\r\na\r\n$1\r\nb\r\n",
                "*2\r\n$1\r\nc\r\n$1\r\nd\r\n"));
    CHECK(reason({"SRANDMEMBER", "s", "2"}, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*1\r\n$1\r\nc\r\n") ==
          "size");
    CHECK(reason({"RANDOMKEY"}, "$1\r\na\r\n", "$-1\r\n") == "type_mismatch");
    CHECK(equal({"HRANDFIELD", "h", "1", "WITHVALUES"}, "*2\r\n$1\r\na\r\n$1\r\n1\r\n",
                "*1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n"));
}

TEST_CASE("errors by first word") {
    CHECK(equal({"GET", "k"}, "-WRONGTYPE a\r\n", "-WRONGTYPE a\r\n"));
    const Judgement other_text = judge({"GET", "k"}, "-ERR a\r\n", "-ERR b\r\n");
    CHECK(other_text.verdict == Verdict::equal);
    CHECK(other_text.reason == "error_text");
    CHECK(reason({"GET", "k"}, "-ERR a\r\n", "-WRONGTYPE a\r\n") == "error_code");
    CHECK(reason({"GET", "k"}, "-WRONGTYPE a\r\n", "$1\r\na\r\n") == "error_one_side");
    for (const char* code : {"NOSCRIPT", "LOADING", "BUSY"}) {
        CHECK(judge({"GET", "k"}, "$1\r\na\r\n", "-" + std::string(code) + " x\r\n").verdict ==
              Verdict::not_comparable);
    }
}

TEST_CASE("commands that are never compared, and the user's rules") {
    CHECK(judge({"INFO"}, "$1\r\na\r\n", "$1\r\nb\r\n").verdict == Verdict::not_comparable);
    CHECK(judge({"SET", "k", "v"}, "+OK\r\n", "-ERR x\r\n").reason == "error_one_side");
    CHECK(judge({"NOSUCH"}, "$1\r\na\r\n", "$1\r\nb\r\n").verdict == Verdict::not_comparable);
    CompareSettings settings;
    settings.rules = {
        {{"get"}, "ignore"}, {{"LRANGE"}, "unordered"}, {{"SMEMBERS", "INFO"}, "exact"}};
    CHECK(judge(pair_of({"GET", "k"}, "$1\r\na\r\n", "$1\r\nb\r\n"), settings).verdict ==
          Verdict::not_comparable);
    CHECK(judge(pair_of({"LRANGE", "k", "0", "-1"}, "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n"),
                settings)
              .verdict == Verdict::equal);
    CHECK(judge(pair_of({"SMEMBERS", "k"}, "*2\r\n+a\r\n+b\r\n", "*2\r\n+b\r\n+a\r\n"), settings)
              .reason == "order");
    CHECK(judge(pair_of({"INFO"}, "$1\r\na\r\n", "$1\r\nb\r\n"), settings).reason == "value");
}

TEST_CASE("digests see values, not protocol versions") {
    CHECK(reply_digest("*2\r\n$1\r\na\r\n$1\r\n1\r\n") ==
          reply_digest("%1\r\n$1\r\na\r\n$1\r\n1\r\n"));
    CHECK(reply_digest("*1\r\n$1\r\na\r\n") == reply_digest("~1\r\n$1\r\na\r\n"));
    CHECK(reply_digest("$-1\r\n") == reply_digest("_\r\n"));
    CHECK(reply_digest("*-1\r\n") == reply_digest("_\r\n"));
    CHECK(reply_digest("$3\r\n1.5\r\n") == reply_digest(",1.5\r\n"));
    CHECK(reply_digest(":1\r\n") == reply_digest("#t\r\n"));
    CHECK(reply_digest("$3\r\nabc\r\n") == reply_digest("=7\r\ntxt:abc\r\n"));
    CHECK(reply_digest("-ERR x\r\n") == reply_digest("!5\r\nERR x\r\n"));
    CHECK(reply_digest("|1\r\n+ttl\r\n:1\r\n:5\r\n") == reply_digest(":5\r\n"));
    std::vector<std::string> different = {":1\r\n",
                                          "$1\r\n1\r\n",
                                          "+1\r\n",
                                          "-1\r\n",
                                          "*1\r\n:1\r\n",
                                          "*0\r\n",
                                          "$0\r\n\r\n",
                                          "_\r\n",
                                          "*2\r\n$1\r\na\r\n$2\r\nbc\r\n",
                                          "*2\r\n$2\r\nab\r\n$1\r\nc\r\n",
                                          "*2\r\n*1\r\n:1\r\n:2\r\n",
                                          "*2\r\n*2\r\n:1\r\n:2\r\n:3\r\n",
                                          "*1\r\n*1\r\n:1\r\n",
                                          "bad",
                                          "$5\r\nab\r\n"};
    std::string long_text(100, 'x');
    for (int i = 0; i < 2; ++i) {
        std::string frame;
        long_text[99] = static_cast<char>('a' + i);
        resp::append_bulk(frame, long_text);
        different.push_back(frame);
    }
    for (std::size_t i = 0; i < different.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j)
            CHECK_MESSAGE(reply_digest(different[i]) != reply_digest(different[j]),
                          different[i] << " " << different[j]);
    }
}
