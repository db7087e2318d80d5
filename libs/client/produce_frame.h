// The frames a producer sends, built without copying the batch.
#ifndef LIBS_CLIENT_PRODUCE_FRAME_H_
#define LIBS_CLIENT_PRODUCE_FRAME_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/v1/record.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/client/partition_queue.h"
#include "libs/record/batch_builder.h"
#include "libs/record/producer_stamp.h"

namespace falaj::client {

// The encoded batch; the builder is empty afterwards. Unspecified means not compressed.
absl::StatusOr<Bytes> EncodeBatch(record::BatchBuilder* builder, v1::Compression compression,
                                  const record::ProducerStamp& stamp = {});

// With so much to send a frame does not wait for more: one more batch of the usual size fills it.
inline constexpr size_t kFrameWorthBytes = 240 << 10;

// When a frame may leave whose first batch was begun at `first_created`, with `bytes` to send in
// all: while others are on their way batches gather as long as records do, and no longer than a
// linger, if one is set.
MonotonicTime FrameAt(const PartitionQueue::Traffic& traffic, absl::Duration linger,
                      MonotonicTime first_created, size_t bytes);

// ProduceFrame gathers the batches of one StreamProduceRequest and becomes, byte for byte, what
// protobuf would write: some 20 bytes for each batch and then the batch itself, shared. One batch
// makes a batch frame, which every gateway knows; several a batches frame.
class ProduceFrame {
 public:
  void Add(uint64_t batch_id, PartitionIndex partition, const Bytes& batch);

  bool empty() const { return entries_.empty(); }
  size_t batches() const { return entries_.size(); }
  size_t size_bytes() const { return size_bytes_; }

  // Requires: !empty(). The frame is empty afterwards.
  grpc::ByteBuffer Take();

 private:
  struct Entry {
    std::string fields;  // Of the ProduceBatch, up to the batch itself.
    Bytes batch;
  };

  std::vector<Entry> entries_;
  size_t size_bytes_ = 0;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_PRODUCE_FRAME_H_
