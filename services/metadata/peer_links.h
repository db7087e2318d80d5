#ifndef SERVICES_METADATA_PEER_LINKS_H_
#define SERVICES_METADATA_PEER_LINKS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"

namespace falaj::rpc {
class ClientMetrics;
}  // namespace falaj::rpc

namespace falaj::metadata {

// PeerLinks carries Raft messages to the other metadata nodes: one gRPC stream per peer, behind a
// queue bounded in messages and bytes. What gathers while a write is under way travels with the
// next.
//
// MetadataServer owns it; RaftNode's rounds call Send(). Raft bears the loss of any message, so a
// peer that is away or slow costs a bounded queue and nothing else: what does not fit is dropped,
// and while the queue is not empty a newer heartbeat replaces the one that waits.
//
// Invariant: messages to one peer arrive in the order they were sent, or not at all.
//
// Threads: any, and gRPC's; a message is written by the thread that sends it if the peer's stream
// is idle. Failures: a broken stream is opened anew, with what waits in the queue dropped.
//
// Not here: what messages mean, who is a member (a link stays idle when nothing is sent).
class PeerLinks {
 public:
  struct Options {
    NodeId self;
    Uuid cluster_id;                    // Sent along: another cluster's node refuses...
    uint64_t incarnation = 0;           // ...and so does one of another incarnation of the quorum.
    size_t queue_messages_max = 1024;   // Per peer.
    size_t queue_bytes_max = 16 << 20;  // Per peer; a larger message still travels alone.
    Clock* clock = nullptr;             // Not owned.
    std::shared_ptr<rpc::ClientMetrics> metrics = nullptr;  // Counts the calls; may be null.
  };

  explicit PeerLinks(const Options& options);
  ~PeerLinks();  // Cancels what is under way.
  PeerLinks(const PeerLinks&) = delete;
  PeerLinks& operator=(const PeerLinks&) = delete;

  // Where the other nodes are; a node whose address changes gets a new link.
  void SetAddresses(const std::map<NodeId, std::string>& addresses);
  // Queues a message for its receiver; dropped if that is unknown or too far behind.
  void Send(internal::v1::RaftMessage message);

 private:
  class Link;

  const Options options_;
  Mutex mu_;
  std::map<NodeId, std::unique_ptr<Link>> links_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_PEER_LINKS_H_
