// RouteTable is what the gateway knows of the cluster: which topics there are and which storage
// node leads each partition. It follows the metadata service's watch and never polls.
//
// The server owns it and starts it before it listens. When the metadata service is away the table
// goes on with what it knew last; age() says for how long.
//
// Threads: any. Lookups copy a shared_ptr under a small mutex and then read an immutable view.
#ifndef SERVICES_GATEWAY_ROUTE_TABLE_H_
#define SERVICES_GATEWAY_ROUTE_TABLE_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/metadata_service.pb.h"
#include "falaj/v1/record.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/cluster/cluster_view.h"
#include "libs/rpc/metadata_channel.h"

namespace falaj::gateway {

using TopicPtr = std::shared_ptr<const cluster::TopicInfo>;

// Where a partition is served now.
struct Route {
  TopicId topic;
  LeaderEpoch epoch;
  std::string address;
};

class RouteTable {
 public:
  RouteTable(rpc::MetadataChannel* metadata, Clock* clock);  // Neither is owned.
  ~RouteTable();

  void Start();
  // Stops following. Waiters are woken.
  void Stop();

  cluster::ClusterView::Ptr View() const;

  // TOPIC_NOT_FOUND; METADATA_UNAVAILABLE before the first snapshot.
  absl::StatusOr<TopicPtr> FindTopic(absl::string_view name) const;
  // OK, or why not: TOPIC_NOT_FOUND, PARTITION_NOT_FOUND, METADATA_UNAVAILABLE.
  absl::Status Exists(absl::string_view topic, PartitionIndex partition) const;
  // The same, or LEADER_UNAVAILABLE with a retry hint if nobody serves it now.
  absl::StatusOr<Route> Find(absl::string_view topic, PartitionIndex partition) const;
  absl::StatusOr<Route> Find(const TopicId& topic, PartitionIndex partition) const;

  // Blocks until the table includes this index, so that a client reads what it has written.
  // TIMED_OUT.
  absl::Status WaitForIndex(LogIndex index, absl::Duration timeout);

  // `listener` is called on the watch's thread for every event, after the table has taken it in,
  // until the returned handle is dropped; dropping waits for a call under way. It must not block.
  using Listener = std::function<void(const cluster::ClusterView::Ptr&,
                                      const internal::v1::WatchClusterResponse&)>;
  std::shared_ptr<void> Listen(Listener listener);

  // How long ago the metadata service was last heard of; infinite before the first time.
  absl::Duration age() const;
  // How long ago it said that nothing had changed: then the table had everything up to that. It
  // says so every second. Infinite before the first time.
  absl::Duration confirmed_age() const;

 private:
  absl::Status Take(const internal::v1::WatchClusterResponse& event);

  rpc::MetadataChannel* const metadata_;
  Clock* const clock_;

  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  cluster::ClusterView::Ptr view_ ABSL_GUARDED_BY(mu_) = cluster::ClusterView::Empty();
  std::optional<MonotonicTime> confirmed_ ABSL_GUARDED_BY(mu_);
  LogIndex told_ ABSL_GUARDED_BY(mu_);  // Of the view that all listeners have been told of.

  struct Listeners {
    Mutex mu;  // Held during calls: dropping a handle waits for it.
    uint64_t next_id ABSL_GUARDED_BY(mu) = 0;
    std::map<uint64_t, Listener> by_id ABSL_GUARDED_BY(mu);
  };
  const std::shared_ptr<Listeners> listeners_ = std::make_shared<Listeners>();

  std::unique_ptr<rpc::MetadataChannel::Watch> watch_ ABSL_GUARDED_BY(mu_);
};

// Checks that calls and streams share. Errors name field, value and limit.
absl::Status CheckAcks(v1::Acks acks);
absl::Status CheckClientId(absl::string_view client_id, absl::string_view field);
absl::Status CheckPartition(const cluster::TopicInfo& topic, PartitionIndex partition);
absl::Status CheckBatch(const cluster::TopicInfo& topic, PartitionIndex partition,
                        size_t size_bytes);

// True if the error means that another node, or the same one a little later, may serve the request,
// and that nothing happened yet.
bool IsLeaderMissing(const absl::Status& status);

// What a storage node says of a partition that the gateway has found in its table. If the node does
// not know it, it has not heard of it yet, or has just dropped it: LEADER_UNAVAILABLE, as whether
// it exists is told by the table.
absl::Status ErrorOfNode(const v1::Error& error);
absl::Status OfNode(const absl::Status& status);  // The same.

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_ROUTE_TABLE_H_
