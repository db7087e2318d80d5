#include "libs/cluster/election.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace falaj::cluster {
namespace {

using internal::v1::PartitionState;
using internal::v1::ReplicaReport;
using NodeList = google::protobuf::RepeatedField<int32_t>;

NodeList Without(const NodeList& list, int32_t value) {
  NodeList result;
  for (int32_t node : list) {
    if (node != value) result.Add(node);
  }
  return result;
}

bool SameNodes(const NodeList& a, const NodeList& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

// The most preferred of those in sync, or eligible while nobody is, whom `accepts` takes; 0 if
// there is none.
int32_t FirstCandidate(const NodeTable& nodes, const PartitionState& partition,
                       bool (*accepts)(const NodeTable&, int32_t)) {
  const NodeList& electorate = partition.isr().empty() ? partition.elr() : partition.isr();
  for (int32_t node : partition.replicas()) {
    if (accepts(nodes, node) && Contains(electorate, node)) return node;
  }
  return 0;
}

// 0: nobody may lead.
int32_t ChooseLeader(const NodeTable& nodes, const PartitionState& partition) {
  const int32_t today = partition.leader();
  const bool valid = IsAlive(nodes, today) && Contains(partition.isr(), today);
  if (valid && IsStaying(nodes, today)) return today;
  const int32_t staying = FirstCandidate(nodes, partition, IsStaying);
  if (staying != 0) return staying;
  if (valid) return today;
  const int32_t stopping = FirstCandidate(nodes, partition, IsAlive);
  if (stopping != 0) return stopping;
  if (!partition.isr().empty() || !partition.elr().empty()) return 0;
  // Nobody is left who surely holds everything but the one who led last, on the disk it led with.
  const auto last = nodes.find(partition.last_leader());
  if (last == nodes.end() || !IsAlive(nodes, last->first)) return 0;
  return last->second.directory_id() == partition.last_leader_directory() ? last->first : 0;
}

void SetLeader(int32_t leader, PartitionState* partition) {
  partition->set_leader(leader);
  partition->set_leader_epoch(partition->leader_epoch() + 1);
  partition->set_partition_epoch(partition->partition_epoch() + 1);
}

void ForgetLastLeader(PartitionState* partition) {
  partition->clear_last_leader();
  partition->clear_last_leader_directory();
}

// Null: the node has not said yet what it holds.
const ReplicaReport* FindReport(const PartitionState& partition, int32_t node_id) {
  for (const ReplicaReport& report : partition.reports()) {
    if (report.node_id() == node_id) return &report;
  }
  return nullptr;
}

// One whose log is empty has not been a witness of anything: its directory may have been lost, or
// its copy dropped, when the partition moved or was damaged. A leader writes the start of its epoch
// before anything else, so who followed or led it has an entry.
bool HoldsSomething(const ReplicaReport& report) {
  return report.last_epoch() > 0 || report.log_end() > 0;
}

// Of two logs the one with the later epoch holds more, as each leader had everything that was
// committed before; of one epoch, the longer one.
bool HoldsMore(const ReplicaReport& a, const ReplicaReport& b) {
  return std::pair(a.last_epoch(), a.log_end()) > std::pair(b.last_epoch(), b.log_end());
}

struct Witnesses {
  int32_t count = 0;
  const ReplicaReport* best = nullptr;  // Of equals the most preferred. Null: there are none.
};

// The replicas that are there and have said what they hold.
Witnesses FindWitnesses(const NodeTable& nodes, const PartitionState& partition) {
  Witnesses found;
  for (int32_t node : partition.replicas()) {
    const ReplicaReport* const report = FindReport(partition, node);
    if (report == nullptr || !HoldsSomething(*report) || !IsAlive(nodes, node)) continue;
    ++found.count;
    if (found.best == nullptr || HoldsMore(*report, *found.best)) found.best = report;
  }
  return found;
}

// Whoever holds most, if there are so many witnesses that one of them must hold every committed
// record: whatever is committed is on `min_in_sync` replicas at least. 0: too few have come.
int32_t ChooseRecovered(const NodeTable& nodes, int32_t min_in_sync,
                        const PartitionState& partition) {
  const int32_t minimum = std::clamp(min_in_sync, 1, partition.replicas_size());
  const Witnesses found = FindWitnesses(nodes, partition);
  return found.count > partition.replicas_size() - minimum ? found.best->node_id() : 0;
}

// Saturates, since an epoch that wraps would be refused by every log for ever.
int32_t EpochOfNextHistory(int32_t epoch) {
  return std::min(epoch, std::numeric_limits<int32_t>::max() - 2 * kEpochsOfHistory) +
         kEpochsOfHistory;
}

// Whoever leads next must be later than every log that is known, also if there was more in the lost
// history than anybody expected, or another recovery that this quorum does not know of.
void EndRecovery(PartitionState* partition) {
  for (const ReplicaReport& report : partition->reports()) {
    if (report.last_epoch() < partition->leader_epoch()) continue;
    partition->set_leader_epoch(EpochOfNextHistory(report.last_epoch()));
  }
  partition->clear_recovering();
  partition->clear_reports();
}

void RememberLastLeader(const NodeTable& nodes, PartitionState* partition) {
  const auto node = nodes.find(partition->leader());
  if (node == nodes.end()) return;
  partition->set_last_leader(node->first);
  partition->set_last_leader_directory(node->second.directory_id());
}

}  // namespace

bool IsAlive(const NodeTable& nodes, int32_t node_id) {
  const auto node = nodes.find(node_id);
  return node != nodes.end() && node->second.session_id() != 0;
}

bool IsStaying(const NodeTable& nodes, int32_t node_id) {
  return IsAlive(nodes, node_id) && !nodes.at(node_id).stopping();
}

bool Contains(const NodeList& list, int32_t value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

bool SetIsr(const NodeList& isr, int32_t min_in_sync, PartitionState* partition) {
  NodeList elr;
  if (isr.size() < min_in_sync) {
    for (int32_t node : partition->replicas()) {
      const bool held_all = Contains(partition->elr(), node) || Contains(partition->isr(), node);
      if (held_all && !Contains(isr, node)) elr.Add(node);
    }
  }
  if (SameNodes(isr, partition->isr()) && SameNodes(elr, partition->elr())) return false;
  *partition->mutable_elr() = elr;
  *partition->mutable_isr() = isr;
  partition->set_partition_epoch(partition->partition_epoch() + 1);
  return true;
}

bool LeaveIsr(int32_t node_id, int32_t min_in_sync, PartitionState* partition) {
  if (!Contains(partition->isr(), node_id)) return false;
  return SetIsr(Without(partition->isr(), node_id), min_in_sync, partition);
}

bool Disqualify(int32_t node_id, PartitionState* partition) {
  if (!Contains(partition->isr(), node_id) && !Contains(partition->elr(), node_id)) return false;
  *partition->mutable_isr() = Without(partition->isr(), node_id);
  *partition->mutable_elr() = Without(partition->elr(), node_id);
  partition->set_partition_epoch(partition->partition_epoch() + 1);
  return true;
}

bool Elect(const NodeTable& nodes, int32_t min_in_sync, PartitionState* partition) {
  const int32_t leader = partition->recovering() ? ChooseRecovered(nodes, min_in_sync, *partition)
                                                 : ChooseLeader(nodes, *partition);
  if (leader == partition->leader()) return false;
  if (leader == 0) {
    RememberLastLeader(nodes, partition);
  } else {
    ForgetLastLeader(partition);
    EndRecovery(partition);
    if (partition->isr().empty()) {
      NodeList isr;
      isr.Add(leader);
      SetIsr(isr, min_in_sync, partition);
    }
  }
  SetLeader(leader, partition);
  return true;
}

int32_t UncleanCandidate(const NodeTable& nodes, const PartitionState& partition) {
  if (partition.leader() != 0) return 0;
  if (partition.recovering()) {
    // Those that are there will speak soon. Then better one who is known to hold something than one
    // who may hold nothing.
    for (int32_t node : partition.replicas()) {
      if (IsAlive(nodes, node) && FindReport(partition, node) == nullptr) return 0;
    }
    const Witnesses found = FindWitnesses(nodes, partition);
    if (found.best != nullptr) return found.best->node_id();
  }
  // Those that are being added are the last of the replicas.
  const auto settled = partition.replicas_size() - partition.adding_replicas_size();
  const auto first = [&](int from, int to, bool (*accepts)(const NodeTable&, int32_t)) {
    for (int i = from; i < to; ++i) {
      if (accepts(nodes, partition.replicas(i))) return partition.replicas(i);
    }
    return 0;
  };
  for (const auto& [from, to] :
       {std::pair(0, settled), std::pair(settled, partition.replicas_size())}) {
    if (const int32_t staying = first(from, to, IsStaying); staying != 0) return staying;
    if (const int32_t alive = first(from, to, IsAlive); alive != 0) return alive;
  }
  return 0;
}

bool ElectUncleanly(const NodeTable& nodes, PartitionState* partition) {
  const int32_t leader = UncleanCandidate(nodes, *partition);
  if (leader == 0) return false;
  ForgetLastLeader(partition);
  EndRecovery(partition);
  partition->clear_elr();
  partition->clear_isr();
  partition->add_isr(leader);
  SetLeader(leader, partition);
  partition->set_unclean_epoch(partition->leader_epoch());
  return true;
}

void BeginRecovery(PartitionState* partition) {
  ForgetLastLeader(partition);
  partition->clear_reports();  // Of an earlier recovery.
  partition->clear_elr();
  partition->clear_isr();
  partition->set_leader(0);
  partition->set_leader_epoch(EpochOfNextHistory(partition->leader_epoch()));
  partition->set_partition_epoch(partition->partition_epoch() + kEpochsOfHistory);
  partition->set_recovering(true);
}

bool WantsReport(int32_t node_id, const PartitionState& partition) {
  return partition.recovering() && Contains(partition.replicas(), node_id) &&
         FindReport(partition, node_id) == nullptr;
}

bool ForgetReport(int32_t node_id, PartitionState* partition) {
  const ReplicaReport* const report = FindReport(*partition, node_id);
  if (report == nullptr) return false;
  const auto kept =
      std::remove_if(partition->mutable_reports()->begin(), partition->mutable_reports()->end(),
                     [node_id](const ReplicaReport& one) { return one.node_id() == node_id; });
  partition->mutable_reports()->erase(kept, partition->mutable_reports()->end());
  partition->set_partition_epoch(partition->partition_epoch() + 1);
  return true;
}

bool TakeReport(const ReplicaReport& report, PartitionState* partition) {
  if (!partition->recovering() || !Contains(partition->replicas(), report.node_id())) return false;
  ForgetReport(report.node_id(), partition);
  *partition->add_reports() = report;
  partition->set_partition_epoch(partition->partition_epoch() + 1);
  return true;
}

bool MoveLead(const NodeTable& nodes, int32_t node_id, PartitionState* partition) {
  if (partition->leader() == node_id) return false;
  if (!IsStaying(nodes, node_id) || !Contains(partition->isr(), node_id)) return false;
  SetLeader(node_id, partition);
  return true;
}

bool Depose(const NodeTable& nodes, int32_t node_id, int32_t min_in_sync,
            PartitionState* partition) {
  PartitionState after = *partition;
  Disqualify(node_id, &after);
  const bool elected = Elect(nodes, min_in_sync, &after);
  if (after.leader() == 0 || after.leader() == node_id) return false;
  if (!elected) SetLeader(after.leader(), &after);
  *partition = std::move(after);
  return true;
}

bool Relieve(const NodeTable& nodes, int32_t node_id, int32_t min_in_sync,
             PartitionState* partition) {
  if (!Contains(partition->isr(), node_id)) return false;
  const bool moved = Elect(nodes, min_in_sync, partition);
  if (partition->leader() == node_id || partition->isr_size() <= min_in_sync) return moved;
  return LeaveIsr(node_id, min_in_sync, partition);
}

}  // namespace falaj::cluster
