#ifndef LIBS_CLUSTER_CLUSTER_VIEW_H_
#define LIBS_CLUSTER_CLUSTER_VIEW_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"

namespace falaj::cluster {

// A storage node as a watcher sees it.
struct NodeInfo {
  NodeId id;
  std::string address;  // host:port of its gRPC port.
  std::string zone;
  NodeEpoch epoch;
  SessionId session;      // 0: its session has ended.
  bool draining = false;  // An operator takes everything off it.
  bool stopping = false;  // It is about to stop, or has done so: it may not join an ISR.

  bool online() const { return session.value() != 0; }
};

// A partition as a watcher sees it.
struct PartitionInfo {
  PartitionIndex index;
  NodeId leader;  // 0: none.
  LeaderEpoch leader_epoch;
  PartitionEpoch partition_epoch;
  LeaderEpoch unclean_epoch{0};  // Of the latest unclean election; 0: there was none.
  std::vector<NodeId> replicas;  // Preferred leader first; those that are being added last.
  std::vector<NodeId> isr;
  std::vector<NodeId> elr;     // Eligible to lead while too few are in sync.
  NodeId last_leader;          // Of a partition without a leader; 0: nobody.
  std::vector<NodeId> target;  // Of the reassignment that is going on; else empty.
  std::vector<NodeId> adding;  // Of the target: those that did not hold it before.

  bool HasReplica(NodeId node) const;
  bool reassigning() const { return !target.empty(); }
  // Fewer are in sync than hold it for good; those that are being added need not be.
  bool under_replicated() const { return isr.size() + adding.size() < replicas.size(); }
};

// A topic as a watcher sees it. partitions[i].index == i.
struct TopicInfo {
  TopicId id;
  std::string name;
  int64_t create_time_ms = 0;
  int32_t replication_factor = 0;
  internal::v1::TopicSettings settings;
  std::vector<PartitionInfo> partitions;
};

// ClusterView is one moment of the cluster: the tables a gateway routes by and a storage node finds
// its assignments in. It never changes: a change makes a new view that shares what is the same.
//
// Whoever watches the metadata service keeps the newest view, in a shared_ptr behind a small mutex:
//
//   auto next = ClusterView::Advance(view, event);   // event from MetadataChannel's watch
//   if (next.ok()) view = *std::move(next);
//
// Readers copy the shared_ptr and look things up without a lock, for as long as they like.
//
// Threads: any, as everything is const. Failures: an event that does not fit (a partition of a
// topic nobody heard of, partitions that leave a gap) is CORRUPT_RECORD: watch again from a
// snapshot.
class ClusterView {
 public:
  using Ptr = std::shared_ptr<const ClusterView>;

  // The view before anything is known. Never null.
  static Ptr Empty();
  static absl::StatusOr<Ptr> FromSnapshot(const internal::v1::ClusterState& snapshot);
  // The view after `event`, a message of the watch: a snapshot replaces everything, a delta changes
  // what it names, a sign of life only moves the index. `base` may be null.
  // CORRUPT_RECORD if the event does not fit, or is a snapshot of the same cluster that is older
  // than `base`: what is decided from a view, such as what to delete, is never decided from an
  // older one. One from after a recovery of the quorum is newer, whatever its index.
  static absl::StatusOr<Ptr> Advance(const Ptr& base,
                                     const internal::v1::WatchClusterResponse& event);

  const Uuid& cluster_id() const { return cluster_id_; }  // Nil: no snapshot has come yet.
  LogIndex index() const { return index_; }               // Everything up to here is included.
  // How often the quorum was recovered; indexes are comparable only while that stays the same.
  uint64_t recoveries() const { return recoveries_; }

  // Null if there is none. Pointers live as long as the view.
  const TopicInfo* FindTopic(absl::string_view name) const;
  const TopicInfo* FindTopic(const TopicId& id) const;
  const PartitionInfo* FindPartition(const TopicId& topic, PartitionIndex partition) const;
  const NodeInfo* FindNode(NodeId id) const;
  // The online node that leads the partition, or null.
  const NodeInfo* FindLeader(const PartitionInfo& partition) const;

  // By name; includes internal topics. By id; includes nodes that are offline.
  const std::map<std::string, std::shared_ptr<const TopicInfo>, std::less<>>& topics() const {
    return topics_;
  }
  const std::map<NodeId, NodeInfo>& nodes() const { return nodes_; }

 private:
  absl::Status Apply(const internal::v1::ClusterDelta& delta);
  absl::Status ApplyTopic(const internal::v1::TopicState& change);

  Uuid cluster_id_;
  LogIndex index_;
  uint64_t recoveries_ = 0;
  std::map<NodeId, NodeInfo> nodes_;
  std::map<std::string, std::shared_ptr<const TopicInfo>, std::less<>> topics_;
  absl::flat_hash_map<TopicId, std::shared_ptr<const TopicInfo>> topics_by_id_;
};

}  // namespace falaj::cluster

#endif  // LIBS_CLUSTER_CLUSTER_VIEW_H_
