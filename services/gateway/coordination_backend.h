// CoordinationBackend is the metadata service as forwarded coordination calls see it: whom to ask,
// how long, how many at a time.
//
// The gateway owns one. Every forwarded call holds a Slot, from its admission until the last
// callback about it has returned; so when Close() has returned, nothing of them is left.
//
// Two lists of the same nodes: the leader's followers of hints (writes, sessions, elections,
// linearizable reads), and one node, drawn at the start, that this gateway stays with for what any
// node can answer (local reads, watches), so that the load spreads over gateways.
//
// Threads: any.
#ifndef SERVICES_GATEWAY_COORDINATION_BACKEND_H_
#define SERVICES_GATEWAY_COORDINATION_BACKEND_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/gate.h"
#include "libs/rpc/client_metrics.h"
#include "libs/rpc/metadata_nodes.h"
#include "libs/rpc/retry.h"
#include "libs/telemetry/registry.h"

namespace falaj::gateway {

class CoordinationBackend {
 public:
  struct Options {
    std::vector<std::string> addresses;                     // Of the metadata nodes, at least one.
    std::shared_ptr<rpc::ClientMetrics> metrics = nullptr;  // Counts the calls; may be null.
    int calls_max = 20'000;  // Forwarded at a time, streams included.
    // A call without a deadline is tried so long, and a stream goes without an answer so long.
    absl::Duration patience = absl::Seconds(30);
    // Of one attempt of a call that may be repeated, so that a silent node costs no more than this.
    absl::Duration attempt_timeout = absl::Seconds(2);
    absl::Duration waiting_attempt_timeout = absl::Seconds(10);  // The same, for calls that wait.
    absl::Duration watch_silence_max = absl::Seconds(5);  // A node sends something every second.
    absl::Duration backoff_base = absl::Milliseconds(20);
    absl::Duration backoff_max = absl::Milliseconds(200);  // An election takes that long.
  };

  // A place among the calls under way.
  class Slot {
   public:
    Slot(Slot&& other) noexcept
        : backend_(std::exchange(other.backend_, nullptr)), pass_(std::move(other.pass_)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (backend_ != nullptr) backend_->Leave();
    }

   private:
    friend class CoordinationBackend;
    Slot(CoordinationBackend* backend, Gate::Pass pass)
        : backend_(backend), pass_(std::move(pass)) {}
    CoordinationBackend* backend_;
    Gate::Pass pass_;
  };

  // `calls` shows how many are under way; it outlives this.
  CoordinationBackend(Options options, telemetry::Gauge* calls);

  // QUOTA_EXCEEDED if there are too many already, SHUTTING_DOWN after Close().
  absl::StatusOr<Slot> Admit();
  // Refuses new calls and waits until every Slot has been given back.
  void Close() { gate_.Close(); }

  rpc::MetadataNodes* leader() { return &leader_; }
  rpc::MetadataNodes* any() { return &any_; }
  rpc::Backoff MakeBackoff() const;
  const Options& options() const { return options_; }

 private:
  void Leave();

  const Options options_;
  telemetry::Gauge* const calls_gauge_;
  Gate gate_;
  std::atomic<int> calls_{0};
  rpc::MetadataNodes leader_;
  rpc::MetadataNodes any_;
};

// How a call to a metadata node ended.
struct CallEnd {
  rpc::Outcome outcome = rpc::Outcome::kFinal;
  absl::Status status;    // With a reason. METADATA_UNAVAILABLE if the connection is to blame.
  bool answered = false;  // By the node itself; otherwise the connection failed.
  std::string leader;     // Who leads, if the node has said so.
};
// Requires !wire.ok(). `node` is the address that was asked, `context` that of the call.
CallEnd JudgeEnd(const grpc::Status& wire, const grpc::ClientContext& context,
                 const std::string& node);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_COORDINATION_BACKEND_H_
