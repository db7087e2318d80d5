#ifndef LIBS_COORDINATION_ZNODE_WATCH_HUB_H_
#define LIBS_COORDINATION_ZNODE_WATCH_HUB_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/ids.h"
#include "libs/coordination/znode.h"

namespace falaj::coordination {

// One message of a watch. Watchers who are to get the same one share it.
struct ZnodeWatchMessage {
  std::shared_ptr<const v1::WatchZnodesResponse> response;
  size_t size_bytes = 0;  // Encoded.
};

// ZnodeWatcher takes messages in and sends them at its own pace; it bounds its queue itself. It
// must not call the hub from any of these.
class ZnodeWatcher {
 public:
  virtual ~ZnodeWatcher() = default;
  // False: it has ended, or fell too far behind and is ending; forget it.
  virtual bool Push(const ZnodeWatchMessage& message) = 0;
  // A sign of life: nothing it watches has changed up to `index` but what was pushed. To be left
  // out if other messages are waiting anyway.
  virtual bool PushKeepalive(uint64_t index) = 0;
  // The last call.
  virtual void Close(const absl::Status& status) = 0;
};

// ZnodeWatchHub tells everybody who watches znodes what each entry of the log has changed.
//
// The metadata node owns it, and publishes the changes of every entry right after applying it. The
// hub keeps the newest changes, bounded by number and bytes, so that a watch can resume where it
// broke off; one that is further back is told WATCH_COMPACTED, to read again and watch from there.
//
// Invariants:
//   a watcher gets each change that one of its watches matches after its starting index, once, in
//   order, all of one entry in one message; or it gets its end by Close()
//   watchers are served in the order in which they came
//
// Cost of a change: one look-up by its path, one by its parent's, one for every ancestor, and the
// watchers found; how many watch elsewhere does not matter.
//
// Threads: none; one at a time. Not here: the state itself, who may watch what, queues.
class ZnodeWatchHub {
 public:
  struct Options {
    size_t history_entries = 10'000;       // Entries that changed something.
    size_t history_bytes = 32 << 20;       // Of their paths and data.
    size_t watchers_max = 10'000;          // Further ones are refused.
    size_t watches_total_max = 1'000'000;  // Of all watchers.
    // An entry that would make a larger message ends the watch with WATCH_COMPACTED: clients refuse
    // messages above 4 MiB unless told otherwise.
    size_t message_bytes_max = (4 << 20) - (64 << 10);
  };

  explicit ZnodeWatchHub(const Options& options) : options_(options) {}

  // The state was replaced by the one at `index`, or read from disk: what led there is unknown.
  // Ends all watches with WATCH_COMPACTED.
  void Reset(LogIndex index);
  // The entry at `index` made `changes`. Requires: rising indexes. Nothing to do if there are none.
  void Publish(LogIndex index, const ZnodeChanges& changes);

  // Begins a watch of what changes after request.after_index, or after `applied` if that is 0. The
  // first message is a sign of life with that index; changes missed since then follow.
  // INVALID_REQUEST, INVALID_PATH: see ValidateWatch. INVALID_REQUEST too if after_index is above
  // `applied`: whoever calls waits until that is applied, and only then comes here. WATCH_COMPACTED
  // with metadata first_index (the lowest after_index there are all changes for) and last_index.
  // QUOTA_EXCEEDED. After an error the watcher is not kept, and was not called.
  absl::Status Add(LogIndex applied, const v1::WatchZnodesRequest& request,
                   std::shared_ptr<ZnodeWatcher> watcher);
  // Forgets a watcher without a word to it. No effect if it is unknown.
  void Remove(const ZnodeWatcher* watcher);
  // All changes up to `index` were published: tells everybody.
  void Keepalive(LogIndex index);
  // Ends all watches.
  void CloseAll(const absl::Status& status);

  size_t watcher_count() const { return watchers_.size(); }
  size_t watch_count() const { return watch_count_; }
  size_t history_bytes() const { return history_bytes_; }

 private:
  using WatcherId = uint64_t;  // In the order in which they came.
  struct Scope {
    std::string path;
    v1::WatchScope scope = v1::WATCH_SCOPE_UNSPECIFIED;
    friend bool operator==(const Scope&, const Scope&) = default;
    friend bool operator<(const Scope& a, const Scope& b) {
      return std::tie(a.path, a.scope) < std::tie(b.path, b.scope);
    }
  };
  struct Watching {
    std::shared_ptr<ZnodeWatcher> watcher;
    std::vector<Scope> scopes;  // Distinct, in order.
    bool Matches(const ZnodeChange& change) const;
  };
  struct Published {
    LogIndex index;
    ZnodeChanges changes;
    size_t bytes = 0;
  };
  // Who watches a path, by scope. Ids rise.
  using Index = absl::flat_hash_map<std::string, std::vector<WatcherId>>;

  Index& IndexOf(v1::WatchScope scope);
  void Drop(WatcherId id);
  void Keep(LogIndex index, const ZnodeChanges& changes);
  // Adds those who watch the change at `position` to `found`.
  void FindWatchers(const ZnodeChange& change, uint32_t position,
                    std::vector<std::pair<WatcherId, uint32_t>>* found) const;
  // Pushes the message, or ends the watch if it is too large. False: forget the watcher.
  bool Deliver(ZnodeWatcher* watcher, const ZnodeWatchMessage& message) const;
  // Sends what is missing between `after` and now. False: forget the watcher.
  bool Replay(const Watching& watching, LogIndex after) const;

  const Options options_;
  LogIndex floor_;  // All changes after this index are in history_.
  std::deque<Published> history_;
  size_t history_bytes_ = 0;
  std::map<WatcherId, Watching> watchers_;
  absl::flat_hash_map<const ZnodeWatcher*, WatcherId> ids_;
  WatcherId next_id_ = 1;
  size_t watch_count_ = 0;
  Index znode_watchers_;
  Index children_watchers_;
  Index subtree_watchers_;
};

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_ZNODE_WATCH_HUB_H_
