#include "libs/base/random.h"

#include <bit>
#include <random>

namespace falaj {

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) {  // SplitMix64 (Steele, Lea, Flood 2014).
    seed += 0x9e3779b97f4a7c15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

Random Random::FromSystem() {
  std::random_device device;
  return Random((static_cast<uint64_t>(device()) << 32) | device());
}

std::string DrawSecret(size_t size_bytes) {
  std::random_device device;
  std::string secret(size_bytes, '\0');
  for (char& byte : secret) byte = static_cast<char>(device());
  return secret;
}

uint64_t Random::Next() {  // xoshiro256** (Blackman, Vigna 2018).
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t bound) {
  const uint64_t threshold = (0 - bound) % bound;  // Rejects the uneven tail: no modulo bias.
  uint64_t value = Next();
  while (value < threshold) value = Next();
  return value % bound;
}

int64_t Random::Between(int64_t low, int64_t high) {
  const uint64_t span = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
  const uint64_t offset = span == 0 ? Next() : Below(span);
  return static_cast<int64_t>(static_cast<uint64_t>(low) + offset);
}

double Random::Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

Uuid Random::NextUuid() {
  const uint64_t high = Next();
  return Uuid::FromRandomBits(high, Next());
}

}  // namespace falaj
