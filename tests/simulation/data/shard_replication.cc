// What a simulated shard does for replication: see services/storage/store_shard_replication.cc.
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "tests/simulation/data/hosted_replica.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/replication.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {

void Shard::Assign(const Assignment& assignment) {
  PutCommand([this, assignment] { Apply(assignment); });
}

void Shard::Retry() {
  PutCommand([this] {
    for (const auto& [partition, assignment] : std::exchange(unapplied_, {})) Apply(assignment);
  });
  ReattachDetached();
}

void Shard::Apply(const Assignment& assignment) {
  Hosted* const hosted = Host(assignment);
  // A new reign before new settings, settings before a new ISR: see StoreShard::Apply.
  const bool new_reign = assignment.epoch > hosted->core.epoch();
  if (new_reign) Lead(hosted, assignment);
  ChangeSettings(hosted, assignment);
  if (!new_reign) Lead(hosted, assignment);
  Gather(hosted);
}

void Shard::Lead(Hosted* hosted, const Assignment& assignment) {
  if (assignment.leader == node_->id()) {
    IgnoreError(
        hosted->core.Step(replica::BecomeLeader{.epoch = assignment.epoch,
                                                .partition_epoch = assignment.partition_epoch,
                                                .isr = assignment.isr,
                                                .replicas = assignment.replicas,
                                                .now = Now()},
                          &hosted->effects),
        "the invariants see a leader that is none");
    return;
  }
  IgnoreError(
      hosted->core.Step(
          replica::BecomeFollower{assignment.epoch, assignment.partition_epoch, assignment.leader},
          &hosted->effects),
      "the invariants see a follower that is none");
}

Shard::Hosted* Shard::Host(const Assignment& assignment) {
  const PartitionNumber partition = assignment.partition;
  if (Hosted* const hosted = FindHosted(partition)) return hosted;
  const replica::Stored stored = store_->Open(partition);
  auto hosted = std::make_unique<Hosted>(
      Hosted{.partition = partition,
             .core = replica::Replica(node_->id(), stored, assignment.settings, world_->laws.bug),
             .wanted = assignment,
             .effects = {},
             .published = {},
             .checkpointed = stored.high_watermark});
  return hosted_.emplace(partition, std::move(hosted)).first->second.get();
}

void Shard::ChangeSettings(Hosted* hosted, const Assignment& assignment) {
  hosted->wanted = assignment;
  IgnoreError(hosted->core.Step(replica::ChangeSettings{assignment.settings}, &hosted->effects),
              "never refuses");
}

void Shard::Feed(Hosted* hosted, const replica::Input& input) {
  IgnoreError(hosted->core.Step(input, &hosted->effects),
              "it came too late: of another epoch, incarnation or attach");
  Gather(hosted);
}

void Shard::AttachFollower(PartitionNumber partition, replica::AttachFollower attach,
                           AttachDone done) {
  PutCommand([this, partition, attach, done = std::move(done)]() mutable {
    Hosted* const hosted = FindHosted(partition);
    if (hosted == nullptr) return done(MakeError(Reason::kNotLeader, "not on this node"));
    attach.now = Now();
    const absl::Status accepted = hosted->core.Step(attach, &hosted->effects);
    if (!accepted.ok()) return done(accepted);
    const replica::AttachAnswer answer = hosted->effects.attach_answers.back();
    hosted->effects.attach_answers.clear();
    Gather(hosted);
    done(answer);
  });
}

void Shard::TakeProgress(PartitionNumber partition, replica::FollowerProgress progress) {
  Put([this, partition, progress]() mutable {
    Hosted* const hosted = FindHosted(partition);
    if (hosted == nullptr) return true;
    progress.now = Now();
    Feed(hosted, progress);
    return true;
  });
}

void Shard::FollowerLeft(PartitionNumber partition, replica::FollowerLeft left) {
  PutCommand([this, partition, left]() mutable {
    Hosted* const hosted = FindHosted(partition);
    left.now = Now();
    if (hosted != nullptr) Feed(hosted, left);
  });
}

void Shard::AttachAnswered(PartitionNumber partition, const replica::AttachAnswered& answer) {
  PutCommand([this, partition, answer] {
    if (Hosted* const hosted = FindHosted(partition)) FeedAnswer(hosted, answer);
  });
}

