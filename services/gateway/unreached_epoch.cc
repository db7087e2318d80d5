#include "services/gateway/unreached_epoch.h"

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::gateway {

bool IsUnreached(const RouteTable& routes, absl::string_view topic, PartitionIndex partition,
                 LeaderEpoch last_epoch, const absl::Status& error) {
  if (ReasonOf(error) != Reason::kNotLeader) return false;
  const absl::StatusOr<Route> route = routes.Find(topic, partition);
  if (!route.ok() || route->epoch >= last_epoch) return false;
  return MetadataOf(error)["leader_epoch"] == absl::StrCat(route->epoch);
}

bool IsGone(const RouteTable& routes, absl::string_view topic, PartitionIndex partition,
            LeaderEpoch last_epoch, const absl::Status& error, absl::Duration doubted) {
  if (doubted < kUnreachedWait || routes.confirmed_age() >= doubted) return false;
  // Asked last: what the table had not heard of before it may have heard of with that.
  return IsUnreached(routes, topic, partition, last_epoch, error);
}

absl::Status RecordUnknown(Offset asked, LeaderEpoch last_epoch, const PartitionRead& read) {
  return MakeError(Reason::kOffsetOutOfRange,
                   absl::StrCat("the record before offset ", asked, ", of leader epoch ",
                                last_epoch, ", is not of this log: no leader of it has got as far"),
                   {{"offset", absl::StrCat(asked)},
                    {"log_start_offset", absl::StrCat(read.log_start)},
                    {"high_watermark", absl::StrCat(read.high_watermark)}});
}

}  // namespace falaj::gateway
