// Waiting for partitions that are on their way to other storage nodes.
#ifndef SERVICES_CLI_MOVE_WATCH_H_
#define SERVICES_CLI_MOVE_WATCH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "falaj/v1/cluster_service.pb.h"

#include "libs/client/admin.h"

namespace falaj::cli {

// MoveWatch counts the partitions that are not yet where they shall be, from the events of
// WatchCluster. Threads: one.
class MoveWatch {
 public:
  // Whether a partition of that topic still has to move.
  using Unfinished = std::function<bool(const std::string& topic, const v1::Partition& partition)>;

  explicit MoveWatch(Unfinished unfinished) : unfinished_(std::move(unfinished)) {}

  void Take(const v1::WatchClusterResponse& event);
  int64_t remaining() const;

 private:
  void Count(const v1::Topic& topic);

  const Unfinished unfinished_;
  std::map<std::string, int64_t> remaining_;  // By topic.
};

// Returns when no partition is unfinished any more, showing how many are. Whoever loses patience
// presses Ctrl-C; the partitions go on moving. Returns the error that ended the watch.
absl::Status WaitForMoves(client::Admin* admin, absl::string_view label,
                          MoveWatch::Unfinished unfinished);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_MOVE_WATCH_H_
