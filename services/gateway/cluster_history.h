// ClusterHistory turns the metadata service's watch into the public one: it keeps the last changes,
// translated, so that public watchers resume by index, and tells every watcher when there is more.
//
// Watchers hold an index, not a queue: a slow one costs nothing and, once it is further behind than
// the history reaches, gets WATCH_COMPACTED and starts again from a snapshot. Nothing is skipped
// silently.
//
// Threads: any. Wake-ups run on the watch's thread with no lock held.
#ifndef SERVICES_GATEWAY_CLUSTER_HISTORY_H_
#define SERVICES_GATEWAY_CLUSTER_HISTORY_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"

#include "falaj/v1/cluster_service.pb.h"

#include "libs/base/mutex.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {

class ClusterHistory {
 public:
  explicit ClusterHistory(RouteTable* routes);  // Not owned; outlives this.
  ~ClusterHistory();

  // The whole state now.
  v1::WatchClusterResponse Snapshot() const;

  // The first change after `index`; nullopt if there is none yet; WATCH_COMPACTED if changes after
  // it have been forgotten, or `index` lies in the future.
  absl::StatusOr<std::optional<v1::WatchClusterResponse>> After(uint64_t index) const;

  // `wake` is called whenever there may be more, until Unsubscribe(), which waits for a call under
  // way.
  uint64_t Subscribe(std::function<void()> wake);
  void Unsubscribe(uint64_t id);

 private:
  void Take(const cluster::ClusterView::Ptr& view, const internal::v1::WatchClusterResponse& event);

  RouteTable* const routes_;
  mutable Mutex mu_;
  cluster::ClusterView::Ptr last_view_ ABSL_GUARDED_BY(mu_);
  uint64_t forgotten_index_ ABSL_GUARDED_BY(mu_) =
      0;  // Changes up to here cannot be told any more.
  std::deque<v1::WatchClusterResponse> changes_ ABSL_GUARDED_BY(mu_);  // Ascending by index.

  Mutex wake_mu_;  // Held during wake-ups; taken before nothing.
  uint64_t next_id_ ABSL_GUARDED_BY(wake_mu_) = 1;
  std::map<uint64_t, std::function<void()>> wakes_ ABSL_GUARDED_BY(wake_mu_);
  std::shared_ptr<void> listening_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CLUSTER_HISTORY_H_
