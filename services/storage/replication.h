// How a store shard reaches the other nodes of a partition, and how they reach it.
#ifndef SERVICES_STORAGE_REPLICATION_H_
#define SERVICES_STORAGE_REPLICATION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/log/log_store.h"
#include "libs/replica/replica.h"
#include "services/storage/partition.h"

namespace falaj::storage {

// What a shard knows of a partition whose log is damaged.
struct DamageReport {
  LeaderEpoch epoch;
  PartitionEpoch partition_epoch;
};

// What a node copies from another one comes on two streams: who is in sync, or lacks little, must
// not wait behind what those lack that lag.
enum class Lane { kLive, kCatchUp };

inline Lane Other(Lane lane) { return lane == Lane::kLive ? Lane::kCatchUp : Lane::kLive; }

// The stream on which a follower gets a partition.
struct Source {
  NodeId leader;
  Lane lane = Lane::kLive;

  friend auto operator<=>(const Source&, const Source&) = default;
};

// What a shard has to say to others. Called by whoever works it off; must not block. What cannot be
// delivered is dropped: the replica asks again when told to (StoreShard::Reattach).
class ReplicaOutbox {
 public:
  virtual ~ReplicaOutbox() = default;
  // To the leader of a partition that this node follows. False if it was dropped; else there will
  // be an answer, or Reattach().
  virtual bool Attach(const log::PartitionKey& key, const Source& source,
                      const replica::AttachRequest& request) = 0;
  virtual void Acknowledge(const log::PartitionKey& key, const Source& source,
                           const replica::FollowerAck& ack) = 0;
  // So many bytes that came from there have left the mailbox.
  virtual void Consumed(const Source& source, int64_t bytes) = 0;
  // Every acknowledgement of a round has been given: send.
  virtual void Flush() = 0;
  // To the metadata service.
  virtual void Propose(const log::PartitionKey& key, const replica::IsrProposal& proposal) = 0;
  // Likewise. What became of it shows in the next assignment; it is reported again until then.
  virtual void ReportDamage(const log::PartitionKey& key, const DamageReport& report) = 0;
};

// A batch of a leader's log, verified.
struct ReplicaBatch {
  Offset base;
  Offset last;
  LeaderEpoch epoch;
  int64_t max_timestamp_ms = -1;
  replica::ProducerStates::Batch producer;
  Bytes batch;
};

// What a leader has sent of one partition.
struct ReplicateTask {
  log::PartitionKey key;
  Source source;
  replica::LeaderMarks marks;
  std::vector<ReplicaBatch> batches;
  int64_t bytes = 0;  // To be given back as credit.
};

// What a follower says it holds of one partition.
struct ProgressTask {
  std::shared_ptr<Partition> partition;
  replica::FollowerProgress progress;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_REPLICATION_H_