void Shard::FeedAnswer(Hosted* hosted, const replica::AttachAnswered& answer) {
  const Offset end = hosted->core.log_end();
  if (world_->trace->on()) {
    (*world_->trace)("node ", node_->id(), " partition ", hosted->partition, " attach ",
                     answer.attach_id, " answered: start ", answer.log_start,
                     answer.diverging.has_value() ? absl::StrCat(", cut ", answer.diverging->epoch,
                                                                 " at ", answer.diverging->end)
                                                  : "",
                     " own end ", end);
  }
  const absl::Status taken = hosted->core.Step(answer, &hosted->effects);
  if (ReasonOf(taken) == Reason::kCorruptRecord) {
    // Every disk here is what it was when its process was last in sync, or its node is not in the
    // ISR and the replica begins with what its disk says is committed: this must not happen.
    return world_->findings->Report(
        "I3 committed records", absl::StrCat("node ", node_->id(), " partition ", hosted->partition,
                                             ": ", taken.message()));
  }
  if (hosted->core.log_end() > end) {
    BeginAnew(hosted);
  }
  if (hosted->effects.truncate_suffix.has_value()) CutSuffix(hosted);
  Gather(hosted);
}

void Shard::BeginAnew(Hosted* hosted) {
  world_->findings->Reach(Mark::kLogBegunAnew);
  world_->invariants->OnBegunAnew(hosted->partition);
}

void Shard::CutSuffix(Hosted* hosted) {
  const Offset end = *std::exchange(hosted->effects.truncate_suffix, std::nullopt);
  const PartitionNumber partition = hosted->partition;
  world_->invariants->OnCut(node_->id(), partition, end);
  store_->TruncateSuffix(partition, end);
  const replica::Stored stored = store_->Open(partition);
  IgnoreError(
      hosted->core.Step(replica::Truncated{stored.log_start, stored.log_end, stored.producers},
                        &hosted->effects),
      "never refuses");
}

void Shard::Replicate(ReplicateTask task) {
  auto shared = std::make_shared<ReplicateTask>(std::move(task));
  Put([this, shared, stage = std::make_shared<int>(0)] {
    return TakeReplicated(shared.get(), stage.get());
  });
}

bool Shard::TakeReplicated(ReplicateTask* task, int* stage) {
  Hosted* const hosted = FindHosted(task->partition);
  if (*stage == 0) {
    if (hosted == nullptr) {
      consumed_[task->leader] += static_cast<int>(task->batches.size());
      return true;
    }
    // A log that begins anew is a round of its own: the store moves log starts first.
    const Offset end = hosted->core.log_end();
    if (task->marks.log_start > end && !round_.empty()) return false;
    *stage = 1;
    consumed_[task->leader] += static_cast<int>(task->batches.size());
    Feed(hosted, task->marks);
    if (hosted->core.log_end() > end) {
      BeginAnew(hosted);
    }
    if (hosted->core.log_end() > end) return false;  // The real one commits here.
  }
  TakeBatches(hosted, task);
  return true;
}

void Shard::TakeBatches(Hosted* hosted, ReplicateTask* task) {
  const int64_t now_ms = world_->now() / kMillisecond;
  const bool forgets = world_->has_bug(replica::PlantedBug::kDeduplicationNotReplicated);
  for (const Batch& batch : task->batches) {
    const auto producer = forgets ? replica::ProducerStates::Batch{} : batch.OfProducer();
    const absl::Status taken =
        hosted->core.Step(replica::Replicate{.token = 0,
                                             .attach_id = task->marks.attach_id,
                                             .base = batch.base,
                                             .last = batch.last,
                                             .batch_epoch = batch.epoch,
                                             .now_ms = now_ms,
                                             .producer = producer},
                          &hosted->effects);
    if (!taken.ok()) return;  // Of an attach that is over, or to be asked for again.
    for (const replica::Placement& place : std::exchange(hosted->effects.placements, {})) {
      Place(hosted, batch, place);
    }
    Gather(hosted);
  }
}

void Shard::Reattach(PartitionNumber partition) {
  PutCommand([this, partition] {
    Hosted* const hosted = FindHosted(partition);
    if (hosted != nullptr && !hosted->core.attached()) Feed(hosted, replica::Reattach{});
  });
}

void Shard::ReattachTo(NodeId leader) {
  PutCommand([this, leader] {
    for (const auto& [partition, hosted] : hosted_) {
      if (hosted->core.leader() == leader) Feed(hosted.get(), replica::Reattach{});
    }
  });
}

void Shard::ReattachDetached() {
  PutCommand([this] {
    for (const auto& [partition, hosted] : hosted_) {
      if (hosted->core.role() != replica::Role::kFollower || hosted->core.attached()) continue;
      Feed(hosted.get(), replica::Reattach{});
    }
  });
}

void Shard::CheckIsrs() {
  PutCommand([this] {
    for (const auto& [partition, hosted] : hosted_) {
      if (hosted->core.role() == replica::Role::kLeader) {
        Feed(hosted.get(), replica::CheckIsr{Now()});
      }
    }
  });
}

void Shard::IsrAnswered(PartitionNumber partition, replica::IsrAnswered answer) {
  PutCommand([this, partition, answer]() mutable {
    Hosted* const hosted = FindHosted(partition);
    if (hosted == nullptr) return;
    answer.now = Now();
    Feed(hosted, answer);
  });
}

}  // namespace falaj::simulation::data
