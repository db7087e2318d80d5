// Assignments turns the cluster's watch into what the store shard has to do: open, lead, follow,
// reconfigure, let go, delete.
//
// Nothing is done until the node is registered, and then only from a view that includes the
// registration: an older view could name this node the leader of an epoch that is over. Deletion is
// the careful part. A partition in the store is dropped only if a view of the cluster on record, at
// or after this process's registration, does not assign it to this node. Topic ids are never used
// twice and a partition is only ever made for an assignment that a view had, so either the topic
// has been deleted, or the partition has been reassigned: then everything committed is on its
// replicas of now (libs/cluster lets no replica go that alone is known to hold it). A node that
// gets it back begins with nothing. All that holds within one history of the cluster: after a
// recovery of the quorum a view may know less, and nothing is dropped for what the first one says,
// but set aside (KnownHistory). The node must then be registered anew, and say what it holds,
// before the view counts. A foreign cluster's view never gets here, and views never go back
// (ClusterView::Advance): one from before the partition was made comes neither after the
// registration, nor later from a metadata node that lags.
//
// Threads: OnEvent by the watch, Allow by the session, the rest by any.
#ifndef SERVICES_STORAGE_ASSIGNMENTS_H_
#define SERVICES_STORAGE_ASSIGNMENTS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/cluster/cluster_view.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class Assignments {
 public:
  // Told once of every history that the node is not registered in, on the watch's thread.
  using HistoryCallback = std::function<void(uint64_t recoveries)>;

  Assignments(NodeId self, StoreShard* shard, absl::Duration replica_lag_max,
              HistoryCallback on_history = nullptr)
      : self_(self),
        shard_(shard),
        replica_lag_max_(replica_lag_max),
        on_history_(std::move(on_history)) {}

  // Takes an event of the watch. An error asks for a new snapshot.
  absl::Status OnEvent(const internal::v1::WatchClusterResponse& event);
  // The node is registered in `cluster`, as of the entry `index` of the history after so many
  // recoveries of the quorum. Views of it from there on count.
  void Allow(const Uuid& cluster, LogIndex index, uint64_t recoveries);

  // The node is about to say what it holds in the history after so many recoveries. Views of
  // earlier ones do not count any more, though some may still be on their way: what they give the
  // node, or take from it, must not change what it says. Those of this one count from Allow() on.
  void BeginHistory(uint64_t recoveries);

  // Waits until the view is of `index` or later, and the shard has been asked for what it shows.
  // False: it did not come.
  bool WaitForView(LogIndex index, absl::Duration patience) const;

  // This node leads a partition that another one, alive and to stay, could lead once it is in sync.
  bool LeadsWhereOthersMay() const;

  // A partition that this node leads, and the first of its replicas that could lead in its place.
  struct Lead {
    std::string topic;
    PartitionIndex partition;
    LeaderEpoch epoch;
    NodeId successor{0};  // In sync, alive and to stay; 0: there is none.
  };
  std::vector<Lead> Leads() const;

  // This node has a replica of a partition that other nodes have, too.
  bool SharesPartitions() const;

  // True once the shard has done what the first view that counts asks for.
  bool applied() const { return opened_->load(); }
  cluster::ClusterView::Ptr view() const;

 private:
  // What was last asked of the shard for one topic.
  struct Asked {
    std::string settings;  // Serialized.
    std::map<PartitionIndex, PartitionEpoch> partitions;
  };

  void SetHistory(uint64_t recoveries) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Counts() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyDelta(const internal::v1::ClusterDelta& delta) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyTopic(const cluster::TopicInfo& topic) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Delete(const TopicId& topic) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const NodeId self_;
  StoreShard* const shard_;  // Not owned; outlives this.
  const absl::Duration replica_lag_max_;
  const HistoryCallback on_history_;  // May be null.
  const std::shared_ptr<std::atomic<bool>> opened_ = std::make_shared<std::atomic<bool>>(false);

  mutable Mutex mu_;
  mutable CondVar advanced_;
  cluster::ClusterView::Ptr view_ ABSL_GUARDED_BY(mu_) = cluster::ClusterView::Empty();
  Uuid cluster_ ABSL_GUARDED_BY(mu_);  // Nil: not registered yet.
  LogIndex allowed_from_ ABSL_GUARDED_BY(mu_);
  uint64_t recoveries_ ABSL_GUARDED_BY(mu_) = 0;       // Of the history it is registered in.
  uint64_t told_recoveries_ ABSL_GUARDED_BY(mu_) = 0;  // The callback was.
  bool applied_ ABSL_GUARDED_BY(mu_) = false;
  absl::flat_hash_map<TopicId, Asked> asked_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_ASSIGNMENTS_H_
