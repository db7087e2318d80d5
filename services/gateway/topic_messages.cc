#include "services/gateway/topic_messages.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::gateway {
namespace {

using google::protobuf::util::TimeUtil;

v1::Partition ToPartition(const cluster::PartitionInfo& info) {
  v1::Partition partition;
  partition.set_partition(info.index.value());
  if (info.leader.value() != 0) partition.set_leader(info.leader.value());
  partition.set_leader_epoch(info.leader_epoch.value());
  partition.set_partition_epoch(info.partition_epoch.value());
  for (const NodeId node : info.replicas) partition.add_replicas(node.value());
  for (const NodeId node : info.isr) partition.add_in_sync_replicas(node.value());
  for (const NodeId node : info.target) partition.add_target_replicas(node.value());
  partition.set_unclean_epoch(info.unclean_epoch.value());
  for (const NodeId node : info.elr) partition.add_eligible_leader_replicas(node.value());
  if (info.last_leader.value() != 0) partition.set_last_leader(info.last_leader.value());
  return partition;
}

absl::Status BadConfig(const std::string& field, absl::string_view rule) {
  return MakeError(Reason::kInvalidConfig, absl::StrCat("config.", field, " ", rule),
                   {{"field", absl::StrCat("config.", field)}});
}

// Bounded here too, because the conversion to milliseconds would overflow.
absl::StatusOr<int64_t> ToMilliseconds(const std::string& field,
                                       const google::protobuf::Duration& duration) {
  constexpr int64_t kSecondsMax = cluster::kTimeSettingMsMax / 1000;
  if (duration.seconds() < 0 || duration.nanos() < 0 || duration.seconds() > kSecondsMax) {
    return BadConfig(field, absl::StrCat("must be 0 to ", kSecondsMax, " s"));
  }
  return TimeUtil::DurationToMilliseconds(duration);
}

// TopicConfig path -> TopicSettings field.
const std::map<std::string, std::string>& MaskPaths() {
  static const auto* const paths = new std::map<std::string, std::string>{
      {"retention", "retention_ms"},
      {"retention_bytes", "retention_bytes"},
      {"durability", "fsync"},
      {"compression", "compression"},
      {"batch_bytes_max", "batch_bytes_max"},
      {"min_in_sync_replicas", "min_in_sync_replicas"},
      {"timestamp_type", "append_time"},
      {"unclean_election_after", "unclean_election_after_ms"},
  };
  return *paths;
}

}  // namespace

v1::TopicConfig ToConfig(const internal::v1::TopicSettings& settings) {
  v1::TopicConfig config;
  *config.mutable_retention() = TimeUtil::MillisecondsToDuration(settings.retention_ms());
  config.set_retention_bytes(settings.retention_bytes());
  config.set_durability(settings.fsync() ? v1::DURABILITY_FSYNC : v1::DURABILITY_OS);
  config.set_compression(static_cast<v1::Compression>(settings.compression()));
  config.set_batch_bytes_max(settings.batch_bytes_max());
  config.set_min_in_sync_replicas(settings.min_in_sync_replicas());
  config.set_timestamp_type(settings.append_time() ? v1::TIMESTAMP_TYPE_APPEND_TIME
                                                   : v1::TIMESTAMP_TYPE_CREATE_TIME);
  *config.mutable_unclean_election_after() =
      TimeUtil::MillisecondsToDuration(settings.unclean_election_after_ms());
  return config;
}

v1::Topic ToTopic(const cluster::TopicInfo& topic, bool with_partitions) {
  v1::Topic message;
  message.set_name(topic.name);
  message.set_topic_id(topic.id.ToString());
  message.set_partition_count(static_cast<int32_t>(topic.partitions.size()));
  message.set_replication_factor(topic.replication_factor);
  *message.mutable_config() = ToConfig(topic.settings);
  *message.mutable_create_time() = TimeUtil::MillisecondsToTimestamp(topic.create_time_ms);
  if (!with_partitions) return message;
  for (const cluster::PartitionInfo& partition : topic.partitions) {
    *message.add_partitions() = ToPartition(partition);
  }
  return message;
}

