#include "families/redis/change_signal.h"

#include <atomic>
#include <doctest/doctest.h>
#include <thread>
#include <vector>

using namespace exodus;
using namespace exodus::redis;

namespace {

/// No wait of these tests may last so long.
constexpr milliseconds kNever{60'000};

TEST_CASE("what was told while somebody looked for work ends the wait at once") {
    ChangeSignal signal;
    const uint64_t seen = signal.seen();
    signal.tell();
    CHECK(signal.wait(seen, {}, kNever));
    // It was told once: who has seen it waits for the next one.
    CHECK_FALSE(signal.wait(signal.seen(), {}, milliseconds(1)));
}

TEST_CASE("everybody who waits is woken by one word, long before the time is over") {
    ChangeSignal signal;
    const uint64_t seen = signal.seen();
    std::atomic<int> woken{0};
    {
        std::vector<std::jthread> waiting;
        for (int i = 0; i < 3; ++i)
            waiting.emplace_back([&] { woken += signal.wait(seen, {}, kNever) ? 1 : 0; });
        std::this_thread::sleep_for(milliseconds(20));  // they wait
        signal.tell();
    }
    CHECK(woken == 3);
}

TEST_CASE("a stop ends the wait, and is not taken for a change") {
    ChangeSignal signal;
    bool told = true;
    std::jthread waiting(
        [&](const std::stop_token& stop) { told = signal.wait(signal.seen(), stop, kNever); });
    waiting.request_stop();
    waiting.join();
    CHECK_FALSE(told);
}

}  // namespace
