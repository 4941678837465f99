// What of a stream that only exodus should write counts as somebody else's.
#include "families/redis/stray_watch.h"

#include <doctest/doctest.h>
#include <sstream>

namespace exodus::redis {
namespace {

/// Commands in words, one a line; the verbs that were told, one word each.
std::string told(StrayWatch& watch, const std::string& lines) {
    std::string out;
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line, ';');) {
        std::vector<std::string> words;
        std::istringstream parts(line);
        for (std::string word; parts >> word;) words.push_back(word);
        StreamCommand command;
        command.args.assign(words.begin(), words.end());
        classify(command);
        const std::string verb = watch.see(command);
        if (!verb.empty()) out += (out.empty() ? "" : " ") + verb;
    }
    return out;
}

constexpr const char* kOurs = "MULTI;SELECT 1;SET a 1;DEL b;SET exodus:cp:id:reverse:0 x;EXEC";

TEST_CASE("single writes of others are told, those of the server and ours are not") {
    StrayWatch watch;
    CHECK(told(watch, "PING;SELECT 0;SET a 1;INCR a") == "SET INCR");
    CHECK(told(watch, "FLUSHALL") == "FLUSHALL");
    CHECK(told(watch, "SET exodus:cp:id:reverse:0 x;DEL exodus:cp:id:reverse:0 exodus:big:id") ==
          "");
    CHECK(told(watch, "PUBLISH exodus:id prove;REPLCONF GETACK *") == "");
    // Expiry and eviction remove keys and fields one at a time.
    CHECK(told(watch, "DEL a;UNLINK a;HDEL a f") == "");
    CHECK(told(watch, "DEL a b") == "DEL");
    CHECK(told(watch, "UNLINK a b") == "UNLINK");
}

TEST_CASE("a group is ours when it holds a checkpoint; else it is told at its end") {
    StrayWatch watch;
    CHECK(told(watch, kOurs) == "");
    CHECK(told(watch, "MULTI;SET a 1;INCR b") == "");
    CHECK(told(watch, "EXEC") == "SET");
    CHECK(told(watch, kOurs) == "");
    // One reader that finds several expired keys.
    CHECK(told(watch, "MULTI;DEL a;DEL b;UNLINK c;HDEL d f;EXEC") == "");
    CHECK(told(watch, "MULTI;DEL a;DEL b c;EXEC") == "DEL");
    CHECK(told(watch, "SET a 1") == "SET");
}

TEST_CASE("a link that is attached amid a group of ours tells nothing of it") {
    StrayWatch watch;
    watch.attached();
    CHECK(told(watch, "SET a 1;SET exodus:cp:id:reverse:0 x;EXEC") == "");
    CHECK(told(watch, "SET a 1") == "SET");
    // It was not amid one: told at the latest at the server's next ping.
    watch.attached();
    CHECK(told(watch, "SET a 1;INCR b;PING") == "SET");
    watch.attached();
    CHECK(told(watch, "SADD a 1;MULTI") == "SADD");
}

}  // namespace
}  // namespace exodus::redis
