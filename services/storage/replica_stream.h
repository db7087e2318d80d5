// ReplicaStream is one follower node's stream to this node, the leader of the partitions it
// attaches, on one of two lanes: it pushes batches as they are written and takes the follower's
// acknowledgements.
//
//   attach ──▶ shard: where do the logs part ways? ──▶ answer, and a Copy with a cursor
//   partition published ──▶ Copy is due ──▶ frame of news, as far as the credit goes ──▶ follower
//   acks ──▶ shard: high watermarks ──▶ producers are told
//
// On the live lane the news are read where consumers read too: from the tail cache, else from the
// store, on a disk reader. On the catch-up lane they come from the store alone, by the one thread
// that keeps to the pace. So what a follower costs the leader is a cursor, and the bytes of a few
// frames: a follower that is slow, or has used up its credit, is simply read for later; one that
// asks and does not read the answers is not listened to. Those that wait for their turn to be read
// for stand in a queue that nobody walks: what a publish costs does not depend on how many they
// are.
//
// Who belongs where (LaneOf): in sync, on the live lane, as producers wait for it; else on the
// catch-up lane, unless it lacks little that the tail cache has all of. A copy moves when all that
// was sent has been acknowledged: the attach ends, and the follower attaches on the other lane.
//
// Invariants: a Copy's batches leave without a gap from where it attached; nothing beyond the
// written end leaves; a follower's partition has one Copy, on the stream where it attached last; of
// a partition that this node no longer leads in the epoch of the attach nothing leaves, and the
// follower is told that the attach is over: it would else wait for ever for one that leads no more,
// should nobody else lead soon.
//
// Ownership: shared by gRPC (until OnDone), the partitions it listens to, and the reads it has
// queued. Threads: gRPC's, who works the shard off, disk readers; mu_ is held for bookkeeping,
// lookups in the tail cache, and starting an operation.
#ifndef SERVICES_STORAGE_REPLICA_STREAM_H_
#define SERVICES_STORAGE_REPLICA_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "falaj/internal/v1/storage_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "services/storage/service_parts.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

class ReplicaStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                            public std::enable_shared_from_this<ReplicaStream> {
 public:
  // Lives until gRPC is done with it.
  static ReplicaStream* Open(const ServiceParts* parts);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Sends the marks that have moved without a batch to carry them. A few times a second.
  void SendMarks();
  // The follower has attached the partition on another stream: what it had here is over.
  void OnAttachedElsewhere(NodeId follower, const Partition* partition);

 private:
  class Copy;
  using CopyPtr = std::shared_ptr<Copy>;

  explicit ReplicaStream(const ServiceParts* parts);

  // An error ends the stream.
  absl::Status TakeFrame(const grpc::ByteBuffer& message);
  absl::Status TakeHello(const internal::v1::ReplicateRequest& request);
  absl::Status TakeCredit(int64_t bytes);
  void TakeAttach(const internal::v1::ReplicaAttach& attach);
  void TakeAcks(const internal::v1::ReplicateRequest& request);
  void Attached(const internal::v1::ReplicaAttach& attach, std::shared_ptr<Partition> partition,
                const absl::StatusOr<replica::AttachAnswer>& answer);

  // The partition of a copy has something new. It leaves at the end of this thread's turn.
  void OnPublished(const CopyPtr& copy);
  void MakeDue(const CopyPtr& copy) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MakeDueLater(const CopyPtr& copy) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Adds what is new of the copy to the frame; false if there was no room.
  bool AddNews(const CopyPtr& copy, std::vector<Bytes>* pieces, int64_t* room)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The batches of the copy from `next` on, if they are in memory; else has them read.
  std::optional<log::ReadResult> TakeNext(const CopyPtr& copy, const PartitionState& state,
                                          Offset next, int64_t room)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReadAhead(const CopyPtr& copy, Offset from, Offset end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // One less is kept: who has waited longest may read.
  void FreeRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // On a reader's thread.
  void Read(const CopyPtr& copy, Offset from, Offset end);
  void OnRead(const CopyPtr& copy, absl::StatusOr<log::ReadResult> result);
  bool IsAttached(const CopyPtr& copy) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Where the partition belongs, in view of what the follower lacks.
  Lane LaneOf(const Copy& copy, const PartitionState& state) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Forgets the copy, if it is not forgotten yet.
  void Drop(const CopyPtr& copy) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // As Drop(), and tells the follower: why; to attach on the other lane, for which all that was
  // sent must have been acknowledged, else the copy waits for that.
  void EndCopy(const CopyPtr& copy, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MoveCopy(const CopyPtr& copy) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  grpc::ByteBuffer GatherNews() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Tell(const internal::v1::ReplicateResponse& answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Pause(bool paused) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeFinish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ServiceParts* const parts_;
  const uint64_t id_;       // Of this process's streams, no two have the same.
  grpc::ByteBuffer inbox_;  // Of the read under way.

  Mutex mu_;
  std::shared_ptr<ReplicaStream> self_ ABSL_GUARDED_BY(mu_);  // Until OnDone.
  replica::IsrMember from_ ABSL_GUARDED_BY(mu_);              // Node 0: no hello yet.
  Lane lane_ ABSL_GUARDED_BY(mu_) = Lane::kLive;              // As the hello says.
  int64_t credit_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint32_t, CopyPtr> copies_ ABSL_GUARDED_BY(mu_);  // By index.
  absl::flat_hash_map<const Partition*, uint32_t> attached_ ABSL_GUARDED_BY(mu_);
  std::deque<CopyPtr> due_ ABSL_GUARDED_BY(mu_);
  std::vector<CopyPtr> due_later_ ABSL_GUARDED_BY(mu_);       // With the next SendMarks().
  std::deque<CopyPtr> waiting_ ABSL_GUARDED_BY(mu_);          // To read; attached all of them.
  std::deque<grpc::ByteBuffer> outbox_ ABSL_GUARDED_BY(mu_);  // Answers; they go first.
  size_t attaching_ ABSL_GUARDED_BY(mu_) = 0;                 // The shard is at them.
  grpc::ByteBuffer outgoing_ ABSL_GUARDED_BY(mu_);            // Of the write under way.
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool paused_ ABSL_GUARDED_BY(mu_) = false;  // Not reading, as too many answers are unread.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  int reads_ ABSL_GUARDED_BY(mu_) = 0;       // Of the disk, under way; gRPC waits for them.
  int reads_kept_ ABSL_GUARDED_BY(mu_) = 0;  // Those, those queued, and what they have brought.
  bool ended_ ABSL_GUARDED_BY(mu_) = false;  // No more reads; about to finish.
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mu_);
};

// ReplicaStreams knows the streams that are open, for what must reach all of them. Threads: any.
class ReplicaStreams {
 public:
  void Add(std::weak_ptr<ReplicaStream> stream);
  // A follower has attached a partition on stream `on`, and so on no other any more.
  void OnAttached(const ReplicaStream* on, NodeId follower, const Partition* partition);
  // Sends what could wait, of which on_marks is told when it begins to.
  void SendMarks();
  // May be null, to end it. Must not block.
  void set_on_marks(std::function<void()> on_marks);
  void HasMarks();

 private:
  std::vector<std::shared_ptr<ReplicaStream>> Open();

  Mutex mu_;
  std::function<void()> on_marks_ ABSL_GUARDED_BY(mu_);
  std::vector<std::weak_ptr<ReplicaStream>> streams_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_REPLICA_STREAM_H_
