// ReplicaComparison holds what several storage nodes have on disk of the same partitions, and tells
// where they differ.
//
// `falaj debug verify` fills it batch by batch and asks at the end. A replica is remembered by its
// batches' places, epochs and checksums, not by their bytes: 24 bytes a batch. It owns everything
// and touches no file.
//
// Invariants: batches of a replica are added in the order of the log. What is compared of a
// partition is
//   below the smallest high watermark any replica has checkpointed: that is committed, so all must
//   have the same, or below the smallest log end, if the caller knows that the replicas were in
//   sync.
// Above that replicas may differ: a node that was killed keeps what was never committed until it
// follows again.
//
// Threads: one. Failures: none; what it finds is its result. Not here: whether a batch is intact,
// which the reader checks.
#ifndef SERVICES_CLI_REPLICA_COMPARISON_H_
#define SERVICES_CLI_REPLICA_COMPARISON_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/log/log_store.h"
#include "libs/record/batch_header.h"

namespace falaj::cli {

class ReplicaComparison {
 public:
  // How far replicas must be alike.
  enum class Extent { kHighWatermark, kLogEnd };

  // Begins the replica in `directory`; the batches that are added next are its.
  void Begin(const log::StoredPartition& partition, const std::string& directory);
  // Requires Begin(). Returns what is wrong if the batch does not begin where the one before it
  // ended.
  std::optional<std::string> Add(const record::BatchHeader& header);

  // The first difference of every partition whose replicas are not alike, as a sentence.
  std::vector<std::string> Differences(Extent extent) const;
  // The partitions with fewer replicas than that, as sentences.
  std::vector<std::string> TooFew(int64_t replicas) const;
  int64_t partitions() const { return static_cast<int64_t>(partitions_.size()); }
  int64_t replicas() const;
  // Batches that were found alike in at least two replicas, counted once a partition.
  int64_t batches_alike(Extent extent) const;

 private:
  struct Mark {
    Offset base;
    Offset last;
    LeaderEpoch epoch;
    uint32_t crc = 0;

    friend bool operator==(const Mark&, const Mark&) = default;
  };
  struct Replica {
    std::string directory;
    Offset log_start;
    Offset log_end;
    Offset high_watermark;
    std::vector<Mark> marks;
  };
  using Replicas = std::vector<Replica>;
  struct Outcome {
    int64_t alike = 0;
    std::optional<std::string> difference;
  };

  static std::string Describe(const Mark* mark);
  // The marks of `replica` between the bounds, whole batches only.
  static std::vector<const Mark*> Between(const Replica& replica, Offset from, Offset to);
  static Outcome Compare(const Replicas& replicas, Extent extent);

  std::map<log::PartitionKey, Replicas> partitions_;
  Replica* current_ = nullptr;
};

// What a partition is called in messages: its topic's id and its number.
std::string PartitionName(const log::PartitionKey& key);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_REPLICA_COMPARISON_H_
