// Random is a small, fast, seeded generator (SplitMix64-seeded xoshiro256**), a constructor
// argument wherever chance is needed. The same seed gives the same numbers on every machine. Not
// for secrets: see DrawSecret. Not thread-safe.
#ifndef LIBS_BASE_RANDOM_H_
#define LIBS_BASE_RANDOM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "libs/base/ids.h"

namespace falaj {

class Random {
 public:
  explicit Random(uint64_t seed);
  // Seeds from the operating system; for shells only.
  static Random FromSystem();

  uint64_t Next();
  // Uniform in [0, bound). Requires bound > 0.
  uint64_t Below(uint64_t bound);
  // Uniform in [low, high]. Requires low <= high.
  int64_t Between(int64_t low, int64_t high);
  double Unit();  // Uniform in [0, 1).
  Uuid NextUuid();

 private:
  std::array<uint64_t, 4> state_;
};

// `size_bytes` bytes that nobody can guess, from the operating system: for secrets; for shells
// only.
std::string DrawSecret(size_t size_bytes);

}  // namespace falaj

#endif  // LIBS_BASE_RANDOM_H_
