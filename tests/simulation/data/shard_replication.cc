// What a simulated shard does for replication: see services/storage/shard_core_replication.cc.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "tests/simulation/data/hosted_replica.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/replication.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kAttachPatience = kSecond;
constexpr SimTime kReportPause = 200 * kMillisecond;

}  // namespace

void Shard::Assign(const Assignment& assignment) {
  Put([this, assignment] {
    if (!round_.batches.empty()) return false;
    // What the round has touched goes with the copy: the real one commits here.
    if (!touched_.empty() && MayDrop(assignment)) return false;
    Apply(assignment);
    return true;
  });
}

void Shard::Retry() {
  PutCommand([this] {
    ReportDamages();
    for (const auto& [partition, assignment] : std::exchange(unapplied_, {})) Apply(assignment);
    for (const auto& [partition, hosted] : hosted_) {
      if (hosted->unsynced) SyncWritten(hosted.get());
    }
  });
  ReattachDetached();
}

void Shard::Apply(const Assignment& assignment) {
  if (MayDrop(assignment)) DropDamaged(FindHosted(assignment.partition));
  Hosted* const hosted = Host(assignment);
  // A new reign before new settings, settings before a new ISR: see ShardCore::Apply.
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
      hosted->core.Step(replica::BecomeFollower{.epoch = assignment.epoch,
                                                .partition_epoch = assignment.partition_epoch,
                                                .leader = assignment.leader,
                                                .unclean_epoch = assignment.unclean_epoch},
                        &hosted->effects),
      "the invariants see a follower that is none");
}

Shard::Hosted* Shard::Host(const Assignment& assignment) {
  const PartitionNumber partition = assignment.partition;
  if (Hosted* const hosted = FindHosted(partition)) return hosted;
  replica::Stored stored = store_->Open(partition);
  stored.attach_id = attach_id_;
  auto hosted = std::make_unique<Hosted>(
      Hosted{.partition = partition,
             .core = replica::Replica(node_->id(), stored, assignment.settings, world_->laws.bug),
             .wanted = assignment,
             .effects = {},
             .published = {},
             .checkpointed = stored.high_watermark,
             .reported = {},
             .asked = {}});
  return hosted_.emplace(partition, std::move(hosted)).first->second.get();
}

void Shard::Damaged(PartitionNumber partition) {
  PutCommand([this, partition] {
    Hosted* const hosted = FindHosted(partition);
    if (hosted != nullptr) hosted->damaged = true;
    ReportDamages();
  });
}

void Shard::ReportDamages() {
  for (const auto& [partition, hosted] : hosted_) {
    const auto& reported = hosted->reported;
    if (!hosted->damaged) continue;
    if (reported.has_value() && world_->now() - *reported < kReportPause) continue;
    hosted->reported = world_->now();
    outbox_->ReportDamage(partition, hosted->wanted);
  }
}

bool Shard::MayDrop(const Assignment& assignment) {
  const Hosted* const hosted = FindHosted(assignment.partition);
  const auto counts = [this](const std::vector<NodeId>& nodes) {
    return std::find(nodes.begin(), nodes.end(), node_->id()) != nodes.end();
  };
  return hosted != nullptr && hosted->damaged && assignment.epoch > hosted->core.epoch() &&
         assignment.leader != NodeId{0} && assignment.leader != node_->id() &&
         !counts(assignment.isr) && !counts(assignment.elr);
}

void Shard::DropDamaged(Hosted* hosted) {
  const PartitionNumber partition = hosted->partition;
  (*world_->trace)("node ", node_->id(), " drops its damaged copy of partition ", partition);
  world_->findings->Reach(Mark::kDamagedDropped);
  DropCopy(partition);
  world_->invariants->OnDropped(node_->id(), partition);
}

void Shard::DropCopy(PartitionNumber partition) {
  if (Hosted* const hosted = FindHosted(partition)) {
    IgnoreError(hosted->core.Step(replica::GoOffline{}, &hosted->effects), "never refuses");
    AnswerReplies(hosted);
    attach_id_ = std::max(attach_id_, hosted->core.attach_id());
    hosted_.erase(partition);
  }
  store_->Drop(partition);
}

void Shard::Unassign(PartitionNumber partition) {
  Put([this, partition] {
    if (!round_.empty() || !touched_.empty()) return false;
    unapplied_.erase(partition);
    if (FindHosted(partition) == nullptr) return true;
    (*world_->trace)("node ", node_->id(), " drops partition ", partition);
    world_->findings->Reach(Mark::kCopyDropped);
    DropCopy(partition);
    world_->invariants->OnLeft(node_->id(), partition);
    return true;
  });
}

void Shard::DropExcept(const std::set<PartitionNumber>& assigned) {
  Put([this, assigned] {
    if (!round_.empty() || !touched_.empty()) return false;
    for (const PartitionNumber partition : store_->List()) {
      if (assigned.contains(partition)) continue;
      unapplied_.erase(partition);
      DropCopy(partition);
      world_->invariants->OnLeft(node_->id(), partition);
    }
    return true;
  });
}

void Shard::ChangeSettings(Hosted* hosted, const Assignment& assignment) {
  hosted->wanted = assignment;
  IgnoreError(hosted->core.Step(replica::ChangeSettings{assignment.settings}, &hosted->effects),
              "never refuses");
}

void Shard::SyncWritten(Hosted* hosted) {
  round_.high_watermarks.emplace_back(hosted->partition, hosted->core.high_watermark());
  round_sync_ = true;
  Gather(hosted);
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
  if (taken.ok()) hosted->asked.reset();
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

void Shard::Reattach(PartitionNumber partition, NodeId leader) {
  PutCommand([this, partition, leader] {
    Hosted* const hosted = FindHosted(partition);
    if (hosted != nullptr && hosted->core.leader() == leader) Feed(hosted, replica::Reattach{});
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
      if (hosted->asked.has_value() && world_->now() - *hosted->asked < kAttachPatience) continue;
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
