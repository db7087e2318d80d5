#include "services/gateway/unreached_epoch.h"

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::gateway {
namespace {

// The metadata service says every second that it is there, and ends the session of a node that it
// does not hear of, by default, after 10 s: only then somebody else leads what that one led.
constexpr absl::Duration kTableAgeMax = absl::Seconds(5);

}  // namespace

bool IsUnreached(const RouteTable& routes, absl::string_view topic, PartitionIndex partition,
                 LeaderEpoch last_epoch, const absl::Status& error) {
  if (ReasonOf(error) != Reason::kNotLeader || routes.age() > kTableAgeMax) return false;
  const absl::StatusOr<Route> route = routes.Find(topic, partition);
  if (!route.ok() || route->epoch >= last_epoch) return false;
  return MetadataOf(error)["leader_epoch"] == absl::StrCat(route->epoch);
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
