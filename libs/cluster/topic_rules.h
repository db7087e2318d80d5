// The rules a topic must keep: its name, its size and its settings. Pure functions, used by the
// state machine, which decides, and by the gateway, which refuses early.
//
// Every error names the field at fault in its metadata key "field".
#ifndef LIBS_CLUSTER_TOPIC_RULES_H_
#define LIBS_CLUSTER_TOPIC_RULES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/cluster.pb.h"

namespace falaj::cluster {

inline constexpr size_t kTopicNameSizeMax = 249;
inline constexpr int32_t kPartitionCountMax = 10'000;
inline constexpr int32_t kReplicationFactorMax = 1'000;
// Of a setting that is a time, unless it is zero.
inline constexpr int64_t kTimeSettingMsMin = 1'000;
inline constexpr int64_t kTimeSettingMsMax = int64_t{1'000'000} * 24 * 60 * 60 * 1'000;
inline constexpr int32_t kBatchBytesMin = 1'024;
inline constexpr int32_t kBatchBytesMax = 8 << 20;
inline constexpr int32_t kBatchBytesDefault = 1'048'588;  // 1 MiB and the 12 bytes Kafka adds.
inline constexpr int32_t kProducerIdsPerCommandMax = 1'000'000;
inline constexpr int32_t kIsrChangesPerCommandMax = 1'000;
inline constexpr int32_t kProducerIdBlock = 1'000;  // What a gateway asks for at a time.
inline constexpr int32_t kReassignmentsPerCommandMax = 1'000;
inline constexpr int32_t kUncleanElectionsPerCommandMax = 1'000;
inline constexpr int32_t kSessionTimeoutMsMin = 100;
inline constexpr int32_t kSessionTimeoutMsMax = 600'000;

// True for names beginning with "__": only services of the cluster make, change or delete them.
bool IsInternalTopic(absl::string_view name);

// 1 to 249 of [A-Za-z0-9._-], not "." or "..". Returns INVALID_NAME.
absl::Status ValidateTopicName(absl::string_view name);
// The same, and not an internal name. Returns INVALID_NAME.
absl::Status ValidateUserTopicName(absl::string_view name);

// 1 to 10,000. Returns INVALID_REQUEST with field "partition_count".
absl::Status ValidatePartitionCount(int32_t partition_count);
// At least 1. Returns INVALID_REQUEST with field "replication_factor". How many nodes there are is
// for the state machine to judge.
absl::Status ValidateReplicationFactor(int32_t replication_factor);

// Seven days, no size limit, fsync, no compression, 1 MiB batches, min. in-sync replicas 1, no
// unclean elections.
internal::v1::TopicSettings DefaultTopicSettings();
// Returns INVALID_CONFIG with field "config.<name of the public TopicConfig field>".
absl::Status ValidateTopicSettings(const internal::v1::TopicSettings& settings,
                                   int32_t replication_factor);
// Copies the TopicSettings field called `field` from `source`. Returns INVALID_REQUEST if there is
// no such field.
absl::Status CopyTopicSetting(const internal::v1::TopicSettings& source, absl::string_view field,
                              internal::v1::TopicSettings* target);
bool SameTopicSettings(const internal::v1::TopicSettings& a, const internal::v1::TopicSettings& b);

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_TOPIC_RULES_H_
