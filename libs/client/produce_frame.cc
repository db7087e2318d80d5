#include "libs/client/produce_frame.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/string_view.h"
#include "google/protobuf/io/coded_stream.h"

#include "libs/base/status.h"
#include "libs/rpc/byte_buffer.h"

namespace falaj::client {
namespace {

using google::protobuf::io::CodedOutputStream;

// Tags of StreamProduceRequest.batch and of ProduceBatch's fields: field number << 3 | wire type.
constexpr uint32_t kBatchFrameTag = 3 << 3 | 2;
constexpr uint32_t kBatchIdTag = 1 << 3 | 0;
constexpr uint32_t kPartitionTag = 2 << 3 | 0;
constexpr uint32_t kBatchTag = 15 << 3 | 2;
constexpr size_t kHeaderBytesMax = 64;

record::Codec ToCodec(v1::Compression compression) {
  switch (compression) {
    case v1::COMPRESSION_LZ4:
      return record::Codec::kLz4;
    case v1::COMPRESSION_ZSTD:
      return record::Codec::kZstd;
    default:
      return record::Codec::kNone;
  }
}

}  // namespace

absl::StatusOr<Bytes> EncodeBatch(record::BatchBuilder* builder, v1::Compression compression,
                                  const record::ProducerStamp& stamp) {
  record::BatchBuilder::BuildOptions options;
  options.codec = ToCodec(compression);
  options.producer_id = stamp.producer;
  options.producer_epoch = stamp.epoch;
  options.base_sequence = stamp.base_sequence;
  return builder->Build(options);
}

grpc::ByteBuffer MakeBatchFrame(uint64_t batch_id, PartitionIndex partition, const Bytes& batch) {
  std::array<uint8_t, kHeaderBytesMax> body;
  uint8_t* end = body.data();
  end = CodedOutputStream::WriteTagToArray(kBatchIdTag, end);
  end = CodedOutputStream::WriteVarint64ToArray(batch_id, end);
  end = CodedOutputStream::WriteTagToArray(kPartitionTag, end);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(partition.value()), end);
  end = CodedOutputStream::WriteTagToArray(kBatchTag, end);
  end = CodedOutputStream::WriteVarint64ToArray(batch.size(), end);
  const auto body_size = static_cast<size_t>(end - body.data());

  std::array<uint8_t, kHeaderBytesMax> frame;
  uint8_t* at = CodedOutputStream::WriteTagToArray(kBatchFrameTag, frame.data());
  at = CodedOutputStream::WriteVarint64ToArray(body_size + batch.size(), at);
  at = std::copy(body.data(), end, at);
  const absl::string_view header(reinterpret_cast<const char*>(frame.data()),
                                 static_cast<size_t>(at - frame.data()));
  return rpc::ToByteBuffer(header, batch);
}

}  // namespace falaj::client
