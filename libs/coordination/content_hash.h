// A 64-bit hash that is the same in every process and version, for the digest of the state. It
// finds members that have diverged; it does not resist somebody who looks for collisions.
#ifndef LIBS_COORDINATION_CONTENT_HASH_H_
#define LIBS_COORDINATION_CONTENT_HASH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace falaj::coordination {

// Mixes `value` into `hash`; the order of several matters.
inline uint64_t HashCombine(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93u;
  return hash ^ hash >> 29;
}

uint64_t HashOf(absl::string_view bytes);

// Bytes that do not change, and their hash, made once: paths and data, shared by all versions of a
// znode.
struct HashedBytes {
  explicit HashedBytes(std::string the_bytes) : bytes(std::move(the_bytes)), hash(HashOf(bytes)) {}

  const std::string bytes;
  const uint64_t hash;
};
using SharedBytes = std::shared_ptr<const HashedBytes>;

inline SharedBytes ShareBytes(std::string bytes) {
  return std::make_shared<const HashedBytes>(std::move(bytes));
}

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_CONTENT_HASH_H_
