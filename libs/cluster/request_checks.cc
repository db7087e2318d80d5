#include "libs/cluster/request_checks.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/ids.h"
#include "libs/base/status.h"

namespace falaj::cluster {

absl::Status InvalidField(absl::string_view field, absl::string_view rule) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat(field, " ", rule),
                   {{"field", std::string(field)}});
}

absl::Status NodeNotFound(int32_t node_id) {
  return MakeError(Reason::kNodeNotFound, absl::StrCat("no storage node ", node_id),
                   {{"node", absl::StrCat(node_id)}});
}

absl::Status CheckUuid(absl::string_view field, absl::string_view bytes, bool may_be_empty) {
  if (bytes.size() == Uuid::kSize || (may_be_empty && bytes.empty())) return absl::OkStatus();
  return InvalidField(field, "must be 16 bytes");
}

absl::Status PartitionNotFound(const internal::v1::TopicState& topic, int32_t index) {
  return MakeError(Reason::kPartitionNotFound,
                   absl::StrCat("topic '", topic.name(), "' has no partition ", index),
                   {{"topic", topic.name()}, {"partition", absl::StrCat(index)}});
}

absl::StatusOr<std::set<int32_t>> ChoosePartitions(
    const internal::v1::TopicState& topic, const google::protobuf::RepeatedField<int32_t>& named) {
  std::set<int32_t> chosen;
  for (int32_t index : named) {
    if (index < 0 || index >= topic.partitions_size()) return PartitionNotFound(topic, index);
    chosen.insert(index);
  }
  if (!named.empty()) return chosen;
  for (int32_t index = 0; index < topic.partitions_size(); ++index) chosen.insert(index);
  return chosen;
}

}  // namespace falaj::cluster
