// ReplicaLinks is a storage node's way to the leaders of what it follows, and to the metadata
// service with what it proposes as a leader.
//
// The storage server owns one; the shard speaks to it. It keeps a ReplicaLink for each node that
// leads something this node follows, and one more if this node lags, at the address the cluster's
// view names, under the incarnation the node is registered as. Proposals of many partitions go to
// the metadata service together, one command at a time, from a thread of their own, as that call
// blocks.
//
// Damage goes the same way, in commands of its own.
//
// A proposal that was accepted is not reported to the replica: its watch tells, in order with every
// other change (the minimum of in-sync replicas, say, by which a new ISR must be judged).
//
// Threads: any. Stop() first; after it nothing is sent and nobody is called.
#ifndef SERVICES_STORAGE_REPLICA_LINKS_H_
#define SERVICES_STORAGE_REPLICA_LINKS_H_

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/rpc/metadata_channel.h"
#include "services/storage/assignments.h"
#include "services/storage/periodic.h"
#include "services/storage/replica_link.h"
#include "services/storage/replica_stream.h"
#include "services/storage/replication.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class ReplicaLinks final : public ReplicaOutbox {
 public:
  // Not owned; they outlive Stop().
  struct Parts {
    StoreShard* shard = nullptr;
    Assignments* assignments = nullptr;
    rpc::MetadataChannel* channel = nullptr;
    ReplicaStreams* streams = nullptr;
    std::shared_ptr<rpc::ClientMetrics> metrics = nullptr;  // Counts the calls; may be null.
  };

  explicit ReplicaLinks(NodeId self) : self_(self) {}
  ~ReplicaLinks() override { Stop(); }

  void Start(const Parts& parts);
  // The node is registered (again): as another incarnation, which every leader must hear.
  void SetNodeEpoch(NodeEpoch epoch);
  void Stop();

  bool Attach(const log::PartitionKey& key, const Source& source,
              const replica::AttachRequest& request) override;
  void Acknowledge(const log::PartitionKey& key, const Source& source,
                   const replica::FollowerAck& ack) override;
  void Consumed(const Source& source, int64_t bytes) override;
  void Flush() override;
  void Propose(const log::PartitionKey& key, const replica::IsrProposal& proposal) override;
  void ReportDamage(const log::PartitionKey& key, const DamageReport& report) override;

 private:
  using Proposals = std::vector<std::pair<log::PartitionKey, replica::IsrProposal>>;
  using Damages = std::vector<std::pair<log::PartitionKey, DamageReport>>;
  using LinkPtr = std::shared_ptr<ReplicaLink>;

  // The link to a leader, made if need be; null if nobody knows its address.
  LinkPtr LinkTo(const Source& source, replica::IsrMember* self);
  LinkPtr FindLink(const Source& source);
  std::vector<LinkPtr> Links();
  void NudgeTicker();
  void NudgeProposer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Tick();
  void SendProposals();
  void SendDamages();
  void AnswerProposals(const Proposals& proposals,
                       const absl::StatusOr<internal::v1::ExecuteResponse>& response);

  const NodeId self_;
  Parts parts_;

  Mutex mu_;
  bool stopped_ ABSL_GUARDED_BY(mu_) = true;
  NodeEpoch node_epoch_ ABSL_GUARDED_BY(mu_);
  std::map<Source, LinkPtr> links_ ABSL_GUARDED_BY(mu_);
  std::vector<LinkPtr> retired_ ABSL_GUARDED_BY(mu_);  // To addresses of the past; for Tick().
  Proposals proposals_ ABSL_GUARDED_BY(mu_);
  Damages damages_ ABSL_GUARDED_BY(mu_);
  MonotonicTime checked_;  // Of the ticking thread.

  std::optional<Periodic> ticker_;  // From Start() on; nudged until the links are closed.
  std::optional<Periodic> proposer_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_REPLICA_LINKS_H_
