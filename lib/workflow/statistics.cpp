#include "workflow/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace exodus {

namespace {

/// Continued fraction of the incomplete beta function (modified Lentz; DLMF 8.17.22). Converges
/// fast for x < (a+1)/(a+b+2).
double beta_fraction(double a, double b, double x) {
    constexpr double kTiny = 1e-300;
    constexpr double kEpsilon = 1e-15;
    constexpr int kSteps_max =
        100'000;  // sqrt(max(a, b)) steps are enough; a and b are counts below 1e9
    double c = 1;
    double d = 1 - (a + b) * x / (a + 1);
    if (std::fabs(d) < kTiny) d = kTiny;
    d = 1 / d;
    double h = d;
    for (int m = 1; m <= kSteps_max; ++m) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        d = 1 + even * d;
        if (std::fabs(d) < kTiny) d = kTiny;
        c = 1 + even / c;
        if (std::fabs(c) < kTiny) c = kTiny;
        d = 1 / d;
        h *= d * c;
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        d = 1 + odd * d;
        if (std::fabs(d) < kTiny) d = kTiny;
        c = 1 + odd / c;
        if (std::fabs(c) < kTiny) c = kTiny;
        d = 1 / d;
        const double step = d * c;
        h *= step;
        if (std::fabs(step - 1) < kEpsilon) break;
    }
    return h;
}

double log_choose(double n, double k) {
    return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
}

/// The p at which `at` (monotone in p) crosses `goal`: bisection in log space, since budgets are as
/// small as 1e-9.
template <class Function>
double solve(Function&& at, double goal, bool rising) {
    double low = std::log(1e-15);
    double high = 0;
    for (int i = 0; i < 200; ++i) {
        const double middle = (low + high) / 2;
        if ((at(std::exp(middle)) < goal) == rising) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return std::exp((low + high) / 2);
}

}  // namespace

double incomplete_beta(double a, double b, double x) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                  a * std::log(x) + b * std::log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double upper_bound(uint64_t events, uint64_t trials, double confidence) {
    if (trials == 0 || events >= trials) return 1;
    const double alpha = 1 - confidence;
    const auto k = static_cast<double>(events);
    const auto n = static_cast<double>(trials);
    if (events == 0)
        return -std::expm1(std::log(alpha) / n);  // 1 - alpha^(1/n), exact for no events
    // P(X <= k | p) = 1 - I_p(k+1, n-k); the bound is where it is alpha.
    return solve([&](double p) { return incomplete_beta(k + 1, n - k, p); }, 1 - alpha, true);
}

double lower_bound(uint64_t events, uint64_t trials, double confidence) {
    if (trials == 0 || events == 0) return 0;
    const double alpha = 1 - confidence;
    const auto k = static_cast<double>(events);
    const auto n = static_cast<double>(trials);
    if (events >= trials) return std::exp(std::log(alpha) / n);
    // P(X >= k | p) = I_p(k, n-k+1).
    return solve([&](double p) { return incomplete_beta(k, n - k + 1, p); }, alpha, true);
}

uint64_t trials_needed(uint64_t events, double budget, double confidence) {
    if (budget <= 0) return std::numeric_limits<uint64_t>::max();
    if (budget >= 1) return events + 1;
    uint64_t low = events;
    uint64_t high = std::max<uint64_t>(events + 1, 16);
    while (upper_bound(events, high, confidence) > budget) {
        low = high;
        if (high > (1ULL << 50)) return std::numeric_limits<uint64_t>::max();
        high *= 2;
    }
    while (low + 1 < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (upper_bound(events, middle, confidence) > budget) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high;
}

double fisher_greater(uint64_t events_a, uint64_t trials_a, uint64_t events_b, uint64_t trials_b) {
    const auto na = static_cast<double>(trials_a);
    const auto nb = static_cast<double>(trials_b);
    const uint64_t events = events_a + events_b;
    const double all = log_choose(na + nb, static_cast<double>(events));
    const uint64_t most = std::min(events, trials_a);
    double sum = 0;
    for (uint64_t k = events_a; k <= most; ++k) {
        if (events - k > trials_b) continue;
        const double term = std::exp(log_choose(na, static_cast<double>(k)) +
                                     log_choose(nb, static_cast<double>(events - k)) - all);
        sum += term;
        if (k > events_a && term < sum * 1e-12) break;  // the tail falls from here on
    }
    return std::min(sum, 1.0);
}

ClassVerdict decide_class(const ClassCounts& counts, double budget, double confidence) {
    ClassVerdict verdict;
    const uint64_t n = counts.comparisons;
    const uint64_t k = std::min(counts.confirmed, n);
    const uint64_t k_max = std::min(counts.confirmed + counts.unresolved, n);
    verdict.upper = upper_bound(k_max, n, confidence);
    verdict.lower = lower_bound(k, n, confidence);
    verdict.rate = n == 0 ? 0 : static_cast<double>(k) / static_cast<double>(n);
    verdict.noise = counts.aa_comparisons == 0 ? 0
                                               : static_cast<double>(counts.aa_confirmed) /
                                                     static_cast<double>(counts.aa_comparisons);
    verdict.needed = trials_needed(k_max, budget, confidence);
    if (n > 0 && verdict.upper <= budget) {
        verdict.decision = ClassDecision::within_budget;
        return verdict;
    }
    // Above the budget, or not enough to tell. Noise excuses divergences only where the noise arm
    // itself has shown them, and has enough pairs to have shown a rate as high as this one.
    const bool noise_seen = counts.aa_confirmed > 0;
    const auto worse_than_noise = [&](uint64_t events) {
        return !noise_seen || fisher_greater(events, n, counts.aa_confirmed,
                                             counts.aa_comparisons) < 1 - confidence;
    };
    const double rate_max = n == 0 ? 0 : static_cast<double>(k_max) / static_cast<double>(n);
    const bool noise_measured =
        counts.aa_comparisons > 0 && upper_bound(0, counts.aa_comparisons, confidence) <= rate_max;
    if (k_max > 0 && noise_seen && noise_measured && !worse_than_noise(k_max)) {
        verdict.decision = ClassDecision::within_noise;
    } else if (verdict.lower > budget && worse_than_noise(k)) {
        verdict.decision = ClassDecision::above;
    } else {
        verdict.decision = ClassDecision::inconclusive;
    }
    return verdict;
}

}  // namespace exodus
