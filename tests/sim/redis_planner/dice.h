// What is random in a world, all from one seed.
#pragma once

#include <cstdint>
#include <random>

namespace exodus::redis::sim {

class Dice {
  public:
    explicit Dice(uint64_t seed) : random_(seed) {}
    uint64_t pick(uint64_t n) { return random_() % n; }
    bool one_in(uint64_t n) { return pick(n) == 0; }
    int database(int count) { return static_cast<int>(pick(static_cast<uint64_t>(count))); }

  private:
    std::mt19937_64 random_;
};

}  // namespace exodus::redis::sim
