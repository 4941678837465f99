#include "families/redis/copy_pace.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

namespace exodus::redis {

namespace {

struct Step {
    int keys;
    double share;  ///< of the time
};
/// Measured (decision 0023): 2,048 keys hold others for 2 ms, 128 for 0.6 ms at nearly the same
/// speed; 32 in a third of the time are not noticed beside what two busy cores cause.
constexpr std::array<Step, 11> kSteps{{{2048, 1},
                                       {1024, 1},
                                       {512, 1},
                                       {256, 1},
                                       {128, 1},
                                       {64, 0.5},
                                       {32, 0.3},
                                       {32, 0.2},
                                       {32, 0.13},
                                       {32, 0.08},
                                       {32, 0.05}}};
constexpr std::size_t kFirstStep = 6;  ///< then faster with each window, until one is late
/// Of so many PINGs the slowest but one says what others wait for at worst.
constexpr std::size_t kWindow = 100;
/// Less than this more is not to be told from what the machine does by itself.
constexpr int64_t kNoise_us = 50;
/// A busy origin takes long for a page, and the copy must end some day all the same.
constexpr int64_t kRest_us_max = 2'000;
/// Windows until a faster step is tried: a try that is none costs others one window.
constexpr int kPatience_min = 8;
constexpr int kPatience_max = 48;

int64_t slowest_but_one(std::vector<int64_t>& pings_us) {
    std::sort(pings_us.begin(), pings_us.end());
    return pings_us[pings_us.size() > 1 ? pings_us.size() - 2 : 0];
}

}  // namespace

void CopyPace::set_limit(int64_t percent) {
    if (percent == percent_) return;
    const int64_t idle_us = idle_us_;
    const int64_t learned_us = learned_us_;
    *this = CopyPace{};
    idle_us_ = idle_us;
    learned_us_ = learned_us;
    percent_ = percent;
    step_ = percent == 0 ? 0 : kFirstStep;
    patience_ = 1;
}

void CopyPace::learn_idle(std::vector<int64_t> pings_us) {
    const int64_t now_us = slowest_but_one(pings_us);
    const int64_t before_us = std::exchange(learned_us_, now_us);
    idle_us_ = before_us == 0 ? now_us : std::min(now_us, before_us);
    window_.clear();
}

void CopyPace::heard(const std::vector<int64_t>& pings_us) {
    if (percent_ == 0 || idle_us_ == 0) return;
    for (const int64_t ping_us : pings_us) {
        window_.push_back(ping_us);
        if (window_.size() < kWindow) continue;
        last_us_ = slowest_but_one(window_);
        window_.clear();
        judge();
    }
}

void CopyPace::judge() {
    const int64_t limit_us = std::max(idle_us_ * percent_ / 100, idle_us_ + kNoise_us);
    if (last_us_ <= limit_us) {
        if (trying_) patience_ = std::min(patience_, kPatience_min);
        trying_ = false;
        if (++good_ < patience_ || step_ == 0) return;
        --step_;
        trying_ = true;
    } else {
        if (trying_) patience_ = std::clamp(2 * patience_, kPatience_min, kPatience_max);
        trying_ = false;
        std::size_t back = 1;
        for (int64_t us = last_us_; us > 2 * limit_us && back < 4; us /= 2) ++back;
        step_ = std::min(step_ + back, kSteps.size() - 1);
    }
    good_ = 0;
}

int CopyPace::page_keys() const { return kSteps[step_].keys; }

int64_t CopyPace::rest_us(int64_t worked_us) const {
    const auto share =
        static_cast<int64_t>(static_cast<double>(worked_us) * (1 / kSteps[step_].share - 1));
    return std::min(share, std::max(kRest_us_max, worked_us));
}

std::string CopyPace::reason(std::string_view origin) const {
    if (step_ <= kFirstStep) return {};
    return fmt::format(
        "{} answers in up to {:.2f} ms, {:.2f} ms without the copy (origin_p99_ratio)", origin,
        static_cast<double>(last_us_) / 1000, static_cast<double>(idle_us_) / 1000);
}

}  // namespace exodus::redis
