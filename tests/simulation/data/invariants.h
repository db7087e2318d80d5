#ifndef TESTS_SIMULATION_DATA_INVARIANTS_H_
#define TESTS_SIMULATION_DATA_INVARIANTS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/base/ids.h"
#include "libs/replica/input.h"
#include "libs/replica/replica.h"
#include "tests/simulation/data/store.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

struct Fetched;

// What a producer was told.
struct Acknowledged {
  NodeId node;  // Who told.
  PartitionNumber partition = 0;
  LeaderEpoch epoch;
  replica::Acks acks = replica::Acks::kAll;
  int64_t value = 0;
  Offset base;
  int32_t record_count = 0;
  bool duplicate = false;
  Offset acked_before;  // The greatest acknowledged offset when the batch was first sent.
};

// Invariants holds the promises of replication to everything that happens, as it happens. It sees
// all disks, all replicas and the metadata at once, and looks only at what an event can have
// changed; each record of each copy is compared once, and again after its log was cut.
//
//   I1   below the high watermark all copies are the same, for ever
//   I1b  an offset of an epoch is written with one content only; epochs rise along a log
//   I2   what was acknowledged is committed, and held by as many as must be
//   I3   high watermarks do not fall; nothing below one is cut
//   I4   one leader for an epoch, who is in the ISR; all in the ISR, and all eligible, hold on disk
//        whatever is committed (StrongIsr)
//   I4b  nothing is committed with fewer than the minimum in sync
//   I5   who is sent after an acknowledgement comes behind it
//   I6   consumers see committed records only
//   I8   sequences of a producer are without gap or repetition in what is committed
//
// An unclean election may cost a partition what was committed. What its new leader has when it
// first serves is the truth from then on; until then the partition is not looked at, and what those
// say who have not heard of it counts no more.
//
// I7 says nothing without transactions: the last stable offset is the high watermark.
class Invariants {
 public:
  explicit Invariants(World* world) : world_(world) {}

  void OnRegistered(NodeId node);
  void OnMetadata(const internal::v1::ClusterDelta& delta);
  void OnRound(NodeId node, const Round& round);
  void OnReplica(NodeId node, PartitionNumber partition);
  void OnCut(NodeId node, PartitionNumber partition, Offset end);
  void OnDown(NodeId node);
  // Its disk has lost what no crash takes. It is no proof of anything until it registers.
  void OnDamaged(NodeId node);
  // A copy is gone, as the partition is on other nodes now.
  void OnLeft(NodeId node, PartitionNumber partition);
  // A damaged copy is gone, to be fetched anew.
  void OnDropped(NodeId node, PartitionNumber partition);
  void OnAcknowledged(const Acknowledged& told);
  void OnFetched(NodeId node, PartitionNumber partition, LeaderEpoch epoch, const Fetched& fetched);
  // A follower gave up what it had, and went on where its leader's log began.
  void OnBegunAnew(PartitionNumber partition) { partitions_[partition].begun_anew = true; }

  // At the end, when all is well: every copy is whole and the same.
  void CheckEqual();

  Offset committed_end(PartitionNumber partition) { return partitions_[partition].end; }
  Offset acked_max(PartitionNumber partition) { return partitions_[partition].acked_max; }
  bool begun_anew(PartitionNumber partition) { return partitions_[partition].begun_anew; }
  LeaderEpoch unclean_epoch(PartitionNumber partition) {
    return partitions_[partition].unclean_epoch;
  }

 private:
  struct Sequences {
    ProducerEpoch epoch;
    Sequence next;
  };
  struct PartitionTruth {
    std::vector<Batch> committed;  // Dense.
    Offset begin{0};               // 0, but after an unclean election.
    Offset end{0};
    std::map<std::pair<Offset, LeaderEpoch>, Batch> placed;
    std::map<LeaderEpoch, NodeId> leaders;
    std::map<ProducerId, Sequences> producers;
    Offset acked_max{-1};
    LeaderEpoch leader_epoch{0};
    PartitionEpoch partition_epoch{0};
    std::set<int32_t> isr;
    bool begun_anew = false;
    LeaderEpoch unclean_epoch{0};  // Of the latest unclean election.
    bool unsettled = false;        // Its leader does not serve yet.

    // Whether who says so in that epoch does not know of the latest unclean election.
    bool IsPast(LeaderEpoch epoch) const { return unsettled || epoch < unclean_epoch; }
    const Batch* Find(Offset offset) const;
  };
  struct ReplicaSeen {
    uint64_t generation = 0;
    Offset high_watermark{0};
    Offset checked{0};
  };
  struct CopySeen {
    uint64_t cuts = 0;
    Offset checked{0};
  };
  using CopyName = std::pair<NodeId, PartitionNumber>;

  void Report(absl::string_view invariant, NodeId node, PartitionNumber partition,
              const std::string& what);
  void CheckPartition(const internal::v1::PartitionState& state, PartitionNumber partition);
  // What this leader has is what is committed, now that an unclean election has come to an end.
  void Settle(NodeId node, PartitionNumber partition, const replica::Replica& core);
  void CheckCommitted(NodeId node, PartitionNumber partition, const replica::Replica& core);
  void Extend(NodeId node, PartitionNumber partition, const replica::Replica& core,
              const Batch& batch);
  void CheckSequence(NodeId node, PartitionNumber partition, const Batch& batch);
  void CheckHolders(PartitionNumber partition);
  void CheckHolder(NodeId node, PartitionNumber partition);
  void CheckHoldings(NodeId node);
  bool MustHold(NodeId node, PartitionNumber partition) const;
  int HoldersOf(PartitionNumber partition, const Batch& batch) const;
  void CheckCopy(NodeId node, PartitionNumber partition);
  void CheckProducers(NodeId node, PartitionNumber partition);
  Store::View view() const {
    return world_->laws.fsync ? Store::View::kDurable : Store::View::kWritten;
  }

  World* const world_;
  std::map<PartitionNumber, PartitionTruth> partitions_;
  std::map<CopyName, ReplicaSeen> replicas_;
  std::map<CopyName, CopySeen> copies_;
  std::map<CopyName, LeaderEpoch> cut_in_;
  std::set<NodeId> damaged_;
  std::set<NodeId> unclean_;
  bool was_damaged_ = false;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_INVARIANTS_H_
