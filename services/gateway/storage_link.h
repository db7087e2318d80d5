// StorageLink is the gateway's connection to one storage node: one long Append stream that all
// clients' batches share, and unary calls for everything else.
//
// The gateway owns one StorageLink per storage node address, made on first use (StorageLinks).
// Batches go out in the order Append() was called, which is what keeps a producer's order; answers
// come back by request id. What is appended in one turn of a thread (libs/base/turn.h), and what
// gathers while a message is being written, leaves together, up to 256 KiB.
//
// States of the stream:
//
//   idle ── Append() ──▶ opening ── initial metadata ──▶ open ── error, or an answer that makes no
//   sense ──▶ idle
//
// While it is opening nothing is written. So when the stream breaks, a batch that was not handed to
// gRPC yet is known not to be appended (LEADER_UNAVAILABLE, definite), and one that was is open
// (APPEND_UNCERTAIN). The next Append() opens a new stream; gRPC's channel paces the reconnects.
// Reset() breaks the stream when the metadata service says that the node is gone: a process that
// stands still keeps its connections, and batches would wait for it.
//
// Threads: any. Callbacks run on gRPC's threads, never inside Append(), with no lock held. Close()
// breaks the stream and waits until every callback has run.
//
// Payload is never copied: a request is a few header bytes followed by the batch's own slices.
#ifndef SERVICES_GATEWAY_STORAGE_LINK_H_
#define SERVICES_GATEWAY_STORAGE_LINK_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/storage_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/gate.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/rpc/client_metrics.h"

namespace falaj::gateway {

// What an Append needs to know besides the batch.
struct AppendTarget {
  TopicId topic;
  PartitionIndex partition;
  LeaderEpoch epoch;
  v1::Acks acks = v1::ACKS_UNSPECIFIED;
  absl::Duration timeout;  // Infinite: none.
};

using AppendCallback = std::function<void(absl::StatusOr<internal::v1::AppendOutcome>)>;
using BytesCallback = std::function<void(absl::StatusOr<Bytes>)>;

// UnaryCall is a call under way; Cancel() makes its callback come soon, with CANCELLED.
class UnaryCall {
 public:
  void Cancel() { context_.TryCancel(); }

 private:
  friend class StorageLink;
  bool node_left_ = false;  // Cancelled by Reset(). Under the link's mu_.
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
};

class StorageLink {
 public:
  // `metrics` counts the calls, and may be null.
  explicit StorageLink(const std::string& address,
                       std::shared_ptr<rpc::ClientMetrics> metrics = nullptr);
  ~StorageLink();
  StorageLink(const StorageLink&) = delete;
  StorageLink& operator=(const StorageLink&) = delete;

  // Sends the batch. `done` gets the node's answer, whose error field may be set, or how the stream
  // broke.
  void Append(const AppendTarget& target, const Bytes& batch, AppendCallback done);

  // Calls a unary method of StorageService ("Read", ...) with serialized messages. The returned
  // handle may be dropped.
  std::shared_ptr<UnaryCall> Call(absl::string_view method,
                                  const google::protobuf::MessageLite& request,
                                  absl::Duration timeout, BytesCallback done);

  // The node has left the cluster, dead or standing still: what it has not answered is ended as if
  // the connection had broken, now and not when keepalive notices. New work may come.
  void Reset();
  // Refuses new work and breaks what is under way, without waiting for it.
  void Break();
  // Break(), then waits until every callback has run.
  void Close();

 private:
  class AppendStream;

  struct Waiting {
    uint64_t request_id = 0;
    std::string prefix;  // Of the batch's entry in the message.
    Bytes batch;
  };
  struct Pending {
    AppendCallback done;
    bool written = false;  // Handed to gRPC: its outcome is open if the stream breaks.
  };

  void OpenStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteAtEndOfTurn();
  // What fits of the queue, at least one batch.
  grpc::ByteBuffer TakeMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BreakStream() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Events of the stream.
  void OnOpened();
  void OnWritten();
  void OnAnswer(const grpc::ByteBuffer& message);
  void OnReadsEnded();
  void OnBroken(const grpc::Status& status);

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  Gate gate_;  // Around every callback and every end of a turn that are still to come.

  Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<AppendStream> stream_ ABSL_GUARDED_BY(mu_);  // Null when idle.
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool breaking_ ABSL_GUARDED_BY(mu_) = false;  // Cancelled; its end is on the way.
  int streams_ ABSL_GUARDED_BY(mu_) = 0;        // Begun and not yet ended.
  uint64_t next_request_id_ ABSL_GUARDED_BY(mu_) = 1;
  std::deque<Waiting> queue_ ABSL_GUARDED_BY(mu_);  // Bounded by the streams' own budgets.
  size_t queued_bytes_ ABSL_GUARDED_BY(mu_) = 0;    // Of the batches in queue_.
  absl::flat_hash_map<uint64_t, Pending> pending_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::shared_ptr<UnaryCall>> calls_ ABSL_GUARDED_BY(mu_);  // Under way.
  CondVar idle_;
};

// StorageLinks finds the link to an address, making it on first use. Links live until Close():
// addresses are few. Threads: any.
class StorageLinks {
 public:
  explicit StorageLinks(std::shared_ptr<rpc::ClientMetrics> metrics)
      : metrics_(std::move(metrics)) {}

  std::shared_ptr<StorageLink> Get(const std::string& address);
  // Resets the link to the address, if there is one.
  void Reset(const std::string& address);
  void Break();
  void Close();

 private:
  std::vector<std::shared_ptr<StorageLink>> All();

  const std::shared_ptr<rpc::ClientMetrics> metrics_;
  Mutex mu_;
  absl::flat_hash_map<std::string, std::shared_ptr<StorageLink>> links_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_STORAGE_LINK_H_
