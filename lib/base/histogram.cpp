#include "base/histogram.h"

#include <algorithm>
#include <cmath>

namespace exodus {

void Histogram::merge(const Histogram& other) noexcept {
    for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    max_ = std::max(max_, other.max_);
}

Histogram Histogram::since(const Histogram& earlier) const noexcept {
    if (count_ < earlier.count_) return *this;
    Histogram out;
    for (int i = 0; i < kBuckets; ++i) {
        if (bucket(i) <= earlier.bucket(i)) continue;
        const auto index = static_cast<std::size_t>(i);
        out.buckets_[index] = buckets_[index] - earlier.buckets_[index];
        out.count_ += out.buckets_[index];
        out.max_ = std::min(bucket_upper(i), max_);
    }
    out.sum_ = sum_ - std::min(sum_, earlier.sum_);
    return out;
}

uint64_t Histogram::bucket_upper(int index) noexcept {
    if (index < (1 << kSubBits)) return static_cast<uint64_t>(index);
    const int power = (index >> kSubBits) - 1;
    const auto sub = static_cast<uint64_t>(index & ((1 << kSubBits) - 1));
    return (((1ULL << kSubBits) + sub + 1) << power) - 1;
}

uint64_t Histogram::percentile(double share) const noexcept {
    if (count_ == 0) return 0;
    const auto wanted =
        static_cast<uint64_t>(std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_)));
    uint64_t seen = 0;
    for (int i = 0; i < kBuckets; ++i) {
        seen += bucket(i);
        if (seen >= std::max<uint64_t>(wanted, 1)) return std::min(bucket_upper(i), max_);
    }
    return max_;
}

}  // namespace exodus
