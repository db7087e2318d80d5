#ifndef LIBS_CLUSTER_CLUSTER_STATE_H_
#define LIBS_CLUSTER_CLUSTER_STATE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/repeated_field.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/cluster/placement.h"

namespace falaj::cluster {

// ClusterState is the replicated state machine of the metadata service: storage nodes and their
// sessions, topics, partitions, who leads them, and producer ids.
//
// Every metadata node owns one and applies the committed entries of the Raft log to it, in order.
// Equal logs give equal states, down to the bytes of Snapshot(): time and random numbers come in
// with the commands, drawn by whoever proposed them.
//
// Invariants:
//   a leader is alive (its session has not ended), is assigned the partition, and is in the ISR
//   who is in an ISR is alive, so a partition without a leader has an empty one
//   ISR and ELR are disjoint subsets of the replicas; replicas are distinct
//   the target of a reassignment is a subset of the replicas, and what is being added one of the
//   target
//   leader epoch and partition epoch only rise, and so does a node epoch until the quorum is
//   recovered a command that is refused changes nothing but the index
//
// Who may lead (README.md has the reasons): the leader of today if it is valid; else the first
// assigned replica that is alive and in the ISR, or in the ELR while the ISR is empty; else, if
// both are empty, the last leader, once it is back with the directory it led with; else nobody. Who
// is about to stop leads only if nobody else may. Somebody who may lack committed records leads
// only by elect_uncleanly, which the metadata leader proposes where a topic allows it.
//
// Threads: none; one thread at a time. Not here: the log, who is told of changes, when a session
// has timed out.
class ClusterState {
 public:
  // What one entry did. `delta` is empty but for its index if nothing changed.
  struct Applied {
    absl::StatusOr<internal::v1::ExecuteResponse> response;
    internal::v1::ClusterDelta delta;
  };

  ClusterState() = default;
  // Returns CORRUPT_RECORD if the snapshot breaks an invariant.
  static absl::StatusOr<ClusterState> FromSnapshot(const internal::v1::ClusterState& snapshot);

  // Applies the entry at `index`. Requires: index > this->index().
  Applied Apply(LogIndex index, const internal::v1::ClusterCommand& command);
  // Entries that change nothing (no-ops, membership) only move the index.
  void Skip(LogIndex index) { index_ = index; }

  internal::v1::ClusterState Snapshot() const;

  LogIndex index() const { return index_; }
  const Uuid& cluster_id() const { return cluster_id_; }  // Nil before init_cluster.
  // How often the quorum was recovered from the loss of its majority, as far as the log says.
  uint64_t recoveries() const { return recoveries_; }
  // By node id, by topic name.
  const std::map<int32_t, internal::v1::NodeState>& nodes() const { return nodes_; }
  const std::map<std::string, internal::v1::TopicState>& topics() const { return topics_; }

 private:
  using ExecuteResponse = internal::v1::ExecuteResponse;
  using ClusterDelta = internal::v1::ClusterDelta;
  using NodeState = internal::v1::NodeState;
  using TopicState = internal::v1::TopicState;
  // Partitions that changed, by topic name; an empty set: only the topic's header did.
  using Touched = std::map<std::string, std::set<int32_t>>;
  // Targets by topic name and partition.
  using Plan = std::map<std::pair<std::string, int32_t>, google::protobuf::RepeatedField<int32_t>>;

