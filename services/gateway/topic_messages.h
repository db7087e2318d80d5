// Between the cluster's own tables and the public messages about topics and nodes. Pure.
#ifndef SERVICES_GATEWAY_TOPIC_MESSAGES_H_
#define SERVICES_GATEWAY_TOPIC_MESSAGES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/field_mask.pb.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/v1/cluster_service.pb.h"
#include "falaj/v1/topic_service.pb.h"

#include "libs/cluster/cluster_view.h"

namespace falaj::gateway {

// `with_partitions` as the method asks for.
v1::Topic ToTopic(const cluster::TopicInfo& topic, bool with_partitions);
v1::TopicConfig ToConfig(const internal::v1::TopicSettings& settings);

// Fills in defaults. INVALID_CONFIG names the field; range checks are the state machine's.
absl::StatusOr<internal::v1::TopicSettings> ToSettings(const v1::TopicConfig& config);

// The TopicSettings fields that the paths of a mask over TopicConfig stand for. INVALID_REQUEST for
// an empty mask or an unknown path.
absl::StatusOr<std::vector<std::string>> SettingsOfMask(const google::protobuf::FieldMask& mask);

// All nodes, by id, with what they lead and hold.
std::vector<v1::StorageNode> ToNodes(const cluster::ClusterView& view);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TOPIC_MESSAGES_H_
