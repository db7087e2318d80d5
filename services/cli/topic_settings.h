// Topic settings between what people type and TopicConfig.
#ifndef SERVICES_CLI_TOPIC_SETTINGS_H_
#define SERVICES_CLI_TOPIC_SETTINGS_H_

#include <string>

#include "absl/status/status.h"

#include "falaj/v1/topic_service.pb.h"

#include "services/cli/commands.h"

namespace falaj::cli {

// Sets the given settings in `config`, and their paths in `mask` unless it is null.
absl::Status FillConfig(const TopicSettings& settings, v1::TopicConfig* config,
                        google::protobuf::FieldMask* mask);

std::string DurabilityName(v1::Durability durability);
std::string CompressionName(v1::Compression compression);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_TOPIC_SETTINGS_H_