  absl::Status Execute(const internal::v1::ClusterCommand& command, ExecuteResponse* response,
                       ClusterDelta* delta);
  absl::Status Init(const internal::v1::InitClusterCommand& command);
  absl::Status RegisterNode(const internal::v1::RegisterNodeCommand& command,
                            ExecuteResponse* response, ClusterDelta* delta);
  absl::Status EndSession(const internal::v1::EndSessionCommand& command, ClusterDelta* delta);
  absl::Status CreateTopic(const internal::v1::CreateTopicCommand& command, int64_t time_ms,
                           ExecuteResponse* response, ClusterDelta* delta);
  absl::Status UpdateTopic(const internal::v1::UpdateTopicCommand& command,
                           ExecuteResponse* response, ClusterDelta* delta);
  absl::Status DeleteTopic(const internal::v1::DeleteTopicCommand& command, ClusterDelta* delta);
  absl::Status AddPartitions(const internal::v1::AddPartitionsCommand& command,
                             ExecuteResponse* response, ClusterDelta* delta);
  absl::Status AllocateProducerIds(const internal::v1::AllocateProducerIdsCommand& command,
                                   ExecuteResponse* response);
  // These are in cluster_isr.cc.
  absl::Status AlterIsr(const internal::v1::AlterIsrCommand& command, ExecuteResponse* response,
                        ClusterDelta* delta);
  absl::Status PrepareStop(const internal::v1::PrepareStopCommand& command,
                           ExecuteResponse* response, ClusterDelta* delta);
  absl::Status ElectLeaders(const internal::v1::ElectLeadersCommand& command,
                            ExecuteResponse* response, ClusterDelta* delta);
  absl::Status ReportDamage(const internal::v1::ReportDamageCommand& command,
                            ExecuteResponse* response, ClusterDelta* delta);
  absl::Status ElectUncleanly(const internal::v1::ElectUncleanlyCommand& command,
                              ClusterDelta* delta);
  // These are in cluster_recovery.cc.
  absl::Status BeginHistory(const internal::v1::BeginHistoryCommand& command, ClusterDelta* delta);
  // What a node that registers says that it holds, or has lost.
  void TakeReports(const internal::v1::RegisterNodeCommand& command, bool kept_data,
                   Touched* touched);
  bool WantsReportOf(int32_t node_id) const;
  // These are in cluster_reassign.cc.
  absl::Status ReassignPartitions(const internal::v1::ReassignPartitionsCommand& command,
                                  ExecuteResponse* response, ClusterDelta* delta);
  absl::Status CancelReassignments(const internal::v1::CancelReassignmentsCommand& command,
                                   ExecuteResponse* response, ClusterDelta* delta);
  absl::Status SetNodeDraining(const internal::v1::SetNodeDrainingCommand& command,
                               ExecuteResponse* response, ClusterDelta* delta);
  // Whether the partition may be sent on its way to that target. Every error names it.
  absl::Status CheckTarget(const internal::v1::PartitionTarget& wish);
  // What the topic's partitions must become to have so many replicas; without those that have, or
  // will have.
  absl::StatusOr<Plan> PlanReplicationFactor(const TopicState& topic, int32_t factor) const;
  absl::StatusOr<Plan> PlanDrain(int32_t node_id) const;
  absl::Status PlanDrainOfTopic(const TopicState& topic, int32_t node_id, ReplicaMover* mover,
                                Plan* plan) const;
  // Puts the target of one partition in the plan. NOT_ENOUGH_REPLICAS if there is none, or if
  // nobody who holds every committed record would be left.
  absl::Status AddToPlan(const TopicState& topic, const internal::v1::PartitionState& partition,
                         const std::optional<std::vector<int32_t>>& target, Plan* plan) const;
  void Follow(const Plan& plan, ExecuteResponse* response, Touched* touched);
  ReplicaMover MakeMover(int32_t leaving) const;
  // Nodes that are not being drained, whether they are there or not.
  int32_t CountKeptNodes() const;
  // Returns INVALID_REQUEST if there will never be so many replicas with the nodes there are.
  absl::Status CheckNodesFor(int32_t replication_factor) const;
  // Whether it may get new replicas now.
  bool Receives(int32_t node_id) const;

  // Makes one change of the ISR that its leader, the node `sender`, asks for.
  internal::v1::IsrResult ChangeIsr(int32_t sender, const internal::v1::IsrChange& change,
                                    Touched* touched);
  // Lets the node give up its copy of one partition.
  internal::v1::IsrResult DropCopy(int32_t node_id, const internal::v1::DamagedReplica& damaged,
                                   Touched* touched);
  // The partition that is named, and its topic; an error reason if there is none.
  Reason FindPartition(const std::string& topic_id, int32_t partition, TopicState** topic);
  // Returns NODE_NOT_FOUND, EPOCH_FENCED or SESSION_EXPIRED unless that is the node's incarnation
  // of now, and its session lives.
  absl::Status CheckSender(int32_t node_id, int64_t node_epoch) const;

  absl::Status CheckRegistration(const internal::v1::RegisterNodeCommand& command) const;
  absl::StatusOr<TopicState*> FindTopic(const std::string& name);
  // Places and appends partitions up to `count`. Returns INVALID_REQUEST or NOT_ENOUGH_REPLICAS if
  // there are too few storage nodes, without effect.
  absl::Status ExtendTopic(TopicState* topic, int32_t count) const;
  void ReplaceSettings(const internal::v1::TopicSettings& settings, TopicState* topic,
                       Touched* touched);
  // Takes a node whose session has ended out of the ISRs, keeping it eligible, and elects anew.
  void FenceNode(int32_t node_id, Touched* touched);
  // Reconsiders the partitions of a node that has come back. Unless it kept its data it also leaves
  // the ISRs and ELRs it is in.
  void ReviveNode(int32_t node_id, bool kept_data, Touched* touched);
  void ListChanges(const Touched& touched, ClusterDelta* delta) const;
  // Adds the topic's partitions from `first` on to the loads of their nodes, `sign` times. Those
  // that are reassigned count where they are going.
  void CountLoad(const TopicState& topic, int32_t first, int sign);
  void CountLoad(const internal::v1::PartitionState& partition, int sign);

  LogIndex index_;
  Uuid cluster_id_;
  std::map<int32_t, NodeState> nodes_;
  std::map<std::string, TopicState> topics_;
  // Derived from topics_, so that a command costs the same however many there are.
  std::map<int32_t, NodeLoad> loads_;
  std::map<std::string, std::string> topic_names_;  // By topic id.
  int64_t next_producer_id_ = 1;
  uint64_t recoveries_ = 0;
};

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_CLUSTER_STATE_H_
