// How a store shard becomes what the cluster wants it to be: which partitions it hosts, which of
// them it leads.
#include <memory>
#include <utility>
#include <vector>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/storage/hosted_partition.h"
#include "services/storage/shard_core.h"

namespace falaj::storage {
namespace {

replica::Stored ToStored(const log::StoredPartition& stored,
                         std::vector<record::ProducerRow> producers) {
  return {.log_start = stored.log_start,
          .log_end = stored.log_end,
          .high_watermark = stored.high_watermark,
          .epochs = stored.epochs,
          .producers = std::move(producers)};
}

bool SameRetention(const log::RetentionPolicy& a, const log::RetentionPolicy& b) {
  return a.age == b.age && a.size_bytes == b.size_bytes;
}

}  // namespace

void ShardCore::RetryAssignments() {
  // Else nothing can be written any more, the beginning of a reign neither.
  const bool writable = !failed();
  if (writable) {
    auto again = std::exchange(unapplied_, {});
    for (const auto& [key, assignment] : again) Apply(assignment);
  }
  const MonotonicTime now = clock_->MonotonicNow();
  for (Hosted* const hosted : WatchedPartitions()) {
    if (writable && hosted->unsynced) SyncWritten(hosted);
    if (writable && hosted->damaged) ReportDamageAgain(hosted, now);
    ReattachIfDetached(hosted, now);
  }
}

void ShardCore::Apply(const Assignment& assignment) {
  if (IsQuarantined(assignment.key)) {
    return log::Error("a partition is in quarantine here and is not served until it is released",
                      {{"topic", assignment.topic}, {"partition", assignment.key.partition}});
  }
  absl::StatusOr<Hosted*> hosted = Host(assignment);
  absl::Status status = hosted.status();
  // A new reign comes before new settings, which would else be applied to the old one: a lower
  // minimum of in-sync replicas, say, would commit what only this deposed leader holds. In one
  // reign the settings come first: they judge the ISR that comes with them.
  const bool new_reign = status.ok() && assignment.epoch > (*hosted)->core.epoch();
  if (new_reign && MayBeginAnew(**hosted, assignment)) {
    hosted = BeginAnew(*hosted, assignment);
    status = hosted.status();
  }
  if (new_reign && status.ok()) Lead(*hosted, assignment);
  if (status.ok()) status = ChangeSettings(*hosted, assignment);
  if (!status.ok()) {
    log::Warning(
        "cannot open a partition; will try again",
        {{"topic", assignment.topic}, {"partition", assignment.key.partition}, {"error", status}});
    unapplied_[assignment.key] = assignment;
    if (hosted.ok()) Gather(*hosted);
    return;
  }
  unapplied_.erase(assignment.key);
  if (!new_reign) Lead(*hosted, assignment);
  Gather(*hosted);
  if (new_reign && (*hosted)->damaged) ReportDamage(*hosted);
}

// Makes the replica the leader or a follower, as assigned.
void ShardCore::Lead(Hosted* hosted, const Assignment& assignment) {
  absl::Status status;
  if (assignment.leader == options_.node) {
    // Also in the epoch it led before: who is in sync with a log that cannot grow matters no more.
    if (failed() && hosted->core.role() != replica::Role::kLeader) return;
    status = hosted->core.Step(replica::BecomeLeader{.epoch = assignment.epoch,
                                                     .partition_epoch = assignment.partition_epoch,
                                                     .isr = assignment.isr,
                                                     .replicas = assignment.replicas,
                                                     .now = clock_->MonotonicNow()},
                               &hosted->effects);
  } else {
    status =
        hosted->core.Step(replica::BecomeFollower{.epoch = assignment.epoch,
                                                  .partition_epoch = assignment.partition_epoch,
                                                  .leader = assignment.leader,
                                                  .unclean_epoch = assignment.unclean_epoch},
                          &hosted->effects);
  }
  if (status.ok()) return;
  log::Error(
      "an assignment contradicts the log of the partition",
      {{"topic", assignment.topic}, {"partition", assignment.key.partition}, {"error", status}});
}

absl::StatusOr<ShardCore::Hosted*> ShardCore::Host(const Assignment& assignment) {
  const auto it = hosted_.find(assignment.key);
  if (it != hosted_.end()) return it->second.get();
  FALAJ_ASSIGN_OR_RETURN(const log::StoredPartition stored,
                         store_->OpenPartition(assignment.key, assignment.retention));
  FALAJ_ASSIGN_OR_RETURN(std::vector<record::ProducerRow> producers,
                         store_->LoadProducers(stored.id));
  replica::Stored known = ToStored(stored, std::move(producers));
  known.attach_id = attach_id_;
  auto shared = std::make_shared<Partition>(assignment.key, assignment.topic,
                                            log::TailKey{options_.index, stored.id},
                                            metrics_->Topic(assignment.topic));
  auto hosted = std::make_unique<Hosted>(Hosted{
      .shared = shared,
      .core = replica::Replica(options_.node, known, assignment.settings, options_.planted_bug),
      .wanted = assignment,
      .effects = {},
      .checkpointed = stored.high_watermark,
      .reported = {},
      .asked = {}});
  Hosted* result = hosted.get();
  hosted_.emplace(assignment.key, std::move(hosted));
  front_->partitions.Add(std::move(shared));
  return result;
}

absl::Status ShardCore::ChangeSettings(Hosted* hosted, const Assignment& assignment) {
  if (!SameRetention(hosted->wanted.retention, assignment.retention)) {
    FALAJ_RETURN_IF_ERROR(store_->SetRetention(hosted->shared->id(), assignment.retention));
  }
  hosted->wanted = assignment;
  if (assignment.settings.fsync && !hosted->core.settings().fsync) SyncWritten(hosted);
  return hosted->core.Step(replica::ChangeSettings{assignment.settings}, &hosted->effects);
}

// What was only written so far is synced with this round: nobody might come to write any more, and
// until then the partition would not be in sync.
void ShardCore::SyncWritten(Hosted* hosted) {
  round_.high_watermarks.emplace_back(hosted->shared->id(), hosted->core.high_watermark());
  round_sync_ = true;
  Gather(hosted);
}

}  // namespace falaj::storage
