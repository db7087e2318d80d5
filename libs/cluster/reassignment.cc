#include "libs/cluster/reassignment.h"

#include <algorithm>

namespace falaj::cluster {
namespace {

using internal::v1::PartitionState;
using NodeList = google::protobuf::RepeatedField<int32_t>;

bool SameNodes(const NodeList& a, const NodeList& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

NodeList Among(const NodeList& list, const NodeList& allowed) {
  NodeList result;
  for (int32_t node : list) {
    if (Contains(allowed, node)) result.Add(node);
  }
  return result;
}

NodeList Except(const NodeList& list, const NodeList& excluded) {
  NodeList result;
  for (int32_t node : list) {
    if (!Contains(excluded, node)) result.Add(node);
  }
  return result;
}

NodeList Join(NodeList list, const NodeList& more) {
  list.MergeFrom(more);
  return list;
}

// From now on these are the replicas. Who is not among them is neither in sync nor eligible any
// more.
void ReplaceReplicas(const NodeTable& nodes, int32_t min_in_sync, const NodeList& replicas,
                     PartitionState* partition) {
  const bool some_leave = !Except(partition->replicas(), replicas).empty();
  *partition->mutable_replicas() = replicas;
  partition->set_partition_epoch(partition->partition_epoch() + 1);
  SetIsr(Among(replicas, partition->isr()), min_in_sync, partition);
  const bool elected = Elect(nodes, min_in_sync, partition);
  if (some_leave && !elected && partition->leader() != 0) {
    partition->set_leader_epoch(partition->leader_epoch() + 1);
  }
}

}  // namespace

bool IsReassigning(const PartitionState& partition) { return !partition.target_replicas().empty(); }

NodeList SettledReplicas(const PartitionState& partition) {
  return Except(partition.replicas(), partition.adding_replicas());
}

const NodeList& WantedReplicas(const PartitionState& partition) {
  return IsReassigning(partition) ? partition.target_replicas() : partition.replicas();
}

bool KeepsCommitted(const PartitionState& partition, int32_t min_in_sync, const NodeList& target) {
  if (partition.recovering()) return false;  // Nobody knows yet who holds what.
  const NodeList kept = Join(SettledReplicas(partition), target);
  // Who surely holds whatever is committed: also those who are eligible, and away.
  const NodeList holders = Join(partition.isr(), partition.elr());
  if (!holders.empty()) {
    return Among(holders, kept).size() >= std::min(min_in_sync, holders.size());
  }
  return partition.last_leader() == 0 || Contains(kept, partition.last_leader());
}

bool SetTarget(const NodeTable& nodes, int32_t min_in_sync, const NodeList& target,
               PartitionState* partition) {
  if (SameNodes(target, WantedReplicas(*partition))) return false;
  const NodeList settled = SettledReplicas(*partition);
  const NodeList adding = Except(target, settled);
  partition->clear_target_replicas();
  if (!SameNodes(target, settled)) *partition->mutable_target_replicas() = target;
  *partition->mutable_adding_replicas() = adding;
  ReplaceReplicas(nodes, min_in_sync, Join(settled, adding), partition);
  Settle(nodes, min_in_sync, partition);
  return true;
}

bool Settle(const NodeTable& nodes, int32_t min_in_sync, PartitionState* partition) {
  if (!IsReassigning(*partition)) return false;
  if (!Except(partition->adding_replicas(), partition->isr()).empty()) return false;
  const NodeList target = partition->target_replicas();
  if (Among(target, partition->isr()).size() < std::min(min_in_sync, target.size())) return false;
  partition->clear_target_replicas();
  partition->clear_adding_replicas();
  ReplaceReplicas(nodes, min_in_sync, target, partition);
  return true;
}

}  // namespace falaj::cluster
