// ReplicaLink is this node's stream to one other node on one lane, to copy partitions that one
// leads. The lanes have connections of their own: what is live does not wait behind what is old
// there either.
//
//   idle ── Attach() ──▶ opening ── initial metadata ──▶ open ── error, Break() ──▶ idle
//
// While it is opening, what is to be sent waits. When the stream breaks everything on it is
// forgotten; Tick() has the replicas that were attached on it attach again, which opens the next
// one, but not while gRPC's channel waits to connect again. When the leader says that a replica
// belongs on the other lane the shard is told, and attaches it there.
//
// What comes in is checked here, on gRPC's thread (every batch's checksum), and then goes to the
// shard. The bytes are credit: they are granted anew when they have left the shard's mailbox, so a
// leader never has more than the lane's credit under way to this node.
//
// Threads: any; the shard's for Attach(), Acknowledge(), Consumed() and Flush(). Callbacks run on
// gRPC's. Close() breaks the stream and waits until its last callback has run.
#ifndef SERVICES_STORAGE_REPLICA_LINK_H_
#define SERVICES_STORAGE_REPLICA_LINK_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

#include "falaj/internal/v1/storage_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/rpc/client_metrics.h"
#include "services/storage/replication.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class ReplicaLink {
 public:
  // `shard` is not owned and outlives the link. `on_trouble` is told when Tick() has something to
  // do; from gRPC's threads, and must not block. `metrics` counts the calls, and may be null.
  ReplicaLink(const Source& source, const std::string& address, StoreShard* shard,
              std::function<void()> on_trouble,
              std::shared_ptr<rpc::ClientMetrics> metrics = nullptr);
  ~ReplicaLink();
  ReplicaLink(const ReplicaLink&) = delete;
  ReplicaLink& operator=(const ReplicaLink&) = delete;

  const Source& source() const { return source_; }
  const std::string& address() const { return address_; }

  // As `self`, from here on. False: not now.
  bool Attach(const replica::IsrMember& self, const log::PartitionKey& key,
              const replica::AttachRequest& request);
  void Acknowledge(const log::PartitionKey& key, const replica::FollowerAck& ack);
  void Consumed(int64_t bytes);
  void Flush();

  // Has the replicas attach again whose attach was dropped, refused or ended, or whose stream has
  // broken. True if it is too early for some: to be called again, a few times a second.
  bool Tick();
  void Break();
  void Close();

 private:
  class Stream;
  // A partition on the stream, by index.
  struct Attached {
    log::PartitionKey key;
    uint64_t attach_id = 0;
  };

  void Open(const replica::IsrMember& self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Events of the stream.
  void OnOpened();
  void OnWritten();
  // False if the stream is of no more use.
  bool OnFrame(const grpc::ByteBuffer& message);
  void OnReadsEnded();
  void OnBroken(const grpc::Status& status);

  bool OnAttached(const Bytes& message);
  bool OnNews(const Bytes& message);
  bool Find(uint32_t index, Attached* found);
  // The attach is over; true if it was not over before.
  bool Forget(uint32_t index, const log::PartitionKey& key);
  void AttachLater(const log::PartitionKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Source source_;
  const std::string address_;
  StoreShard* const shard_;
  const std::function<void()> on_trouble_;
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;

  Mutex mu_;
  CondVar idle_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<Stream> stream_ ABSL_GUARDED_BY(mu_);  // Null when idle.
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool breaking_ ABSL_GUARDED_BY(mu_) = false;
  int streams_ ABSL_GUARDED_BY(mu_) = 0;  // Begun and not yet destroyed.
  int64_t unconsumed_ ABSL_GUARDED_BY(mu_) =
      0;  // Bytes this stream has brought, not yet granted anew.
  internal::v1::ReplicateRequest next_ ABSL_GUARDED_BY(mu_);  // To be sent.
  uint32_t next_index_ ABSL_GUARDED_BY(mu_) = 1;
  absl::flat_hash_map<uint32_t, Attached> attached_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<log::PartitionKey, uint32_t> indexes_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<log::PartitionKey> again_ ABSL_GUARDED_BY(mu_);  // To attach, by Tick().
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_REPLICA_LINK_H_
