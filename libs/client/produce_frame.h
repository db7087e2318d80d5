// The frames a producer sends, built without copying the batch.
#ifndef LIBS_CLIENT_PRODUCE_FRAME_H_
#define LIBS_CLIENT_PRODUCE_FRAME_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>

#include "absl/status/statusor.h"

#include "falaj/v1/record.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/record/batch_builder.h"
#include "libs/record/producer_stamp.h"

namespace falaj::client {

// The encoded batch; the builder is empty afterwards. Unspecified means not compressed.
absl::StatusOr<Bytes> EncodeBatch(record::BatchBuilder* builder, v1::Compression compression,
                                  const record::ProducerStamp& stamp = {});

// StreamProduceRequest{batch{batch_id, partition, batch}}, byte for byte what protobuf would write:
// a header of some 20 bytes and then the batch itself, shared.
grpc::ByteBuffer MakeBatchFrame(uint64_t batch_id, PartitionIndex partition, const Bytes& batch);

}  // namespace falaj::client

#endif  // LIBS_CLIENT_PRODUCE_FRAME_H_
