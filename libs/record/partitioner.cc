#include "libs/record/partitioner.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace falaj::record {
namespace {

constexpr uint32_t kMurmurSeed = 0x9747b28c;
constexpr uint32_t kMurmurMultiplier = 0x5bd1e995;

uint32_t LoadLittleEndian(const char* p, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  }
  return value;
}

}  // namespace

uint32_t Murmur2(absl::string_view data) {
  uint32_t hash = kMurmurSeed ^ static_cast<uint32_t>(data.size());
  const char* p = data.data();
  size_t left = data.size();
  for (; left >= 4; p += 4, left -= 4) {
    uint32_t block = LoadLittleEndian(p, 4);
    block *= kMurmurMultiplier;
    block ^= block >> 24;
    block *= kMurmurMultiplier;
    hash *= kMurmurMultiplier;
    hash ^= block;
  }
  if (left > 0) {
    hash ^= LoadLittleEndian(p, left);
    hash *= kMurmurMultiplier;
  }
  hash ^= hash >> 13;
  hash *= kMurmurMultiplier;
  hash ^= hash >> 15;
  return hash;
}

PartitionIndex PartitionForKey(absl::string_view key, int32_t partition_count) {
  // A mask, as Kafka does it, not the absolute value.
  return PartitionIndex(static_cast<int32_t>(Murmur2(key) & 0x7fffffff) % partition_count);
}

StickyPartitioner::StickyPartitioner(Random random, const Options& options)
    : options_(options), random_(random) {}

void StickyPartitioner::SetPartitions(std::vector<PartitionIndex> partitions) {
  const bool first = partitions_.empty();
  partitions_ = std::move(partitions);
  const bool kept =
      std::find(partitions_.begin(), partitions_.end(), current_) != partitions_.end();
  if (first || !kept) Switch();
}

void StickyPartitioner::Appended(int64_t size_bytes, bool batch_complete) {
  bytes_ += size_bytes;
  const bool due = bytes_ >= options_.switch_bytes && batch_complete;
  if (due || bytes_ >= 2 * options_.switch_bytes) Switch();
}

void StickyPartitioner::Switch() {
  current_ = partitions_[random_.Below(partitions_.size())];
  bytes_ = 0;
}

}  // namespace falaj::record
