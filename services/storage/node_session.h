// NodeSession keeps a storage node registered with the metadata service: a session, kept alive by a
// heartbeat every third of its timeout, and opened again when it has expired. Next to it a call is
// held open: it breaks when the process dies, and then nobody waits for the timeout.
//
// The storage server owns one, with a thread of its own. A metadata service that does not answer
// changes nothing for what the node serves; the session is then no longer alive() once its timeout
// has passed, which shows in readiness.
//
// Failures: CLUSTER_MISMATCH (the data directory belongs to another cluster, or the node id to
// another directory that is alive) is told and tried again: the operator may be about to put it
// right. Until then the node serves nothing it did not serve before. Why the node cannot register
// is logged when it changes, and again every minute.
//
// Threads: the methods from any.
#ifndef SERVICES_STORAGE_NODE_SESSION_H_
#define SERVICES_STORAGE_NODE_SESSION_H_

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/log/log_store.h"
#include "libs/rpc/metadata_channel.h"
#include "services/storage/node_identity.h"

namespace falaj::storage {

class NodeSession {
 public:
  struct Options {
    std::string address;  // Where gateways reach the node.
    std::string zone;
    absl::Duration timeout = absl::Seconds(10);
    Uuid incarnation;  // Of this process.
    // Told of every registration, on the session's thread.
    std::function<void(const Uuid& cluster, LogIndex index, uint64_t recoveries)> on_registered;
    // Told why the metadata service does not take the node in, each time it refuses; of the end of
    // that tells on_registered. On the session's thread.
    std::function<void(const absl::Status& why)> on_refused;
    // Asked, on the session's thread, what the node holds, when a recovered quorum wants to know.
    // From then on nothing more is acknowledged of what was led or followed before that recovery.
    // nullopt: the node is about to end and says nothing.
    std::function<std::optional<std::vector<log::StoredPartition>>(uint64_t recoveries)>
        tell_stored;
  };

  // Neither is owned; both outlive the session. The identity belongs to the session until End() or
  // the destructor returns.
  NodeSession(Options options, NodeIdentity* identity, rpc::MetadataChannel* channel, Clock* clock);
  // Leaves the session to expire, as a crash would.
  ~NodeSession();
  NodeSession(const NodeSession&) = delete;
  NodeSession& operator=(const NodeSession&) = delete;

  // Registered, and heard of by the metadata service within the timeout.
  bool alive() const;
  NodeEpoch epoch() const;  // 0: never registered.

  // What has become of the leads of a node that is about to stop.
  struct Relieved {
    LogIndex index;     // From which a view shows it.
    int32_t led_still;  // Partitions that nobody else leads yet.
  };
  // Tells the metadata service that this node is about to stop: where it can, others lead from now
  // on; `leads_max` of them, or all if that is 0. Returns METADATA_UNAVAILABLE, TIMED_OUT, or why
  // the session does not count any more.
  absl::StatusOr<Relieved> PrepareStop(int32_t leads_max, absl::Duration patience);

  // The session is of another history of the cluster: opens one in the history of now.
  void RegisterAgain() { Expired(); }

  // Stops the heartbeats and ends the session. Waits at most two seconds for the metadata service.
  void End();

 private:
  void Run();
  // Returns false when it is time to stop.
  bool Register();
  // Returns true when the session has expired, false when it is time to stop.
  bool KeepAlive();
  // Waits. True: it is time to stop.
  bool PauseOrStop(absl::Duration delay);
  // The same, but not beyond the end of the session.
  bool WaitOrStop(absl::Duration delay);
  bool Sleep(absl::Duration delay, bool session_ends_it);
  void Expired();
  void StopThread();

  const Options options_;
  NodeIdentity* const identity_;
  rpc::MetadataChannel* const channel_;
  Clock* const clock_;

  mutable Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool expired_ ABSL_GUARDED_BY(mu_) = false;  // Says the call that is held open.
  SessionId session_ ABSL_GUARDED_BY(mu_);
  NodeEpoch epoch_ ABSL_GUARDED_BY(mu_);
  MonotonicTime heard_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;  // Last.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_NODE_SESSION_H_
