#include "libs/cluster/topic_rules.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "falaj/v1/record.pb.h"

#include "libs/base/status.h"

namespace falaj::cluster {
namespace {

using internal::v1::TopicSettings;

absl::Status OutOfRange(Reason reason, absl::string_view field, int64_t value,
                        absl::string_view range) {
  return MakeError(reason, absl::StrCat(field, " must be ", range, ", not ", value),
                   {{"field", std::string(field)}, {"value", absl::StrCat(value)}});
}

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return OutOfRange(Reason::kInvalidConfig, field, value, absl::StrCat(low, " to ", high));
}

// A time in ms that may be zero, which turns it off.
absl::Status CheckTime(absl::string_view field, int64_t ms) {
  if (ms == 0 || (ms >= kTimeSettingMsMin && ms <= kTimeSettingMsMax)) return absl::OkStatus();
  return OutOfRange(Reason::kInvalidConfig, field, ms,
                    "zero, or 1 second to a million days, in ms");
}

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
}

}  // namespace

bool IsInternalTopic(absl::string_view name) { return absl::StartsWith(name, "__"); }

absl::Status ValidateTopicName(absl::string_view name) {
  const bool valid = !name.empty() && name.size() <= kTopicNameSizeMax && name != "." &&
                     name != ".." && std::all_of(name.begin(), name.end(), IsNameCharacter);
  if (valid) return absl::OkStatus();
  // The name itself may be megabytes of anything, so it is not repeated.
  return MakeError(Reason::kInvalidName,
                   "a topic name is 1 to 249 of [A-Za-z0-9._-], and not '.' or '..'",
                   {{"field", "name"}});
}

absl::Status ValidateUserTopicName(absl::string_view name) {
  FALAJ_RETURN_IF_ERROR(ValidateTopicName(name));
  if (!IsInternalTopic(name)) return absl::OkStatus();
  return MakeError(Reason::kInvalidName,
                   absl::StrCat("'", name, "': names beginning with '__' belong to the cluster"),
                   {{"field", "name"}, {"topic", std::string(name)}});
}

absl::Status ValidatePartitionCount(int32_t partition_count) {
  if (partition_count >= 1 && partition_count <= kPartitionCountMax) return absl::OkStatus();
  return OutOfRange(Reason::kInvalidRequest, "partition_count", partition_count,
                    absl::StrCat("1 to ", kPartitionCountMax));
}

absl::Status ValidateReplicationFactor(int32_t replication_factor) {
  if (replication_factor >= 1 && replication_factor <= kReplicationFactorMax) {
    return absl::OkStatus();
  }
  return OutOfRange(Reason::kInvalidRequest, "replication_factor", replication_factor,
                    absl::StrCat("1 to ", kReplicationFactorMax));
}

TopicSettings DefaultTopicSettings() {
  TopicSettings settings;
  settings.set_retention_ms(int64_t{7} * 24 * 60 * 60 * 1'000);
  settings.set_retention_bytes(0);
  settings.set_fsync(true);
  settings.set_compression(v1::COMPRESSION_NONE);
  settings.set_batch_bytes_max(kBatchBytesDefault);
  settings.set_min_in_sync_replicas(1);
  settings.set_append_time(false);
  settings.set_unclean_election_after_ms(0);
  return settings;
}

absl::Status ValidateTopicSettings(const TopicSettings& settings, int32_t replication_factor) {
  FALAJ_RETURN_IF_ERROR(CheckTime("config.retention", settings.retention_ms()));
  FALAJ_RETURN_IF_ERROR(
      CheckTime("config.unclean_election_after", settings.unclean_election_after_ms()));
  if (settings.retention_bytes() < 0) {
    return OutOfRange(Reason::kInvalidConfig, "config.retention_bytes", settings.retention_bytes(),
                      "zero or more");
  }
  if (settings.compression() == v1::COMPRESSION_UNSPECIFIED ||
      !v1::Compression_IsValid(settings.compression())) {
    return OutOfRange(Reason::kInvalidConfig, "config.compression", settings.compression(),
                      "a codec the gateway writes");
  }
  FALAJ_RETURN_IF_ERROR(CheckRange("config.batch_bytes_max", settings.batch_bytes_max(),
                                   kBatchBytesMin, kBatchBytesMax));
  return CheckRange("config.min_in_sync_replicas", settings.min_in_sync_replicas(), 1,
                    replication_factor);
}

absl::Status CopyTopicSetting(const TopicSettings& source, absl::string_view field,
                              TopicSettings* target) {
  if (field == "retention_ms") {
    target->set_retention_ms(source.retention_ms());
  } else if (field == "retention_bytes") {
    target->set_retention_bytes(source.retention_bytes());
  } else if (field == "fsync") {
    target->set_fsync(source.fsync());
  } else if (field == "compression") {
    target->set_compression(source.compression());
  } else if (field == "batch_bytes_max") {
    target->set_batch_bytes_max(source.batch_bytes_max());
  } else if (field == "min_in_sync_replicas") {
    target->set_min_in_sync_replicas(source.min_in_sync_replicas());
  } else if (field == "append_time") {
    target->set_append_time(source.append_time());
  } else if (field == "unclean_election_after_ms") {
    target->set_unclean_election_after_ms(source.unclean_election_after_ms());
  } else {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("no topic setting '", field, "'"),
                     {{"field", "update_mask"}, {"value", std::string(field)}});
  }
  return absl::OkStatus();
}

bool SameTopicSettings(const TopicSettings& a, const TopicSettings& b) {
  return a.retention_ms() == b.retention_ms() && a.retention_bytes() == b.retention_bytes() &&
         a.fsync() == b.fsync() && a.compression() == b.compression() &&
         a.batch_bytes_max() == b.batch_bytes_max() &&
         a.min_in_sync_replicas() == b.min_in_sync_replicas() &&
         a.append_time() == b.append_time() &&
         a.unclean_election_after_ms() == b.unclean_election_after_ms();
}

}  // namespace falaj::cluster
