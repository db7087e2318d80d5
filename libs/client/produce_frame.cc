#include "libs/client/produce_frame.h"

#include <algorithm>
#include <string>
#include <utility>

#include "falaj/v1/producer_service.pb.h"

#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/wire.h"

namespace falaj::client {
namespace {

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

MonotonicTime FrameAt(const PartitionQueue::Traffic& traffic, absl::Duration linger,
                      MonotonicTime first_created, bool full) {
  if (traffic.quiet || traffic.flushing || full) return first_created;
  const absl::Duration most = PartitionQueue::kGatherMax;
  return first_created + (linger > absl::ZeroDuration() ? std::min(linger, most) : most);
}

void ProduceFrame::Add(uint64_t batch_id, PartitionIndex partition, const Bytes& batch) {
  std::string fields;
  rpc::WireWriter writer(&fields);
  writer.AppendVarint(v1::ProduceBatch::kBatchIdFieldNumber, batch_id);
  writer.AppendVarint(v1::ProduceBatch::kPartitionFieldNumber,
                      static_cast<uint32_t>(partition.value()));
  writer.AppendBytesHeader(v1::ProduceBatch::kBatchFieldNumber, batch.size());
  size_bytes_ += fields.size() + batch.size();
  entries_.push_back({std::move(fields), batch});
}

grpc::ByteBuffer ProduceFrame::Take() {
  const std::vector<Entry> entries = std::exchange(entries_, {});
  size_bytes_ = 0;
  std::vector<Bytes> parts;
  parts.reserve(1 + 2 * entries.size());
  size_t list_bytes = 0;
  for (const Entry& entry : entries) {
    const size_t entry_bytes = entry.fields.size() + entry.batch.size();
    std::string header;
    int field = v1::ProduceBatches::kBatchesFieldNumber;
    if (entries.size() == 1) field = v1::StreamProduceRequest::kBatchFieldNumber;
    rpc::WireWriter(&header).AppendBytesHeader(field, entry_bytes);
    list_bytes += header.size() + entry_bytes;
    parts.push_back(Bytes::Own(header + entry.fields));
    parts.push_back(entry.batch);
  }
  if (entries.size() == 1) return rpc::ToByteBuffer(parts);
  std::string header;
  rpc::WireWriter(&header).AppendBytesHeader(v1::StreamProduceRequest::kBatchesFieldNumber,
                                             list_bytes);
  parts.insert(parts.begin(), Bytes::Own(std::move(header)));
  return rpc::ToByteBuffer(parts);
}

}  // namespace falaj::client
