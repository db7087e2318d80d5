// What a shard does about records that are damaged on its disk: the copy is dropped, and fetched
// anew from a leader that holds it whole.
//
//                              refused: it goes on as it is
//                                   ┌─────┐
//                                   │     ▼       another one leads a new epoch, and
//   whole ── Damaged() ──▶ damaged, reported ─────────────────────────────▶ empty, follows
//     ▲                             this node is neither in sync nor eligible     │
//     └────────────────────────────── caught up, in sync again ───────────────────┘
//
// Invariants: a copy is dropped only when nobody counts on what it holds, that is, when the cluster
// has neither its node in the ISR nor in the ELR, another node leads, and this node has said
// nothing to that leader in its epoch. So what is on its way from earlier epochs, a lost answer to
// the report or a report that arrives twice does no harm; and a node that restarts before it has
// dropped the copy merely has to meet the damage again.
//
// Failures: the metadata service does not answer: the report is repeated, and meanwhile all is as
// it was. The disk refuses to drop the copy: the replica is offline until RetryAssignments(). The
// only copy that is in sync is damaged: everything but the damaged records is served from it, and
// who needs those waits for an operator.
#include <algorithm>
#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "services/storage/hosted_partition.h"
#include "services/storage/shard_core.h"

namespace falaj::storage {
namespace {

constexpr absl::Duration kReportPause = absl::Seconds(5);

bool Contains(const std::vector<NodeId>& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

}  // namespace

void ShardCore::Damaged(const std::shared_ptr<Partition>& partition) {
  Hosted* const hosted = FindHosted(partition->key());
  // Who has read of a copy that is dropped by now says nothing of the one that came after it.
  if (hosted != nullptr && hosted->shared == partition) MarkDamaged(hosted);
}

void ShardCore::MarkDamaged(Hosted* hosted) {
  if (std::exchange(hosted->damaged, true)) return;
  Watch(hosted);
  log::Error("records of a partition are damaged on disk",
             {{"topic", hosted->shared->topic()},
              {"partition", hosted->shared->key().partition},
              {"replicas", static_cast<int64_t>(hosted->wanted.replicas.size())}});
  ReportDamage(hosted);
}

void ShardCore::ReportDamage(Hosted* hosted) {
  const Assignment& known = hosted->wanted;
  if (outbox_ == nullptr || failed() || known.replicas.size() < 2) return;
  hosted->reported = clock_->MonotonicNow();
  outbox_->ReportDamage(known.key, {known.epoch, known.partition_epoch});
}

void ShardCore::ReportDamageAgain(Hosted* hosted, MonotonicTime now) {
  if (hosted->reported.has_value() && now - *hosted->reported < kReportPause) return;
  ReportDamage(hosted);
}

bool ShardCore::MayBeginAnew(const Hosted& hosted, const Assignment& assignment) const {
  const NodeId self = options_.node;
  return hosted.damaged && assignment.leader != NodeId{0} && assignment.leader != self &&
         !Contains(assignment.isr, self) && !Contains(assignment.elr, self);
}

absl::StatusOr<ShardCore::Hosted*> ShardCore::BeginAnew(Hosted* hosted,
                                                        const Assignment& assignment) {
  Commit();  // The round may hold something of it.
  const log::PartitionKey key = assignment.key;
  log::Warning("dropping a damaged copy, to fetch it anew from its leader",
               {{"topic", assignment.topic},
                {"partition", key.partition},
                {"leader", assignment.leader},
                {"log_end_offset", hosted->core.log_end()}});
  // First nobody may read it any more: who does is to hear that another one leads.
  PartitionState last = hosted->shared->state();
  last.leader = assignment.leader;
  last.epoch = assignment.epoch;
  LetGo(hosted, last);
  FALAJ_RETURN_IF_ERROR(store_->DropPartition(hosted->shared->id()));
  attach_id_ = std::max(attach_id_, hosted->core.attach_id());
  front_->partitions.Remove(key);
  hosted_.erase(key);
  return Host(assignment);
}

}  // namespace falaj::storage
