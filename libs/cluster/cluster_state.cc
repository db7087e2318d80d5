#include "libs/cluster/cluster_state.h"

#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/cluster/election.h"
#include "libs/cluster/reassignment.h"
#include "libs/cluster/request_checks.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::cluster {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr size_t kAddressSizeMax = 261;  // A DNS name of 255, a colon, five digits.
constexpr size_t kZoneSizeMax = 255;

bool IsPrintable(absl::string_view text) {
  for (char c : text) {
    if (c < 0x20 || c == 0x7f) return false;
  }
  return true;
}

// The header of a topic, without its partitions.
pb::TopicState HeaderOf(const pb::TopicState& topic) {
  pb::TopicState header;
  header.set_topic_id(topic.topic_id());
  header.set_name(topic.name());
  header.set_create_time_ms(topic.create_time_ms());
  header.set_replication_factor(topic.replication_factor());
  *header.mutable_settings() = topic.settings();
  return header;
}

bool SameRequest(const pb::TopicState& topic, const pb::CreateTopicCommand& command) {
  return topic.partitions_size() == command.partition_count() &&
         topic.replication_factor() == command.replication_factor() &&
         SameTopicSettings(topic.settings(), command.settings());
}

pb::PartitionState MakePartition(int32_t index, const std::vector<int32_t>& replicas) {
  pb::PartitionState partition;
  partition.set_partition(index);
  partition.mutable_replicas()->Add(replicas.begin(), replicas.end());
  partition.mutable_isr()->Add(replicas.begin(), replicas.end());
  partition.set_leader(replicas.front());
  partition.set_leader_epoch(1);
  partition.set_partition_epoch(1);
  return partition;
}

absl::Status ValidateIdsOf(const pb::RegisterNodeCommand& command) {
  FALAJ_RETURN_IF_ERROR(CheckUuid("directory_id", command.directory_id(), false));
  FALAJ_RETURN_IF_ERROR(CheckUuid("cluster_id", command.cluster_id(), true));
  FALAJ_RETURN_IF_ERROR(CheckUuid("incarnation_id", command.incarnation_id(), true));
  for (const pb::StoredReplica& replica : command.replicas()) {
    FALAJ_RETURN_IF_ERROR(CheckUuid("topic_id", replica.topic_id(), false));
  }
  return absl::OkStatus();
}

// What can be said of it without the state.
absl::Status ValidateRegistration(const pb::RegisterNodeCommand& command) {
  if (command.node_id() < 1) return InvalidField("node_id", "must be at least 1");
  FALAJ_RETURN_IF_ERROR(ValidateIdsOf(command));
  if (command.address().empty() || command.address().size() > kAddressSizeMax ||
      !IsPrintable(command.address())) {
    return InvalidField("address", "must be host:port");
  }
  if (command.zone().size() > kZoneSizeMax || !IsPrintable(command.zone())) {
    return InvalidField("zone", "must be at most 255 printable bytes");
  }
  if (command.session_timeout_ms() < kSessionTimeoutMsMin ||
      command.session_timeout_ms() > kSessionTimeoutMsMax) {
    return InvalidField("session_timeout_ms", absl::StrCat("must be ", kSessionTimeoutMsMin, " to ",
                                                           kSessionTimeoutMsMax));
  }
  return absl::OkStatus();
}

absl::Status ValidateNewTopic(const pb::CreateTopicCommand& command) {
  FALAJ_RETURN_IF_ERROR(ValidateTopicName(command.name()));
  FALAJ_RETURN_IF_ERROR(CheckUuid("topic_id", command.topic_id(), false));
  FALAJ_RETURN_IF_ERROR(ValidatePartitionCount(command.partition_count()));
  FALAJ_RETURN_IF_ERROR(ValidateReplicationFactor(command.replication_factor()));
  return ValidateTopicSettings(command.settings(), command.replication_factor());
}

}  // namespace

ClusterState::Applied ClusterState::Apply(LogIndex index, const pb::ClusterCommand& command) {
  index_ = index;
  ExecuteResponse response;
  Applied applied{ExecuteResponse(), {}};
  absl::Status status = Execute(command, &response, &applied.delta);
  applied.delta.set_index(index.value());
  if (!status.ok()) {
    applied.response = std::move(status);
    return applied;
  }
  response.set_index(index.value());
  response.set_cluster_id(std::string(cluster_id_.bytes()));
  response.set_recoveries(recoveries_);
  applied.response = std::move(response);
  return applied;
}

