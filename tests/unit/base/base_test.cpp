#include <doctest/doctest.h>
#include <random>
#include <vector>

#include "base/clock.h"
#include "base/compact_histogram.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/histogram.h"
#include "base/secret.h"

using namespace exodus;

TEST_CASE("CRC-64 Jones is the one of Redis' DUMP payloads, also in pieces") {
    CHECK(crc64_jones("123456789") == 0xe9c6d914c4b8d9caULL);
    CHECK(crc64_jones("6789", crc64_jones("12345")) == 0xe9c6d914c4b8d9caULL);
    CHECK(crc64_jones("") == 0);
}

TEST_CASE("digests have the values of the standards") {
    CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha1_hex("return 1") == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    StreamDigest stream;
    stream.update("12345");
    stream.update("6789");
    CHECK(stream.value() == xxh3_128("123456789"));
}

TEST_CASE("histogram percentiles stay within the promised relative error") {
    std::mt19937_64 random(7);
    std::vector<uint64_t> values;
    Histogram histogram;
    Histogram half;
    CompactHistogram compact;
    for (int i = 0; i < 100'000; ++i) {
        const uint64_t value = random() % (1ULL << (random() % 34));
        values.push_back(value);
        (i % 2 == 0 ? histogram : half).record(value);
        compact.record(value);
    }
    histogram.merge(half);
    std::sort(values.begin(), values.end());
    CHECK(histogram.count() == values.size());
    CHECK(histogram.max() == values.back());
    const Histogram whole = compact.whole();
    CHECK(whole.count() == histogram.count());
    CHECK(whole.sum() == histogram.sum());
    CHECK(whole.max() == histogram.max());
    for (int i = 0; i < Histogram::kBuckets; ++i) CHECK(whole.bucket(i) == histogram.bucket(i));
    for (const double share : {0.01, 0.5, 0.95, 0.99, 0.999, 1.0}) {
        const auto exact =
            static_cast<double>(values[static_cast<std::size_t>(share * 100'000) - 1]);
        CHECK(static_cast<double>(histogram.percentile(share)) >= exact);
        CHECK(static_cast<double>(histogram.percentile(share)) <= exact * 1.0626 + 1);
    }
    for (int i = 0; i + 1 < Histogram::kBuckets; ++i) {
        CHECK(Histogram::bucket_of(Histogram::bucket_upper(i)) == i);
        CHECK(Histogram::bucket_of(Histogram::bucket_upper(i) + 1) == i + 1);
    }
}

TEST_CASE("errors carry context in front") {
    const Error error =
        Error{ErrorCode::io, "disk full", "free space"}.with("writing spool").with("following");
    CHECK(error.message == "following: writing spool: disk full");
    CHECK(error.hint == "free space");
}

TEST_CASE("a secret compares by value and is gone after a move") {
    Secret secret("hunter2");
    CHECK(secret == Secret("hunter2"));
    CHECK_FALSE(secret == Secret("hunter3"));
    const Secret moved = std::move(secret);
    CHECK(moved.reveal() == "hunter2");
    CHECK(secret.empty());  // NOLINT(bugprone-use-after-move): that it is wiped is the point
}

TEST_CASE("timestamps are ISO 8601 in UTC") {
    CHECK(iso8601(1'772'446'272'345) == "2026-03-02T10:11:12.345Z");
}

TEST_CASE("a histogram since an earlier state of it") {
    Histogram histogram;
    for (const uint64_t value : {5UL, 900UL, 70'000UL}) histogram.record(value);
    const Histogram earlier = histogram;
    CHECK(histogram.since(earlier).count() == 0);
    for (int i = 0; i < 99; ++i) histogram.record(10);
    histogram.record(2'000);
    const Histogram recent = histogram.since(earlier);
    CHECK(recent.count() == 100);
    CHECK(recent.sum() == 99 * 10 + 2'000);
    CHECK(recent.percentile(0.5) == 10);
    CHECK(recent.max() >= 2'000);
    CHECK(recent.max() < 2'200);                                 // not the 70,000 of before
    CHECK(earlier.since(histogram).count() == earlier.count());  // counted anew
}
