// Partition is what the threads of a storage node share of one partition replica: its bounds, its
// leadership, and who waits for records.
//
// The store shard owns the replica itself and publishes a copy of its state here after every
// turn; reactors and readers look, and park long polls. Held by shared_ptr, so that a request
// in flight survives the partition's deletion; it then finds it gone.
//
// A stream that copies the partition to a follower listens instead of waiting: it is told of every
// turn that changed something.
//
// Waiters are ordered by the offset they wait for, so that an advance of the high watermark finds
// those it concerns without looking at the others, and a partition nobody waits for costs nothing.
//
// Threads: any. One mutex, held for copies only.
#ifndef SERVICES_STORAGE_PARTITION_H_
#define SERVICES_STORAGE_PARTITION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/log_store.h"
#include "libs/log/tail_cache.h"
#include "libs/replica/epoch_cache.h"
#include "libs/replica/replica.h"

namespace falaj::storage {

struct TopicCounters;

// Where somebody who is woken goes on with what it waited for: at once on the thread that wakes it,
// or on another one.
enum class GoOn { kHere, kElsewhere };

// One moment of a replica.
struct PartitionState {
  bool gone = false;      // Deleted, or no longer on this node.
  bool readable = false;  // Leads, and may be read from.
  bool serving = false;   // ... and appended to, and knows what is committed.
  bool leads = false;     // Followers may copy from it.
  NodeId leader{0};       // 0: nobody.
  LeaderEpoch epoch{-1};
  Offset log_start{0};
  Offset high_watermark{0};
  Offset written_end{0};  // Followers may have everything below.
  Offset log_end{0};
  absl::InlinedVector<NodeId, 4> isr;  // Of a leader.
  int32_t in_sync_replicas = 0;
  int32_t required_in_sync = 0;  // For anything to be committed.
  int32_t replicas = 0;
  size_t waiting = 0;                  // Appends without an answer.
  replica::FollowerLags replica_lags;  // Of a leader.
  replica::Settings settings;
};

class Partition {
 public:
  // Somebody who waits for records. Woken once for every time it was parked.
  class Waiter {
   public:
    virtual ~Waiter() = default;
    virtual void Wake(GoOn where) = 0;  // Must not block.
  };

  // Somebody who wants to know of every change.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnPublished() = 0;  // Must not block.
  };

  Partition(log::PartitionKey key, std::string topic, log::TailKey tail_key,
            std::shared_ptr<TopicCounters> counters)
      : key_(key), topic_(std::move(topic)), tail_key_(tail_key), counters_(std::move(counters)) {}
  Partition(const Partition&) = delete;
  Partition& operator=(const Partition&) = delete;

  const log::PartitionKey& key() const { return key_; }
  const std::string& topic() const { return topic_; }
  LocalPartitionId id() const { return tail_key_.partition; }
  const log::TailKey& tail_key() const { return tail_key_; }
  TopicCounters* counters() const { return counters_.get(); }

  PartitionState state() const;
  // OK if the partition may, at `epoch`, be read from below the high watermark; be asked what is
  // committed; be appended to. Else PARTITION_NOT_FOUND, or NOT_LEADER with leader and
  // leader_epoch; an append with Acks::kAll may also hear NOT_ENOUGH_REPLICAS.
  static absl::Status CheckReadable(const PartitionState& state, LeaderEpoch epoch);
  static absl::Status CheckServing(const PartitionState& state, LeaderEpoch epoch);
  static absl::Status CheckAppend(const PartitionState& state, LeaderEpoch epoch,
                                  replica::Acks acks);

  // OK if the log, at `epoch`, holds the record before `offset`, which somebody has read who says
  // that it was appended in `last_epoch`. Else OFFSET_OUT_OF_RANGE with diverging_offset, or
  // NOT_LEADER if this log does not reach to that epoch, or the replica has left the first one.
  absl::Status CheckHolds(LeaderEpoch epoch, LeaderEpoch last_epoch, Offset offset) const;

  // Parks `waiter` until the high watermark is above `offset` or the leadership changes. Returns
  // false, and parks nothing, if either is already so: the leadership is that of `epoch`.
  bool Await(LeaderEpoch epoch, Offset offset, std::shared_ptr<Waiter> waiter);
  void Forget(Offset offset, const Waiter* waiter);

  // From here on, until it stops listening. Nobody listens twice.
  void Listen(std::shared_ptr<Listener> listener);
  void StopListening(const Listener* listener);

  // By the shard: replaces the state, and returns whom to wake.
  std::vector<std::shared_ptr<Waiter>> Publish(const PartitionState& state,
                                               const replica::EpochCache& epochs);

 private:
  using WaiterKey = std::pair<Offset, const Waiter*>;

  const log::PartitionKey key_;
  const std::string topic_;
  const log::TailKey tail_key_;
  const std::shared_ptr<TopicCounters> counters_;

  mutable Mutex mu_;
  PartitionState state_ ABSL_GUARDED_BY(mu_);
  replica::EpochCache epochs_ ABSL_GUARDED_BY(mu_);
  absl::btree_map<WaiterKey, std::shared_ptr<Waiter>> waiters_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<Listener>> listeners_ ABSL_GUARDED_BY(mu_);  // One per follower.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_PARTITION_H_
