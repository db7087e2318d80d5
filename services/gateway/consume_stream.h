// ConsumeStream is one client's Consume call: it reads ahead from the storage nodes within the
// credit the client has granted and sends what comes.
//
//   waiting for open ── open ──▶ resolving ── offsets known ──▶ streaming ── half-close or error
//   ──▶ finished
//
// What to read next, and whether an answer still counts, is decided by ConsumePositions. For each
// storage node at most two Reads are under way, of different partitions, so that its disk works on
// one while the other one's answer is on its way; with little credit, one. Each is sent again as
// soon as it is answered, while the last frames are still being written. A Read that waits for new
// records is cancelled when the client seeks, pauses or resumes, because its question is then out
// of date, and when a partition that no Read asks for, such as one whose leader has moved here,
// finds all of them waiting. What a node refuses is left alone for 50 ms.
//
// Memory: frames in the queue are paid for with credit, so they never exceed what the client was
// ready to take. No Read is sent while 4 MiB of them wait; those under way bring 4 MiB for each
// node at most, which are decoded up to 16 MiB. A batch too large for one frame of plain records is
// cut between records, in the middle of an answer too. At most one write is outstanding.
//
// Threads: gRPC's and the links'; mu_ guards everything.
#ifndef SERVICES_GATEWAY_CONSUME_STREAM_H_
#define SERVICES_GATEWAY_CONSUME_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "falaj/v1/consumer_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "libs/rpc/open_calls.h"
#include "services/gateway/batch_frames.h"
#include "services/gateway/consume_positions.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/offset_lookup.h"
#include "services/gateway/storage_link.h"

namespace falaj::gateway {

class ConsumeStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                      public rpc::StoppableCall,
                      public std::enable_shared_from_this<ConsumeStream> {
 public:
  static ConsumeStream* Start(const GatewayParts* parts, const std::string& peer);

 private:
  // One Read at one node.
  struct NodeRead {
    std::string address;
    std::vector<PartitionName> names;
    std::vector<Offset> asked;
    std::vector<TopicId> topics;
    std::shared_ptr<UnaryCall> call;
    MonotonicTime began;
    bool cancelled = false;
  };
  struct PlannedRead {
    NodeRead read;
    internal::v1::ReadRequest request;
  };
  // A place the client has named.
  struct Sought {
    PartitionName name;
    v1::OffsetTarget target;
    LeaderEpoch last_epoch{-1};  // Of the record before an offset; -1: not known.
  };
  struct Frame {
    grpc::ByteBuffer message;
    int64_t size_bytes = 0;
  };

  ConsumeStream(const GatewayParts* parts, const std::string& peer)
      : parts_(parts), budget_(parts->budgets->Open(peer)) {}

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // At once: the client goes on elsewhere from what it has received.
  void Stop() override;

  // Each takes one frame; an error ends the stream.
  absl::Status TakeFrame(const grpc::ByteBuffer& message);
  absl::Status TakeOpen(const v1::OpenConsumeStream& open);
  static absl::StatusOr<Sought> ReadPosition(const v1::PartitionPosition& position);
  absl::Status TakeSeek(const v1::SeekPartitions& seek);
  template <typename Partitions>
  absl::Status TakePause(const Partitions& partitions, bool paused);

  // Looks up where the client wants to be: by the open frame (first), or by a seek.
  void Resolve(std::vector<Sought> sought, bool first);
  void OnResolved(const std::vector<Sought>& sought, OffsetAnswers answers, bool first);

  // Asks every node that has something to read and may be asked.
  void Pump();
  std::vector<PlannedRead> PlanReads() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Where the partition is read now. Nullopt if it cannot be: of a leader that is missing, and of
  // an error, which ends the stream.
  std::optional<Route> FindRoute(const PartitionName& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Again in a moment.
  void PumpLater() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same of partitions that were refused; until then nobody asks for them.
  void AskAgainLater(std::vector<PartitionName> names) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Ends a Read of the node that waits for new records, as others have to be asked for, too.
  void MakeRoom(const std::string& address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // How many more Reads the node may have.
  size_t FreeReads(const std::string& address) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AddToPlan(const PartitionName& name, const Route& route, PlannedRead* plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnRead(uint64_t read_id, absl::StatusOr<Bytes> response);
  // Turns one partition's answer into a frame. An error ends the stream.
  absl::Status TakePartition(const PartitionName& name, Offset asked, PartitionRead read,
                             bool* retry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same for plain records: frames of them, as many as may be queued.
  absl::Status SendDecoded(const PartitionName& name, Offset asked, const PartitionRead& read)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // True if the gateway may hold more bytes of this connection; otherwise Pump() runs when it may.
  bool HasBudget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MaybeSendProgress(const PartitionName& name, const PartitionRead& read)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CancelReads() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void SendControl(const v1::ConsumeResponse& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Enqueue(Frame frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const GatewayParts* const parts_;
  const CallBudget budget_;
  std::shared_ptr<ConsumeStream> self_;  // Released by OnDone.
  grpc::ByteBuffer incoming_;
  Frame outgoing_;

  Mutex mu_;
  bool opened_ ABSL_GUARDED_BY(mu_) = false;
  bool streaming_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool pump_due_ ABSL_GUARDED_BY(mu_) = false;
  bool budget_wait_ ABSL_GUARDED_BY(mu_) = false;
  bool resolving_ ABSL_GUARDED_BY(mu_) = false;      // Offsets of open or a seek are looked up.
  bool read_withheld_ ABSL_GUARDED_BY(mu_) = false;  // Meanwhile.
  v1::RecordFormat format_ ABSL_GUARDED_BY(mu_) = v1::RECORD_FORMAT_RECORDS;
  ConsumePositions positions_ ABSL_GUARDED_BY(mu_);
  std::map<PartitionName, MonotonicTime> last_progress_ ABSL_GUARDED_BY(mu_);
  uint64_t next_read_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, NodeRead> reads_ ABSL_GUARDED_BY(mu_);  // Under way, by their ids.
  std::deque<Frame> queue_ ABSL_GUARDED_BY(mu_);
  int64_t queue_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CONSUME_STREAM_H_