absl::StatusOr<internal::v1::TopicSettings> ToSettings(const v1::TopicConfig& config) {
  internal::v1::TopicSettings settings = cluster::DefaultTopicSettings();
  if (config.has_retention()) {
    FALAJ_ASSIGN_OR_RETURN(const int64_t ms, ToMilliseconds("retention", config.retention()));
    settings.set_retention_ms(ms);
  }
  if (config.has_unclean_election_after()) {
    FALAJ_ASSIGN_OR_RETURN(const int64_t ms, ToMilliseconds("unclean_election_after",
                                                            config.unclean_election_after()));
    settings.set_unclean_election_after_ms(ms);
  }
  if (config.has_retention_bytes()) settings.set_retention_bytes(config.retention_bytes());
  if (!v1::Durability_IsValid(config.durability()))
    return BadConfig("durability", "must be FSYNC or OS");
  if (config.durability() != v1::DURABILITY_UNSPECIFIED) {
    settings.set_fsync(config.durability() == v1::DURABILITY_FSYNC);
  }
  if (!v1::Compression_IsValid(config.compression())) {
    return BadConfig("compression", "must be NONE, LZ4 or ZSTD");
  }
  if (config.compression() != v1::COMPRESSION_UNSPECIFIED)
    settings.set_compression(config.compression());
  if (config.has_batch_bytes_max()) settings.set_batch_bytes_max(config.batch_bytes_max());
  if (config.has_min_in_sync_replicas())
    settings.set_min_in_sync_replicas(config.min_in_sync_replicas());
  if (!v1::TimestampType_IsValid(config.timestamp_type())) {
    return BadConfig("timestamp_type", "must be CREATE_TIME or APPEND_TIME");
  }
  if (config.timestamp_type() != v1::TIMESTAMP_TYPE_UNSPECIFIED) {
    settings.set_append_time(config.timestamp_type() == v1::TIMESTAMP_TYPE_APPEND_TIME);
  }
  return settings;
}

absl::StatusOr<std::vector<std::string>> SettingsOfMask(const google::protobuf::FieldMask& mask) {
  if (mask.paths().empty()) {
    return MakeError(Reason::kInvalidRequest, "update_mask names no field",
                     {{"field", "update_mask"}});
  }
  std::vector<std::string> fields;
  for (const std::string& path : mask.paths()) {
    const auto it = MaskPaths().find(path);
    if (it == MaskPaths().end()) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("TopicConfig has no field '", path, "'"),
                       {{"field", "update_mask"}, {"value", path}});
    }
    fields.push_back(it->second);
  }
  return fields;
}

std::vector<v1::StorageNode> ToNodes(const cluster::ClusterView& view) {
  std::map<NodeId, v1::StorageNode> nodes;
  for (const auto& [id, info] : view.nodes()) {
    v1::StorageNode& node = nodes[id];
    node.set_node_id(id.value());
    node.set_address(info.address);
    node.set_zone(info.zone);
    node.set_state(info.online() ? v1::NODE_STATE_ONLINE : v1::NODE_STATE_OFFLINE);
    node.set_node_epoch(info.epoch.value());
    node.set_draining(info.draining);
  }
  for (const auto& [name, topic] : view.topics()) {
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      if (auto it = nodes.find(partition.leader); it != nodes.end()) {
        it->second.set_leader_count(it->second.leader_count() + 1);
      }
      for (const NodeId replica : partition.replicas) {
        if (auto it = nodes.find(replica); it != nodes.end()) {
          it->second.set_replica_count(it->second.replica_count() + 1);
        }
      }
    }
  }
  std::vector<v1::StorageNode> list;
  for (auto& [id, node] : nodes) list.push_back(std::move(node));
  return list;
}

}  // namespace falaj::gateway
