// The copy slows down when the source answers late, and status says so only as long as it is true.
#include <doctest/doctest.h>
#include <string_view>

#include "tests/real/stream-exact/changed_dialer.h"
#include "tests/real/stream-exact/mover.h"

namespace exodus::test {
namespace {

bool says(Mover& mover, const std::string& text) {
    return mover.forward->status().throttled.find(text) != std::string::npos;
}

/// How late the source is said to answer, milliseconds; 0: nothing is said.
double told_late_ms(Mover& mover) {
    constexpr std::string_view kBefore = "source answers in up to ";
    const std::string text = mover.forward->status().throttled;
    const auto at = text.find(kBefore);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + kBefore.size()));
}

void check_over_with_the_copy(Mover& mover) {
    REQUIRE(eventually(milliseconds(20'000),
                       [&] { return mover.forward->status().stage == MovementStage::following; }));
    CHECK(
        eventually(milliseconds(5'000), [&] { return mover.forward->status().throttled.empty(); }));
}

TEST_CASE("a source whose other clients wait is read slowly, until the limit is taken away") {
    RedisServer source({.engine = Engine::redis, .config = {}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"DEBUG", "POPULATE", "200000"});
    // As a source that answers at once when nothing is copied, and late when something is.
    std::atomic<bool> copying{false};
    std::atomic<uint64_t> late{0};
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path(), {},
                std::make_unique<ChangedDialer>(
                    ConnectionChanges{.written = [&](Side side, std::string& bytes) {
                        if (side != Side::source) return;
                        if (bytes.find("SCAN") != std::string::npos) copying = true;
                        if (!copying || bytes != "*1\r\n$4\r\nPING\r\n") return;
                        ++late;
                        sleep_ms(20);
                    }}));
    REQUIRE(mover.forward->set_throttle("origin_p99_ratio", "1.5").has_value());
    // Else all is copied before anybody could have been late.
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "1MiB").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] { return late >= 90; }));
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "1GiB").has_value());
    // At least as late as it is made; how much later depends on the machine.
    CHECK(eventually(milliseconds(20'000), [&] { return told_late_ms(mover) >= 20; }));
    CHECK(says(mover, "without the copy"));
    // Pages of 32 keys in a twentieth of the time; unhindered there are hundreds of them a second.
    const uint64_t keys = mover.forward->status().items_done;
    sleep_ms(500);
    CHECK(mover.forward->status().items_done < keys + 30'000);
    CHECK(mover.forward->status().stage == MovementStage::filling);
    REQUIRE(mover.forward->set_throttle("origin_p99_ratio", "0").has_value());
    check_over_with_the_copy(mover);
    CHECK(target.text({"DBSIZE"}) == "200001");  // and the checkpoint
}

TEST_CASE("a limit of the copy is not told any more when there is nothing to copy") {
    RedisServer source({.engine = Engine::redis, .config = {"databases 1"}, .acl = {}});
    RedisServer target({.engine = Engine::valkey, .config = {}, .acl = {}});
    source.text({"DEBUG", "POPULATE", "1500"});
    const TempDir directory;
    Mover mover(settings_between(source.port(), target.port()), directory.path());
    REQUIRE(mover.forward->set_throttle("bytes_per_s", "64KiB").has_value());
    REQUIRE(mover.forward->set_mode(MovementMode::apply).has_value());
    REQUIRE(eventually(milliseconds(20'000), [&] { return says(mover, "bytes/s"); }));
    check_over_with_the_copy(mover);
}

}  // namespace
}  // namespace exodus::test
