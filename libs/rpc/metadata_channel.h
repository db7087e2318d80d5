#ifndef LIBS_RPC_METADATA_CHANNEL_H_
#define LIBS_RPC_METADATA_CHANNEL_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"

namespace falaj::rpc {

class ClientMetrics;

// MetadataChannel is how storage nodes, gateways and tools talk to the metadata service: it knows
// the addresses of all metadata nodes, finds the leader, and keeps a watch going.
//
// A process owns one; it must outlive its watches. Nodes that are not the leader say who is (the
// metadata key "leader" of METADATA_UNAVAILABLE); the channel follows, and tries the addresses in
// turn when nobody answers.
//
// Retries: a command that certainly had no effect is tried again until the deadline, with backoff.
// After a broken connection the outcome is unknown; then only commands that may be repeated
// (everything but delete_topic and add_partitions) are, and the others return
// METADATA_UNAVAILABLE.
//
// Threads: any. Calls block; never call them from a gRPC reactor. A watch has a thread of its own.
class MetadataChannel {
 public:
  struct Options {
    std::vector<std::string> addresses;  // host:port; at least one.
    // Of one attempt within a call, so that a silent node costs no more than this.
    absl::Duration attempt_timeout = absl::Seconds(5);
    absl::Duration backoff_base = absl::Milliseconds(20);
    absl::Duration backoff_max = absl::Milliseconds(200);  // An election takes that long.
    std::shared_ptr<ClientMetrics> metrics = nullptr;      // Counts the calls; may be null.
  };

  // A watch on the cluster. Destroying it stops it and waits until the callback has returned, so
  // never destroy it from the callback.
  class Watch {
   public:
    virtual ~Watch() = default;
    // True while a stream is open and its first message has come.
    virtual bool connected() const = 0;
    // When the last message came (one comes every second); zero before the first.
    virtual MonotonicTime last_message() const = 0;
    // Why the last attempt failed; OK while connected. CLUSTER_MISMATCH does not heal by itself.
    virtual absl::Status last_error() const = 0;
  };
  // Shows the metadata service that this process lives; its end shows that it has died. Destroying
  // it waits until the callback has returned.
  class Hold {
   public:
    virtual ~Hold() = default;
  };
  using WatchCallback = std::function<absl::Status(const internal::v1::WatchClusterResponse&)>;

  explicit MetadataChannel(Options options);
  ~MetadataChannel();
  MetadataChannel(const MetadataChannel&) = delete;
  MetadataChannel& operator=(const MetadataChannel&) = delete;

  // Executes a command; `deadline` is how long to try, all attempts together.
  // Returns the state machine's error, METADATA_UNAVAILABLE or TIMED_OUT.
  absl::StatusOr<internal::v1::ExecuteResponse> Execute(const internal::v1::ClusterCommand& command,
                                                        absl::Duration deadline);
  // Keeps a session alive. Returns SESSION_EXPIRED if it has ended.
  absl::Status Heartbeat(SessionId session, absl::Duration deadline = absl::Seconds(2));
  // A watch that has come to this index shows every change that was answered before this call.
  // METADATA_UNAVAILABLE, TIMED_OUT.
  absl::StatusOr<LogIndex> GetNewestChange(absl::Duration deadline);
  // Asks one metadata node, the leader if it is known.
  absl::StatusOr<internal::v1::GetStatusResponse> GetStatus(
      absl::Duration deadline = absl::Seconds(2));

  // Calls `callback` with the snapshot, then with every change and sign of life, in order, from one
  // thread; reconnects and resumes for ever, and begins again with a snapshot when it cannot resume
  // or the callback returns an error. `cluster_id` may be nil: any cluster; the channel then stays
  // with the first one it meets.
  std::unique_ptr<Watch> WatchCluster(const Uuid& cluster_id, WatchCallback callback);

  // Holds a session, next to its heartbeats, for as long as the Hold exists. Calls `on_expired`
  // from a thread of its own, once, if the session has ended.
  std::unique_ptr<Hold> HoldSession(SessionId session, std::function<void()> on_expired);

 private:
  class HoldStreams;
  class Nodes;
  class StreamThread;
  class WatchStreams;

  const std::shared_ptr<Nodes> nodes_;
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_METADATA_CHANNEL_H_
