// A latency histogram with bounded relative error, cheap enough for every request: one array
// increment. Values below 16 are exact; above, 16 buckets per power of two (error <= 6.25 %). Not
// thread-safe: one per thread, merged.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace exodus {

class Histogram {
  public:
    static constexpr int kSubBits = 4;
    static constexpr int kPowers =
        36;  ///< up to 2^39: six days in microseconds; larger values are clamped
    static constexpr int kBuckets = (kPowers + 1) << kSubBits;

    void record(uint64_t value) noexcept {
        ++buckets_[static_cast<std::size_t>(bucket_of(value))];
        ++count_;
        sum_ += value;
        if (value > max_) max_ = value;
    }
    /// `times` records of one value; for rebuilding a histogram from its buckets.
    void record_many(uint64_t value, uint64_t times) noexcept {
        buckets_[static_cast<std::size_t>(bucket_of(value))] += times;
        count_ += times;
    }
    /// Sets what buckets cannot tell exactly; for rebuilding a histogram.
    void set_totals(uint64_t sum, uint64_t max) noexcept {
        sum_ = sum;
        max_ = max;
    }
    void merge(const Histogram& other) noexcept;
    /// What was recorded behind an earlier state of this one; all of it when that state has more
    /// (whoever counted began again). The largest value is that of its bucket.
    [[nodiscard]] Histogram since(const Histogram& earlier) const noexcept;
    void clear() noexcept { *this = Histogram{}; }

    [[nodiscard]] uint64_t count() const noexcept { return count_; }
    [[nodiscard]] uint64_t sum() const noexcept { return sum_; }
    [[nodiscard]] uint64_t max() const noexcept { return max_; }
    [[nodiscard]] double mean() const noexcept {
        return count_ == 0 ? 0.0 : static_cast<double>(sum_) / static_cast<double>(count_);
    }
    /// The value at or below which the given share (0 … 1) of all records lies; 0 when empty.
    [[nodiscard]] uint64_t percentile(double share) const noexcept;
    /// Records in a bucket, and the largest value that falls into it.
    [[nodiscard]] uint64_t bucket(int index) const noexcept {
        return buckets_[static_cast<std::size_t>(index)];
    }
    static uint64_t bucket_upper(int index) noexcept;
    static int bucket_of(uint64_t value) noexcept {
        if (value < (1U << kSubBits)) return static_cast<int>(value);
        const int power = static_cast<int>(std::bit_width(value)) - 1 - kSubBits;
        if (power >= kPowers) return kBuckets - 1;
        return ((power + 1) << kSubBits) +
               static_cast<int>((value >> power) & ((1U << kSubBits) - 1));
    }

  private:
    std::array<uint64_t, kBuckets> buckets_{};
    uint64_t count_ = 0;
    uint64_t sum_ = 0;
    uint64_t max_ = 0;
};

}  // namespace exodus