absl::Status ClusterState::Execute(const pb::ClusterCommand& command, ExecuteResponse* response,
                                   ClusterDelta* delta) {
  using Kind = pb::ClusterCommand;
  if (cluster_id_.is_nil() && command.command_case() != Kind::kInitCluster) {
    return MakeError(Reason::kMetadataUnavailable, "the cluster has no id yet");
  }
  switch (command.command_case()) {
    case Kind::kInitCluster:
      return Init(command.init_cluster());
    case Kind::kRegisterNode:
      return RegisterNode(command.register_node(), response, delta);
    case Kind::kEndSession:
      return EndSession(command.end_session(), delta);
    case Kind::kCreateTopic:
      return CreateTopic(command.create_topic(), command.time_ms(), response, delta);
    case Kind::kUpdateTopic:
      return UpdateTopic(command.update_topic(), response, delta);
    case Kind::kDeleteTopic:
      return DeleteTopic(command.delete_topic(), delta);
    case Kind::kAddPartitions:
      return AddPartitions(command.add_partitions(), response, delta);
    case Kind::kAllocateProducerIds:
      return AllocateProducerIds(command.allocate_producer_ids(), response);
    case Kind::kAlterIsr:
      return AlterIsr(command.alter_isr(), response, delta);
    case Kind::kPrepareStop:
      return PrepareStop(command.prepare_stop(), response, delta);
    case Kind::kElectLeaders:
      return ElectLeaders(command.elect_leaders(), response, delta);
    case Kind::kReassignPartitions:
      return ReassignPartitions(command.reassign_partitions(), response, delta);
    case Kind::kCancelReassignments:
      return CancelReassignments(command.cancel_reassignments(), response, delta);
    case Kind::kSetNodeDraining:
      return SetNodeDraining(command.set_node_draining(), response, delta);
    case Kind::kReportDamage:
      return ReportDamage(command.report_damage(), response, delta);
    case Kind::kElectUncleanly:
      return ElectUncleanly(command.elect_uncleanly(), delta);
    case Kind::kBeginHistory:
      return BeginHistory(command.begin_history(), delta);
    case Kind::kCoordination:  // Of the other half of the metadata service's state.
    case Kind::COMMAND_NOT_SET:
      break;
  }
  return InvalidField("command", "must be set to a command this version knows");
}

absl::Status ClusterState::Init(const pb::InitClusterCommand& command) {
  if (!cluster_id_.is_nil()) return absl::OkStatus();
  FALAJ_ASSIGN_OR_RETURN(const Uuid id, Uuid::FromBytes(command.cluster_id()));
  if (id.is_nil()) return InvalidField("cluster_id", "must not be nil");
  cluster_id_ = id;
  return absl::OkStatus();
}

absl::Status ClusterState::CheckRegistration(const pb::RegisterNodeCommand& command) const {
  FALAJ_RETURN_IF_ERROR(ValidateRegistration(command));
  if (!command.cluster_id().empty() && command.cluster_id() != cluster_id_.bytes()) {
    return MakeError(Reason::kClusterMismatch, "the data directory belongs to another cluster",
                     {{"cluster_id", cluster_id_.ToString()}});
  }
  for (const auto& [id, node] : nodes_) {
    if (id != command.node_id() && node.directory_id() == command.directory_id()) {
      return MakeError(Reason::kClusterMismatch,
                       absl::StrCat("the data directory belongs to storage node ", id),
                       {{"node", absl::StrCat(id)}});
    }
  }
  return absl::OkStatus();
}

absl::Status ClusterState::RegisterNode(const pb::RegisterNodeCommand& command,
                                        ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_RETURN_IF_ERROR(CheckRegistration(command));
  Touched touched;
  NodeState& node = nodes_[command.node_id()];
  if (node.session_id() != 0) {
    // The newer process wins; the older learns of it by SESSION_EXPIRED.
    node.set_session_id(0);
    FenceNode(command.node_id(), &touched);
  }
  const bool same_process =
      !command.incarnation_id().empty() && node.incarnation_id() == command.incarnation_id();
  const bool stopped_cleanly =
      node.node_epoch() != 0 && command.clean_node_epoch() == node.node_epoch();
  const bool kept_data =
      node.directory_id() == command.directory_id() && (same_process || stopped_cleanly);
  node.set_node_id(command.node_id());
  node.set_directory_id(command.directory_id());
  node.set_address(command.address());
  node.set_zone(command.zone());
  node.set_node_epoch(static_cast<int64_t>(index_.value()));
  node.set_session_id(static_cast<int64_t>(index_.value()));
  node.set_session_timeout_ms(command.session_timeout_ms());
  node.set_incarnation_id(command.incarnation_id());
  node.clear_stopping();  // Before the elections: this one has come to stay.
  TakeReports(command, kept_data, &touched);
  ReviveNode(command.node_id(), kept_data, &touched);
  response->set_report_wanted(WantsReportOf(command.node_id()));
  *response->mutable_node() = node;
  *delta->add_nodes() = node;
  ListChanges(touched, delta);
  return absl::OkStatus();
}

