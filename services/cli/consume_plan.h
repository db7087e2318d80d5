// Which partitions a reading command reads, from which offset to which: `-o` and `-p` translated by
// the cluster.
#ifndef SERVICES_CLI_CONSUME_PLAN_H_
#define SERVICES_CLI_CONSUME_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/base/ids.h"
#include "libs/client/admin.h"
#include "services/cli/offset_range.h"

namespace falaj::cli {

struct PartitionPlan {
  std::string topic;
  PartitionIndex partition;
  Offset begin;
  std::optional<Offset> end;  // Not read; not set: go on for ever.
};

// `partitions` empty: all. `stop_at_end`: a partition without an end of its own ends at its present
// high watermark. TOPIC_NOT_FOUND, PARTITION_NOT_FOUND, and what a partition cannot answer.
absl::StatusOr<std::vector<PartitionPlan>> PlanConsume(const std::vector<std::string>& topics,
                                                       const std::vector<int32_t>& partitions,
                                                       const OffsetRange& range, bool stop_at_end,
                                                       client::Admin* admin);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_CONSUME_PLAN_H_
