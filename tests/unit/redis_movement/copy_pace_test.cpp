// How fast the copier reads, from what PINGs took: against a made-up origin.
#include "families/redis/copy_pace.h"

#include <doctest/doctest.h>
#include <functional>
#include <initializer_list>

namespace exodus::redis {
namespace {

constexpr int64_t kIdle_us = 100;
constexpr int64_t kLimit_us = 150;  ///< half as long again

CopyPace pace_at_limit() {
    CopyPace pace;
    pace.set_limit(150);
    pace.learn_idle(std::vector<int64_t>(100, kIdle_us));
    return pace;
}

/// One window of PINGs that all take what `origin` says for the size and the share of a page.
using Origin = std::function<int64_t(int keys, double share)>;
double share_of(const CopyPace& pace) {
    return 100.0 / static_cast<double>(100 + pace.rest_us(100));
}
void window(CopyPace& pace, const Origin& origin) {
    pace.heard(std::vector<int64_t>(100, origin(pace.page_keys(), share_of(pace))));
}

TEST_CASE("an origin that does not notice is soon read in large pages without a rest") {
    CopyPace pace = pace_at_limit();
    CHECK(pace.page_keys() == 32);  // what it does not bear is not tried first
    CHECK(pace.rest_us(100) > 200);
    for (int i = 0; i < 6; ++i) window(pace, [](int, double) { return kLimit_us; });
    CHECK(pace.page_keys() == 2'048);
    CHECK(pace.rest_us(1'000) == 0);
    CHECK(pace.reason("source").empty());
}

TEST_CASE("an origin that always answers late is read a little, and slowly, and it is said why") {
    CopyPace pace = pace_at_limit();
    for (int i = 0; i < 100; ++i) window(pace, [](int, double) { return 5'000; });
    CHECK(pace.page_keys() == 32);
    CHECK(pace.rest_us(100) == 1'900);    // a twentieth of the time
    CHECK(pace.rest_us(1'000) == 2'000);  // but it goes on, also where a page takes long
    CHECK(pace.rest_us(9'000) == 9'000);
    CHECK(pace.reason("source") ==
          "source answers in up to 5.00 ms, 0.10 ms without the copy (origin_p99_ratio)");
    SUBCASE("without the copy too: its load has grown, and the copy gets its share") {
        for (int i = 0; i < 2; ++i) pace.learn_idle(std::vector<int64_t>(100, 5'000));
        for (int i = 0; i < 600; ++i) window(pace, [](int, double) { return 5'000; });
        CHECK(pace.rest_us(1'000) == 0);
        CHECK(pace.reason("source").empty());
    }
    SUBCASE("the limit is taken away") {
        pace.set_limit(0);
        CHECK(pace.page_keys() == 2'048);
        CHECK(pace.rest_us(1'000) == 0);
        for (int i = 0; i < 100; ++i) window(pace, [](int, double) { return 5'000; });
        CHECK(pace.page_keys() == 2'048);
    }
}

TEST_CASE("the fastest pace that others do not notice is found, and left seldom") {
    for (const int bearable : {1'024, 128, 32}) {
        CAPTURE(bearable);
        CopyPace pace = pace_at_limit();
        const Origin origin = [&](int keys, double share) {
            const bool held = keys > bearable || (bearable == 32 && share > 0.25);
            return held ? 2 * kLimit_us : kIdle_us;
        };
        int late = 0;
        int at_best = 0;
        constexpr int kWindows = 2'000;
        for (int i = 0; i < kWindows; ++i) {
            late += origin(pace.page_keys(), share_of(pace)) > kLimit_us ? 1 : 0;
            at_best += pace.page_keys() == bearable ? 1 : 0;
            window(pace, origin);
        }
        CHECK(late < kWindows / 25);
        CHECK(at_best > kWindows * 8 / 10);
    }
}

TEST_CASE("one late answer in a window is chance, two are not; later answers slow it more") {
    const auto slowed = [](std::size_t late, int64_t us) {
        CopyPace pace = pace_at_limit();
        const double before = share_of(pace);
        std::vector<int64_t> pings(100, kIdle_us);
        for (std::size_t i = 0; i < late; ++i) pings[7 * i] = us;
        pace.heard(pings);
        return share_of(pace) / before;
    };
    CHECK(slowed(1, 90'000) > 1);
    const double little = slowed(2, kLimit_us + 1);
    const double more = slowed(2, 2 * kLimit_us + 1);
    const double much = slowed(2, 90'000);
    CHECK(little < 1);
    CHECK(more < little);
    CHECK(much < more);
}

TEST_CASE("one late hearing of what is usual does not count, neither the first nor a later one") {
    const auto slowed = [](std::initializer_list<int64_t> hearings) {
        CopyPace pace;
        pace.set_limit(150);
        for (const int64_t us : hearings) pace.learn_idle(std::vector<int64_t>(100, us));
        const double before = share_of(pace);
        window(pace, [](int, double) { return kLimit_us + 1; });
        return share_of(pace) < before;
    };
    CHECK(slowed({5'000, kIdle_us}));
    CHECK(slowed({kIdle_us, 5'000}));
    CHECK(slowed({5'000, 5'000, kIdle_us}));
    CHECK_FALSE(slowed({kIdle_us, 5'000, 5'000}));
    CHECK_FALSE(slowed({5'000, 5'000}));
}

TEST_CASE("what was heard at another pace does not count, nor before it is known what is usual") {
    CopyPace pace;
    pace.set_limit(150);
    const double first = share_of(pace);
    for (int i = 0; i < 10; ++i) window(pace, [](int, double) { return 90'000; });
    CHECK(share_of(pace) == first);
    pace.learn_idle({kIdle_us});
    pace.heard(std::vector<int64_t>(99, 90'000));
    pace.learn_idle({kIdle_us});
    pace.heard({90'000});
    CHECK(share_of(pace) == first);
}

}  // namespace
}  // namespace exodus::redis