absl::Status ClusterState::EndSession(const pb::EndSessionCommand& command, ClusterDelta* delta) {
  if (command.session_id() < 1) return InvalidField("session_id", "must be at least 1");
  for (auto& [id, node] : nodes_) {
    if (node.session_id() != command.session_id()) continue;
    node.set_session_id(0);
    Touched touched;
    FenceNode(id, &touched);
    *delta->add_nodes() = node;
    ListChanges(touched, delta);
    break;
  }
  return absl::OkStatus();
}

absl::Status ClusterState::CreateTopic(const pb::CreateTopicCommand& command, int64_t time_ms,
                                       ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_RETURN_IF_ERROR(ValidateNewTopic(command));
  if (const auto existing = topics_.find(command.name()); existing != topics_.end()) {
    if (!SameRequest(existing->second, command)) {
      return MakeError(
          Reason::kTopicAlreadyExists,
          absl::StrCat("a topic '", command.name(), "' with other settings exists already"),
          {{"topic", command.name()}});
    }
    *response->mutable_topic() = existing->second;
    return absl::OkStatus();
  }
  if (topic_names_.count(command.topic_id()) != 0) return InvalidField("topic_id", "must be new");
  TopicState topic;
  topic.set_topic_id(command.topic_id());
  topic.set_name(command.name());
  topic.set_create_time_ms(time_ms);
  topic.set_replication_factor(command.replication_factor());
  *topic.mutable_settings() = command.settings();
  FALAJ_RETURN_IF_ERROR(ExtendTopic(&topic, command.partition_count()));
  *response->mutable_topic() = topic;
  if (command.validate_only()) return absl::OkStatus();
  *delta->add_topics()->mutable_topic() = topic;
  CountLoad(topic, 0, 1);
  topic_names_[topic.topic_id()] = topic.name();
  topics_[command.name()] = std::move(topic);
  return absl::OkStatus();
}

absl::StatusOr<pb::TopicState*> ClusterState::FindTopic(const std::string& name) {
  FALAJ_RETURN_IF_ERROR(ValidateTopicName(name));
  const auto topic = topics_.find(name);
  if (topic != topics_.end()) return &topic->second;
  return MakeError(Reason::kTopicNotFound, absl::StrCat("no topic '", name, "'"),
                   {{"topic", name}});
}

absl::Status ClusterState::UpdateTopic(const pb::UpdateTopicCommand& command,
                                       ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_ASSIGN_OR_RETURN(TopicState* const topic, FindTopic(command.name()));
  const bool resizes = command.replication_factor() != 0;
  if (command.fields().empty() && !resizes) return InvalidField("update_mask", "must not be empty");
  pb::TopicSettings settings = topic->settings();
  for (const std::string& field : command.fields()) {
    FALAJ_RETURN_IF_ERROR(CopyTopicSetting(command.settings(), field, &settings));
  }
  const int32_t factor = resizes ? command.replication_factor() : topic->replication_factor();
  FALAJ_RETURN_IF_ERROR(ValidateReplicationFactor(factor));
  FALAJ_RETURN_IF_ERROR(ValidateTopicSettings(settings, factor));
  Plan plan;
  if (resizes) {
    FALAJ_ASSIGN_OR_RETURN(plan, PlanReplicationFactor(*topic, factor));
  }
  Touched touched;
  if (factor != topic->replication_factor()) touched[topic->name()];
  topic->set_replication_factor(factor);
  ReplaceSettings(settings, topic, &touched);
  Follow(plan, response, &touched);
  ListChanges(touched, delta);
  *response->mutable_topic() = *topic;
  return absl::OkStatus();
}

void ClusterState::ReplaceSettings(const pb::TopicSettings& settings, TopicState* topic,
                                   Touched* touched) {
  if (SameTopicSettings(settings, topic->settings())) return;
  *topic->mutable_settings() = settings;
  std::set<int32_t>& partitions = (*touched)[topic->name()];
  for (pb::PartitionState& partition : *topic->mutable_partitions()) {
    // Another minimum may make the ELR superfluous, or let a reassignment end.
    const auto isr = partition.isr();
    const bool changed = SetIsr(isr, settings.min_in_sync_replicas(), &partition);
    const bool settled = Settle(nodes_, settings.min_in_sync_replicas(), &partition);
    if (changed || settled) partitions.insert(partition.partition());
  }
}

absl::Status ClusterState::DeleteTopic(const pb::DeleteTopicCommand& command, ClusterDelta* delta) {
  FALAJ_ASSIGN_OR_RETURN(TopicState* const topic, FindTopic(command.name()));
  delta->add_deleted_topics(topic->topic_id());
  CountLoad(*topic, 0, -1);
  topic_names_.erase(topic->topic_id());
  topics_.erase(command.name());
  return absl::OkStatus();
}

