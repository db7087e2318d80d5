#ifndef SERVICES_METADATA_WATCH_HUB_H_
#define SERVICES_METADATA_WATCH_HUB_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/cluster/cluster_state.h"

namespace falaj::metadata {

// One message of a watch, made once and shared by all watchers.
struct WatchEvent {
  std::shared_ptr<const internal::v1::WatchClusterResponse> message;
  size_t size_bytes = 0;
};

// A watcher takes events in and sends them at its own pace; it bounds its queue itself.
class Watcher {
 public:
  virtual ~Watcher() = default;
  // False: it has ended, or fell too far behind and is ending; forget it.
  virtual bool Push(const WatchEvent& event) = 0;
  // A sign of life, left out if other events are waiting anyway.
  virtual bool PushKeepalive(const WatchEvent& event) = 0;
  virtual void Close(const absl::Status& status) = 0;
};

// WatchHub hands the changes of the cluster state to everybody who watches: a snapshot first, or
// the changes since an index the watcher names, then every change in order.
//
// MetadataNode owns it and calls it in its rounds. It keeps the newest changes, bounded by number
// and bytes, to resume from; a watcher that is further back gets WATCH_COMPACTED. It also keeps the
// last snapshot it built, since many watchers come at once after a restart.
//
// Invariant: a watcher sees every change after its starting point once, in order, or its end.
class WatchHub {
 public:
  struct Options {
    size_t history_entries = 10'000;
    size_t history_bytes = 32 << 20;
    size_t watchers_max = 10'000;
  };

  explicit WatchHub(const Options& options) : options_(options) {}

  // The state was replaced as a whole: earlier changes are unknown from here on.
  void Reset(LogIndex index);
  // `delta` brought the state to its index.
  void Publish(internal::v1::ClusterDelta delta);
  // Begins a watch: with a snapshot of `state`, or after `after_index` if that is not 0.
  // Returns WATCH_COMPACTED, METADATA_UNAVAILABLE if the watcher is ahead of `state`, or
  // QUOTA_EXCEEDED if there are too many watchers; the watcher is not taken then.
  absl::Status Add(const cluster::ClusterState& state, uint64_t after_index,
                   std::shared_ptr<Watcher> watcher);
  // Tells everybody that the state at `index` is the newest.
  void Keepalive(LogIndex index);
  // Ends all watches.
  void CloseAll(const absl::Status& status);

  // Of the newest change; a watcher that has come so far has seen all. May be later than that
  // change if the state was replaced since.
  LogIndex newest() const {
    return LogIndex(history_.empty() ? floor_ : history_.back().message->index());
  }
  size_t watcher_count() const { return watchers_.size(); }

 private:
  const WatchEvent& SnapshotOf(const cluster::ClusterState& state);

  const Options options_;
  uint64_t floor_ = 0;  // Changes after this index are all in history_.
  std::deque<WatchEvent> history_;
  size_t history_bytes_ = 0;
  WatchEvent snapshot_;
  std::vector<std::shared_ptr<Watcher>> watchers_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_WATCH_HUB_H_
