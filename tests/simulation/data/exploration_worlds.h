// The states of the whole world that an exploration has found, in the order in which it found them.
#ifndef TESTS_SIMULATION_DATA_EXPLORATION_WORLDS_H_
#define TESTS_SIMULATION_DATA_EXPLORATION_WORLDS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "tests/simulation/data/exploration_metadata.h"
#include "tests/simulation/data/exploration_replica.h"

namespace falaj::simulation::data {

// Everything there is, by the names of its parts. Equal worlds have equal bytes.
struct World {
  std::array<ReplicaNumber, kNodes> replicas{};
  // An acknowledgement that its follower sent in a reign it has left; 0: none.
  std::array<uint16_t, kNodes> late_acks{};
  MetadataNumber metadata = 0;
  uint16_t committed = 0;  // Names what any high watermark has ever covered.
  uint8_t records = 0;     // That have been appended.
  uint8_t crashes = 0;
};
static_assert(sizeof(World) == 24 && std::has_unique_object_representations_v<World>);

// Worlds are kept whole, not as hashes: none is ever taken for another one. About 40 bytes each.
class Worlds {
 public:
  Worlds() : slots_(size_t{1} << 16, kFree) {}

  // Whether it was new. `parent`: from which it was reached first.
  bool Add(const World& world, uint32_t parent) {
    size_t slot = Slot(world);
    for (; slots_[slot] != kFree; slot = (slot + 1) & (slots_.size() - 1)) {
      if (std::memcmp(&At(slots_[slot]), &world, sizeof(World)) == 0) return false;
    }
    if (size_ % kChunk == 0) chunks_.push_back(std::make_unique<Entry[]>(kChunk));
    slots_[slot] = size_;
    chunks_[size_ / kChunk][size_ % kChunk] = {world, parent};
    ++size_;
    if (size_ > slots_.size() / 4 * 3) Grow();
    return true;
  }
  void Prefetch(const World& world) const { __builtin_prefetch(&slots_[Slot(world)]); }

  uint32_t size() const { return size_; }
  const World& At(uint32_t index) const { return chunks_[index / kChunk][index % kChunk].world; }
  uint32_t ParentOf(uint32_t index) const { return chunks_[index / kChunk][index % kChunk].parent; }

 private:
  struct Entry {
    World world;
    uint32_t parent;
  };
  static constexpr uint32_t kChunk = 1 << 16;
  static constexpr uint32_t kFree = UINT32_MAX;

  size_t Slot(const World& world) const {
    std::array<uint64_t, 3> words;
    std::memcpy(words.data(), &world, sizeof(World));
    uint64_t hash = 0;
    for (const uint64_t word : words) {
      hash = (hash ^ word) * 0xff51afd7ed558ccd;
      hash ^= hash >> 33;
    }
    hash *= 0xc4ceb9fe1a85ec53;
    hash ^= hash >> 33;
    return hash & (slots_.size() - 1);
  }
  void Grow() {
    const size_t slots = slots_.size() * 2;
    std::vector<uint32_t>().swap(slots_);  // First: there may be no room for both.
    slots_.assign(slots, kFree);
    for (uint32_t index = 0; index < size_; ++index) {
      size_t slot = Slot(At(index));
      while (slots_[slot] != kFree) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = index;
    }
  }

  std::vector<uint32_t> slots_;  // Indexes, by hash; a power of two of them.
  std::vector<std::unique_ptr<Entry[]>> chunks_;
  uint32_t size_ = 0;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_EXPLORATION_WORLDS_H_
