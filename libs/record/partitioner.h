// Which partition a record goes to: by its key as in Kafka's default partitioner, or, without a
// key, the same one for a batch and then another.
#ifndef LIBS_RECORD_PARTITIONER_H_
#define LIBS_RECORD_PARTITIONER_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"

namespace falaj::record {

// 32-bit MurmurHash2 with Kafka's seed.
uint32_t Murmur2(absl::string_view data);

// (murmur2(key) & 0x7fffffff) % partition_count. Requires partition_count > 0.
PartitionIndex PartitionForKey(absl::string_view key, int32_t partition_count);

// StickyPartitioner chooses the partition of records without a key: the same one until about a
// batch's worth of bytes went there, then another at random (KIP-480, KIP-794). So batches fill,
// and bytes spread evenly.
//
//   StickyPartitioner sticky(Random(seed), {});
//   sticky.SetPartitions(partitions_with_leader);
//   ... append to sticky.current() ...
//   sticky.Appended(bytes, batch_is_complete);
//
// One per topic and producer. Threads: one at a time.
class StickyPartitioner {
 public:
  struct Options {
    int64_t switch_bytes = 16384;  // The producer's batch size.
  };

  StickyPartitioner(Random random, const Options& options);

  // The partitions to choose from: those with a leader, or all if none has one. The current one is
  // kept if it is among them. Requires at least one.
  void SetPartitions(std::vector<PartitionIndex> partitions);

  // Where the next record without a key goes. Requires SetPartitions().
  PartitionIndex current() const { return current_; }

  // Tells that `size_bytes` were added to the current partition. After switch_bytes the next
  // complete batch ends the stay, and after twice that any append does.
  void Appended(int64_t size_bytes, bool batch_complete);

 private:
  void Switch();

  const Options options_;
  Random random_;
  std::vector<PartitionIndex> partitions_;
  PartitionIndex current_;
  int64_t bytes_ = 0;  // Sent to current_ since it was chosen.
};

}  // namespace falaj::record

#endif  // LIBS_RECORD_PARTITIONER_H_
