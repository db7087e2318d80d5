// ProduceStream is one client's StreamProduce call: frames in, acks out.
//
//   waiting for open ── open ──▶ streaming ── half-close ──▶ draining ── last ack written ──▶
//   finished
//                                    └── frame that breaks the protocol ──▶ finished with
//                                    INVALID_REQUEST
//
// A frame of batches is taken apart by hand (a dozen bytes of tags each) and their payload goes on
// as the slices it came in; records frames are parsed and encoded. Batches of a partition go
// through one PartitionAppender, which keeps their order. Acks that become ready in one turn of a
// thread (libs/base/turn.h), or while a frame is being written, leave together, where the client
// knows such frames.
//
// Memory: the stream stops reading while its own batches or bytes in flight, or the bytes of its
// connection or of the whole gateway, are at their limit: they are over it by one frame at most. At
// most one write is outstanding; acks that wait for a client to read them are bounded as batches in
// flight are, and their bytes count until they are written.
//
// Threads: gRPC's and the links'; mu_ guards everything. The stream keeps itself alive until gRPC
// is done with it and the last answer has come.
#ifndef SERVICES_GATEWAY_PRODUCE_STREAM_H_
#define SERVICES_GATEWAY_PRODUCE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "falaj/v1/producer_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "libs/record/partitioner.h"
#include "libs/rpc/open_calls.h"
#include "services/gateway/gateway_parts.h"
#include "services/gateway/partition_appender.h"
#include "services/gateway/record_append.h"

namespace falaj::gateway {

class ProduceStream : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                      public rpc::StoppableCall,
                      public std::enable_shared_from_this<ProduceStream> {
 public:
  // Begins reading. gRPC owns the reactor through itself.
  static ProduceStream* Start(const GatewayParts* parts, const std::string& peer);

 private:
  ProduceStream(const GatewayParts* parts, const std::string& peer);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // Takes no more frames; ends when those it has taken are acked.
  void Stop() override;

  // A ProduceBatch taken apart without touching its payload.
  struct BatchFrame {
    uint64_t batch_id = 0;
    PartitionIndex partition;
    Bytes batch;
    int64_t size_bytes = 0;  // Of the whole.
  };
  // What a frame carries: encoded batches, or something else.
  struct Frame {
    std::vector<BatchFrame> batches;
    v1::StreamProduceRequest other;
    int64_t size_bytes = 0;
  };

  static absl::StatusOr<BatchFrame> ParseBatch(const Bytes& message);
  // INVALID_REQUEST if the frame is malformed, or none that may come now.
  absl::StatusOr<Frame> ParseFrame(const Bytes& message) const;
  // True if the topic or a partition it names is not in the route table.
  bool NamesMissing(const Frame& frame);
  // OK, or PARTITION_NOT_FOUND, by the newest that the route table has.
  absl::Status FindPartition(PartitionIndex partition);
  // Takes the frame and reads on, or ends the stream. `confirmed`: whether what is missing in the
  // route table does not exist.
  void TakeAndReadOn(const absl::StatusOr<Frame>& frame, const absl::Status& confirmed);
  // Each takes one frame; an error ends the stream.
  absl::Status TakeFrame(const Frame& frame, const absl::Status& confirmed);
  absl::Status TakeOpen(const v1::OpenProduceStream& open, const absl::Status& confirmed);
  void TakeBatch(const BatchFrame& frame, const absl::Status& confirmed);
  void TakeRecords(const v1::ProduceRecords& frame, int64_t size_bytes,
                   const absl::Status& confirmed);

  std::shared_ptr<PartitionAppender> AppenderOf(PartitionIndex partition);
  // What numbers plain records; null if nothing does.
  std::shared_ptr<ProducerLane> Lane();
  // Counts a frame of so many bytes in, and out again with its ack.
  void Enter(int64_t size_bytes);
  void Leave(int64_t size_bytes, const v1::BatchAck& ack);
  // Blind batches are acked before they leave: their bytes count until they have been sent.
  void Leave(int64_t size_bytes);
  // The ack leaves at the end of this thread's turn, with those that come meanwhile.
  void SendAck(const v1::BatchAck& ack);
  // True: the caller is to see to its being written.
  bool QueueAck(const v1::BatchAck& ack);

  void ReadNext();
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishWhenDrained() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const GatewayParts* const parts_;
  const CallBudget budget_;
  std::shared_ptr<ProduceStream> self_;  // Released by OnDone.
  grpc::ByteBuffer incoming_;            // Belongs to the read under way.
  grpc::ByteBuffer outgoing_;            // Belongs to the write under way.

  // Touched by reads only, one at a time.
  TopicPtr topic_;  // Set by the open frame, renewed when a frame names a partition beyond it.
  v1::Acks acks_ = v1::ACKS_UNSPECIFIED;
  record::StickyPartitioner sticky_;
  absl::flat_hash_map<PartitionIndex, std::shared_ptr<PartitionAppender>> appenders_;
  std::shared_ptr<ProducerLane> lane_;  // Taken with the first plain records.

  Mutex mu_;
  int batches_in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t bytes_in_flight_ ABSL_GUARDED_BY(mu_) = 0;
  bool read_withheld_ ABSL_GUARDED_BY(mu_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mu_) = false;
  bool taking_ ABSL_GUARDED_BY(mu_) = false;  // A frame has come and is not in flight yet.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool combine_acks_ ABSL_GUARDED_BY(mu_) = false;  // As the open frame has it.
  struct FrameOut {
    v1::StreamProduceResponse frame;
    int acks = 0;
    int64_t size_bytes = 0;  // Of the acks, as counted in the budget.
  };
  std::deque<FrameOut> frames_out_ ABSL_GUARDED_BY(mu_);
  // Of the write under way.
  int writing_acks_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t writing_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // Of that and of frames_out_. After the end OnDone() gives the rest back.
  int unread_acks_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t unread_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_PRODUCE_STREAM_H_
