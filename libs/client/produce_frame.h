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

// Batches share a frame up to this size: more would save little, and delay the first.
inline constexpr size_t kFrameBytesMax = 256 << 10;

// Whether a frame with `bytes` to send has no room for another full batch.
constexpr bool FrameIsFull(size_t bytes, size_t batch_bytes) {
  return bytes + batch_bytes > kFrameBytesMax;
}

// When a frame may leave whose first batch was begun at `first_created`: at once when it is full;
// else, while others are on their way, batches gather as long as records do, and no longer than a
// linger, if one is set.
MonotonicTime FrameAt(const PartitionQueue::Traffic& traffic, absl::Duration linger,
                      MonotonicTime first_created, bool full);

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