absl::Status ClusterState::AddPartitions(const pb::AddPartitionsCommand& command,
                                         ExecuteResponse* response, ClusterDelta* delta) {
  FALAJ_ASSIGN_OR_RETURN(TopicState* const topic, FindTopic(command.name()));
  FALAJ_RETURN_IF_ERROR(ValidatePartitionCount(command.partition_count()));
  const int32_t before = topic->partitions_size();
  if (command.partition_count() <= before) {
    return InvalidField("partition_count", absl::StrCat("must be more than ", before));
  }
  FALAJ_RETURN_IF_ERROR(ExtendTopic(topic, command.partition_count()));
  CountLoad(*topic, before, 1);
  Touched touched;
  for (int32_t i = before; i < command.partition_count(); ++i) touched[topic->name()].insert(i);
  ListChanges(touched, delta);
  *response->mutable_topic() = *topic;
  return absl::OkStatus();
}

absl::Status ClusterState::AllocateProducerIds(const pb::AllocateProducerIdsCommand& command,
                                               ExecuteResponse* response) {
  if (command.count() < 1 || command.count() > kProducerIdsPerCommandMax) {
    return InvalidField("count", absl::StrCat("must be 1 to ", kProducerIdsPerCommandMax));
  }
  if (next_producer_id_ > std::numeric_limits<int64_t>::max() - command.count()) {
    return MakeError(Reason::kQuotaExceeded, "no producer ids are left");
  }
  response->set_first_producer_id(next_producer_id_);
  next_producer_id_ += command.count();
  return absl::OkStatus();
}

absl::Status ClusterState::ExtendTopic(TopicState* topic, int32_t count) const {
  std::vector<NodeLoad> nodes;
  for (const auto& [id, node] : nodes_) {
    if (!Receives(id)) continue;  // A new replica is in sync at once.
    const auto load = loads_.find(id);
    nodes.push_back(load == loads_.end() ? NodeLoad() : load->second);
    nodes.back().node_id = id;
    nodes.back().zone = node.zone();
  }
  const auto needed = static_cast<size_t>(topic->replication_factor());
  FALAJ_RETURN_IF_ERROR(CheckNodesFor(topic->replication_factor()));
  if (needed > nodes.size()) {
    return MakeError(
        Reason::kNotEnoughReplicas,
        absl::StrCat("only ", nodes.size(), " of ", needed, " storage nodes are there"),
        {{"in_sync", absl::StrCat(nodes.size())}, {"required", absl::StrCat(needed)}});
  }
  const int32_t before = topic->partitions_size();
  const auto placed = PlaceReplicas(std::move(nodes), count - before, topic->replication_factor());
  for (const std::vector<int32_t>& replicas : placed) {
    *topic->add_partitions() = MakePartition(topic->partitions_size(), replicas);
  }
  return absl::OkStatus();
}

void ClusterState::CountLoad(const TopicState& topic, int32_t first, int sign) {
  for (int32_t i = first; i < topic.partitions_size(); ++i) {
    CountLoad(topic.partitions(i), sign);
  }
}

void ClusterState::CountLoad(const pb::PartitionState& partition, int sign) {
  const auto& wanted = WantedReplicas(partition);
  for (int32_t node : wanted) loads_[node].replicas += sign;
  loads_[wanted[0]].leaders += sign;
}

void ClusterState::FenceNode(int32_t node_id, Touched* touched) {
  for (auto& [name, topic] : topics_) {
    const int32_t min_in_sync = topic.settings().min_in_sync_replicas();
    for (pb::PartitionState& partition : *topic.mutable_partitions()) {
      if (!LeaveIsr(node_id, min_in_sync, &partition)) continue;
      Elect(nodes_, min_in_sync, &partition);
      Settle(nodes_, min_in_sync, &partition);
      (*touched)[name].insert(partition.partition());
    }
  }
}

void ClusterState::ReviveNode(int32_t node_id, bool kept_data, Touched* touched) {
  for (auto& [name, topic] : topics_) {
    for (pb::PartitionState& partition : *topic.mutable_partitions()) {
      if (!Contains(partition.replicas(), node_id)) continue;
      const int32_t min_in_sync = topic.settings().min_in_sync_replicas();
      const bool left = !kept_data && Disqualify(node_id, &partition);
      const bool elected = Elect(nodes_, min_in_sync, &partition);
      const bool settled = Settle(nodes_, min_in_sync, &partition);
      if (left || elected || settled) (*touched)[name].insert(partition.partition());
    }
  }
}

void ClusterState::ListChanges(const Touched& touched, ClusterDelta* delta) const {
  for (const auto& [name, partitions] : touched) {
    const TopicState& topic = topics_.at(name);
    TopicState* const change = delta->add_topics()->mutable_topic();
    *change = HeaderOf(topic);
    for (int32_t index : partitions) *change->add_partitions() = topic.partitions(index);
  }
}

}  // namespace falaj::cluster
