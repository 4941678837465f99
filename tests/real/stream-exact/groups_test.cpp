// Whoever reads the target while the stream is applied sees each transaction of the source whole or
// not at all.
#include <doctest/doctest.h>
#include <thread>

#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

using Words = std::vector<std::string>;

/// Without waiting for answers in between.
std::vector<ReplyPtr> send_all(redisContext* context, const std::vector<Words>& commands) {
    for (const Words& words : commands) {
        std::vector<const char*> argv;
        std::vector<std::size_t> lengths;
        for (const std::string& word : words) {
            argv.push_back(word.data());
            lengths.push_back(word.size());
        }
        redisAppendCommandArgv(context, static_cast<int>(argv.size()), argv.data(), lengths.data());
    }
    std::vector<ReplyPtr> replies;
    for (std::size_t i = 0; i < commands.size(); ++i) {
        void* reply = nullptr;
        REQUIRE(redisGetReply(context, &reply) == REDIS_OK);
        replies.emplace_back(static_cast<redisReply*>(reply), freeReplyObject);
    }
    return replies;
}

TEST_CASE("a transaction is never seen in part on the target") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    // Three keys, so that a batch that is cut by its number of operations is cut inside a group.
    const Words keys{"a", "b", "c"};
    const auto write = [&](redisContext* context, int n) {
        std::vector<Words> group{{"MULTI"}};
        for (const auto& key : keys) group.push_back({"SET", key, std::to_string(n)});
        group.push_back({"EXEC"});
        send_all(context, group);
    };
    const auto context = source.connect();
    write(context.get(), 0);
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(),
                {.lane_stall_ms = 30});
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(mover.caught_up(*mover.forward, milliseconds(20'000)));
    constexpr int kGroups = 12'000;
    std::thread writer([&] {
        for (int n = 1; n <= kGroups; ++n) write(context.get(), n);
    });
    const auto reader = target.connect();
    uint64_t different = 0;
    std::string torn;
    std::string last = "0";
    const bool arrived = eventually(
        milliseconds(20'000),
        [&] {
            const auto replies = send_all(
                reader.get(), {{"MULTI"}, {"GET", "a"}, {"GET", "b"}, {"GET", "c"}, {"EXEC"}});
            const redisReply& exec = *replies.back();
            const std::string a = to_text(exec.element[0]);
            const std::string b = to_text(exec.element[1]);
            const std::string c = to_text(exec.element[2]);
            if ((a != b || b != c) && torn.empty()) torn = a + " " + b + " " + c;
            if (a != last) ++different;
            last = a;
            return a == std::to_string(kGroups);
        },
        milliseconds(1));
    writer.join();
    CHECK(arrived);
    CHECK(torn == "");
    CHECK(different > 5);  // it was read in between
}

}  // namespace
}  // namespace exodus::test
