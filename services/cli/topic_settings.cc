#include "services/cli/topic_settings.h"

#include <limits>

#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "services/cli/session.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

absl::StatusOr<int32_t> ParseBytes32(const std::string& text) {
  FALAJ_ASSIGN_OR_RETURN(const int64_t bytes, ParseBytes(text));
  if (bytes <= std::numeric_limits<int32_t>::max()) return static_cast<int32_t>(bytes);
  return MakeError(Reason::kInvalidRequest, absl::StrCat("'", text, "' is too large"));
}

absl::StatusOr<google::protobuf::Duration> ParseTime(const std::string& text) {
  FALAJ_ASSIGN_OR_RETURN(const absl::Duration time, ParseDuration(text));
  return google::protobuf::util::TimeUtil::MillisecondsToDuration(absl::ToInt64Milliseconds(time));
}

absl::StatusOr<v1::TimestampType> ParseTimestampType(const std::string& text) {
  if (text == "create") return v1::TIMESTAMP_TYPE_CREATE_TIME;
  if (text == "append") return v1::TIMESTAMP_TYPE_APPEND_TIME;
  return MakeError(Reason::kInvalidRequest, "--timestamp-type must be create or append");
}

}  // namespace

absl::Status FillConfig(const TopicSettings& settings, v1::TopicConfig* config,
                        google::protobuf::FieldMask* mask) {
  const auto mark = [mask](const char* path) {
    if (mask != nullptr) mask->add_paths(path);
  };
  if (settings.retention.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(*config->mutable_retention(), ParseTime(*settings.retention));
    mark("retention");
  }
  if (settings.retention_bytes.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(const int64_t bytes, ParseBytes(*settings.retention_bytes));
    config->set_retention_bytes(bytes);
    mark("retention_bytes");
  }
  if (settings.durability.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(const v1::Durability durability, ParseDurability(*settings.durability));
    config->set_durability(durability);
    mark("durability");
  }
  if (settings.compression.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(const v1::Compression codec, ParseCompression(*settings.compression));
    config->set_compression(codec);
    mark("compression");
  }
  if (settings.batch_bytes_max.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(const int32_t bytes, ParseBytes32(*settings.batch_bytes_max));
    config->set_batch_bytes_max(bytes);
    mark("batch_bytes_max");
  }
  if (settings.min_in_sync_replicas.has_value()) {
    config->set_min_in_sync_replicas(*settings.min_in_sync_replicas);
    mark("min_in_sync_replicas");
  }
  if (settings.timestamp_type.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(const v1::TimestampType type,
                           ParseTimestampType(*settings.timestamp_type));
    config->set_timestamp_type(type);
    mark("timestamp_type");
  }
  if (settings.unclean_election_after.has_value()) {
    FALAJ_ASSIGN_OR_RETURN(*config->mutable_unclean_election_after(),
                           ParseTime(*settings.unclean_election_after));
    mark("unclean_election_after");
  }
  return absl::OkStatus();
}

std::string DurabilityName(v1::Durability durability) {
  return durability == v1::DURABILITY_OS ? "os" : "fsync";
}

std::string CompressionName(v1::Compression compression) {
  switch (compression) {
    case v1::COMPRESSION_LZ4:
      return "lz4";
    case v1::COMPRESSION_ZSTD:
      return "zstd";
    default:
      return "none";
  }
}

}  // namespace falaj::cli
