// What every command is checked for in the same way.
#ifndef LIBS_CLUSTER_REQUEST_CHECKS_H_
#define LIBS_CLUSTER_REQUEST_CHECKS_H_

#include <cstdint>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/repeated_field.h"

#include "falaj/internal/v1/cluster.pb.h"

namespace falaj::cluster {

// INVALID_REQUEST with the metadata key "field"; the message is "`field` `rule`".
absl::Status InvalidField(absl::string_view field, absl::string_view rule);
// NODE_NOT_FOUND with the metadata key "node".
absl::Status NodeNotFound(int32_t node_id);
// Returns INVALID_REQUEST unless `bytes` are the 16 of a UUID.
absl::Status CheckUuid(absl::string_view field, absl::string_view bytes, bool may_be_empty);
// PARTITION_NOT_FOUND with the metadata keys "topic" and "partition".
absl::Status PartitionNotFound(const internal::v1::TopicState& topic, int32_t index);
// The partitions that are named, all if none is. Returns PARTITION_NOT_FOUND if the topic has not
// got one of them.
absl::StatusOr<std::set<int32_t>> ChoosePartitions(
    const internal::v1::TopicState& topic, const google::protobuf::RepeatedField<int32_t>& named);

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_REQUEST_CHECKS_H_
