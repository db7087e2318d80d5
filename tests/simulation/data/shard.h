#ifndef TESTS_SIMULATION_DATA_SHARD_H_
#define TESTS_SIMULATION_DATA_SHARD_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/ids.h"
#include "libs/replica/producer_states.h"
#include "libs/replica/replica.h"
#include "tests/simulation/data/batch.h"
#include "tests/simulation/data/store.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

class Replication;

// What the cluster wants of a node for one partition.
struct Assignment {
  PartitionNumber partition = 0;
  replica::Settings settings;
  NodeId leader{0};
  LeaderEpoch epoch;
  PartitionEpoch partition_epoch;
  LeaderEpoch unclean_epoch{0};  // Of the latest unclean election.
  std::vector<NodeId> isr;
  std::vector<NodeId> elr;
  std::vector<NodeId> replicas;
};

// A producer's batch on its way to the log.
struct Produce {
  PartitionNumber partition = 0;
  LeaderEpoch epoch;
  replica::Acks acks = replica::Acks::kAll;
  Batch batch;
};

// What a leader has sent of one partition.
struct ReplicateTask {
  PartitionNumber partition = 0;
  NodeId leader;
  replica::LeaderMarks marks;
  std::vector<Batch> batches;
};

// One moment of a replica, as readers and streams see it.
struct Published {
  bool readable = false;
  bool serving = false;
  bool leads = false;
  LeaderEpoch epoch{-1};
  Offset log_start{0};
  Offset high_watermark{0};
  Offset written_end{0};
  int32_t in_sync_replicas = 0;
  int32_t required_in_sync = 0;
};

// Shard is what services/storage/store_shard.h is to a real node, in virtual time: one mailbox, the
// shipped replica::Replica of each partition, and rounds that are
// written as one, with a sync, before anybody is told.
//
// It lives as long as its process. A thing that has to see a committed round first says so and is
// run again after it: that is where the real one blocks.
class Shard {
 public:
  using ProduceAnswer = std::function<void(absl::Status, replica::AppendOutcome)>;
  using AttachDone = std::function<void(absl::StatusOr<replica::AttachAnswer>)>;
  struct Parts {
    World* world = nullptr;
    StorageNode* node = nullptr;
    Store* store = nullptr;
    Replication* outbox = nullptr;
  };

  Shard(const Parts& parts, uint64_t seed);
  ~Shard();

  void Append(Produce produce, ProduceAnswer answer);
  void Assign(const Assignment& assignment);
  // The partition is on other nodes now.
  void Unassign(PartitionNumber partition);
  // So are all but these.
  void DropExcept(const std::set<PartitionNumber>& assigned);
  // Those that failed for want of disk, and replicas that have lost their leader.
  void Retry();
  void TruncatePrefix(PartitionNumber partition, Offset before);
  void Checkpoint();
  // Takes no more appends, writes a last, synced checkpoint, then calls back.
  void Stop(std::function<void()> done);

  void AttachFollower(PartitionNumber partition, replica::AttachFollower attach, AttachDone done);
  void TakeProgress(PartitionNumber partition, replica::FollowerProgress progress);
  void FollowerLeft(PartitionNumber partition, replica::FollowerLeft left);
  void AttachAnswered(PartitionNumber partition, const replica::AttachAnswered& answer);
  void Replicate(ReplicateTask task);
  void Reattach(PartitionNumber partition, NodeId leader);
  void ReattachTo(NodeId leader);
  void ReattachDetached();
  void CheckIsrs();
  void IsrAnswered(PartitionNumber partition, replica::IsrAnswered answer);

  // A batch of the partition is damaged: see services/storage/shard_core_damage.cc.
  void Damaged(PartitionNumber partition);

  // Null if it is not hosted.
  const replica::Replica* Find(PartitionNumber partition) const;
  const replica::ProducerStates* Producers(PartitionNumber partition) const;
  Published state(PartitionNumber partition) const;
  // The newest leader epoch the replica has been told of.
  LeaderEpoch wanted_epoch(PartitionNumber partition) const;
  std::vector<PartitionNumber> List() const;

 private:
  struct Hosted;
  // Returns false, having done nothing, to be run again when the round is written.
  using Item = std::function<bool()>;

  void Put(Item item);
  void PutCommand(std::function<void()> command);
  void Turn();
  void Commit();
  void ShowWritten(const std::vector<Hosted*>& touched);
  // What became of a round.
  struct Outcome {
    absl::Status committed;
    bool synced = false;
    bool written = false;  // It is in the store, whatever became of its sync.
  };
  void FinishRound(std::vector<Hosted*> touched, const Outcome& outcome);
  void Finish(Hosted* hosted, const Outcome& outcome);

  absl::Status CheckAppend(const Produce& produce) const;
  bool Take(const Produce& produce, const ProduceAnswer& answer);
  bool TakeReplicated(ReplicateTask* task, int* stage);
  void TakeBatches(Hosted* hosted, ReplicateTask* task);
  void Apply(const Assignment& assignment);
  void Lead(Hosted* hosted, const Assignment& assignment);
  void ChangeSettings(Hosted* hosted, const Assignment& assignment);
  void SyncWritten(Hosted* hosted);
  Hosted* Host(const Assignment& assignment);
  void CutSuffix(Hosted* hosted);
  void BeginAnew(Hosted* hosted);
  void ReportDamages();
  // Its copy is damaged, and nobody counts on what it holds.
  bool MayDrop(const Assignment& assignment);
  void DropDamaged(Hosted* hosted);
  void DropCopy(PartitionNumber partition);

  Hosted* FindHosted(PartitionNumber partition);
  void Feed(Hosted* hosted, const replica::Input& input);
  void FeedAnswer(Hosted* hosted, const replica::AttachAnswered& answer);
  void Place(Hosted* hosted, Batch batch, const replica::Placement& place);
  void Gather(Hosted* hosted);
  void SendToOthers(Hosted* hosted);
  void AnswerReplies(Hosted* hosted);
  void NoteReply(const Hosted& hosted, const replica::Reply& reply);
  void Publish(Hosted* hosted);
  MonotonicTime Now() const { return {world_->now()}; }

  World* const world_;
  StorageNode* const node_;
  Store* const store_;
  Replication* const outbox_;
  Random random_;
  bool closed_ = false;
  bool busy_ = false;  // A round is being written.
  std::deque<Item> mailbox_;
  std::map<PartitionNumber, std::unique_ptr<Hosted>> hosted_;
  std::map<PartitionNumber, Assignment> unapplied_;
  std::map<uint64_t, ProduceAnswer> held_;  // By token.
  uint64_t attach_id_ = 0;                  // Of replicas that were here before.
  std::map<NodeId, int> consumed_;          // Batches, by leader.
  Round round_;
  bool round_sync_ = false;
  bool round_begins_epochs_ = false;
  std::vector<Hosted*> touched_;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_SHARD_H_
