#include "services/cli/consume_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/client/consumer.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::cli {
namespace {

absl::StatusOr<std::vector<PartitionPlan>> ListPartitions(const std::vector<std::string>& topics,
                                                          const std::vector<int32_t>& partitions,
                                                          client::Admin* admin) {
  std::vector<PartitionPlan> plans;
  for (const std::string& name : topics) {
    FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin->GetTopic(name));
    if (partitions.empty()) {
      for (int32_t p = 0; p < topic.partition_count(); ++p) {
        plans.push_back({name, PartitionIndex(p), Offset(0), std::nullopt});
      }
    }
    for (const int32_t p : partitions) {
      if (p < 0 || p >= topic.partition_count()) {
        return MakeError(Reason::kPartitionNotFound,
                         absl::StrCat("topic '", name, "' has no partition ", p),
                         {{"topic", name}, {"partition", absl::StrCat(p)}});
      }
      plans.push_back({name, PartitionIndex(p), Offset(0), std::nullopt});
    }
  }
  return plans;
}

// The offset of `point` in every partition, never below the log start nor above the high watermark.
absl::StatusOr<std::vector<Offset>> Resolve(const std::vector<PartitionPlan>& plans,
                                            const OffsetPoint& point, client::Admin* admin) {
  // An offset is taken as it is where it exists; asking for the end tells the bounds.
  const bool fixed = point.target.has_offset();
  std::vector<v1::OffsetQuery> queries;
  for (const PartitionPlan& plan : plans) {
    v1::OffsetQuery& query = queries.emplace_back();
    query.set_topic(plan.topic);
    query.set_partition(plan.partition.value());
    *query.mutable_target() = fixed ? client::AtEnd() : point.target;
  }
  FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::OffsetResult> results, admin->ListOffsets(queries));
  std::vector<Offset> offsets;
  for (const v1::OffsetResult& result : results) {
    if (result.has_error()) return rpc::FromProto(result.error());
    const int64_t wanted = (fixed ? point.target.offset() : result.offset()) - point.back;
    offsets.push_back(
        Offset(std::clamp(wanted, result.log_start_offset(), result.high_watermark())));
  }
  return offsets;
}

}  // namespace

absl::StatusOr<std::vector<PartitionPlan>> PlanConsume(const std::vector<std::string>& topics,
                                                       const std::vector<int32_t>& partitions,
                                                       const OffsetRange& range, bool stop_at_end,
                                                       client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(std::vector<PartitionPlan> plans,
                         ListPartitions(topics, partitions, admin));
  FALAJ_ASSIGN_OR_RETURN(const std::vector<Offset> begins, Resolve(plans, range.begin, admin));
  for (size_t i = 0; i < plans.size(); ++i) plans[i].begin = begins[i];
  std::optional<OffsetPoint> end = range.end;
  if (!end.has_value() && stop_at_end) end = OffsetPoint{client::AtEnd(), 0};
  if (!end.has_value()) return plans;
  FALAJ_ASSIGN_OR_RETURN(const std::vector<Offset> ends, Resolve(plans, *end, admin));
  for (size_t i = 0; i < plans.size(); ++i) plans[i].end = ends[i];
  return plans;
}

}  // namespace falaj::cli
