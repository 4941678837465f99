// Exact statistics of gate G3: Clopper–Pearson bounds on the share of diverging answers, and the
// decision per command class against the budget and the noise that the source shows against itself.
// Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace exodus {

/// Regularised incomplete beta function I_x(a, b) for a, b > 0 and 0 <= x <= 1.
double incomplete_beta(double a, double b, double x);

/// One-sided exact bounds on a share after `events` in `trials`: with `confidence` it is not above
/// (below) this.
double upper_bound(uint64_t events, uint64_t trials, double confidence);
double lower_bound(uint64_t events, uint64_t trials, double confidence);

/// Fewest trials whose upper bound is <= budget when `events` were seen. 1e-5 at 95 %, none seen:
/// 299,572.
uint64_t trials_needed(uint64_t events, double budget, double confidence);

/// Chance of seeing as many events in A or more, and the rest in B, if both shares were equal
/// (Fisher's exact test, one-sided).
double fisher_greater(uint64_t events_a, uint64_t trials_a, uint64_t events_b, uint64_t trials_b);

struct ClassCounts {
    std::string name;             ///< command class
    uint64_t comparisons = 0;     ///< pairs whose verdict is known
    uint64_t confirmed = 0;       ///< of them, confirmed divergences
    uint64_t aa_comparisons = 0;  ///< the noise arm: source against itself
    uint64_t aa_confirmed = 0;
    uint64_t unresolved = 0;  ///< of the comparisons: answers that differ, and nobody could say why
};

enum class ClassDecision : uint8_t {
    within_budget,  ///< upper bound <= budget
    within_noise,   ///< above the budget, but not above what the source shows against itself
    above,          ///< proven above the budget and above the noise
    inconclusive,   ///< too few samples, or too many unresolved ones, to say either
};

struct ClassVerdict {
    ClassDecision decision = ClassDecision::inconclusive;
    double rate = 0;
    double lower = 0;  ///< unresolved ones taken for equal
    double upper = 1;  ///< unresolved ones taken for confirmed
    double noise = 0;
    uint64_t needed = 0;  ///< comparisons needed for the budget with what was seen
    [[nodiscard]] bool passes() const {
        return decision == ClassDecision::within_budget || decision == ClassDecision::within_noise;
    }
};

/// What could not be resolved may be a divergence: a class passes only with all of them counted as
/// such, and fails only without any.
ClassVerdict decide_class(const ClassCounts& counts, double budget, double confidence);

}  // namespace exodus
