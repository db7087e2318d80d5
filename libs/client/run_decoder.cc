#include "libs/client/run_decoder.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::client {
namespace {

// Field numbers of ConsumeResponse and PartitionRecords, see proto/falaj/v1/consumer_service.proto.
constexpr int kOpened = 1;
constexpr int kRecords = 3;
constexpr int kTopic = 1;
constexpr int kPartition = 2;
constexpr int kHighWatermark = 3;
constexpr int kLogStartOffset = 4;
constexpr int kNextOffset = 5;
constexpr int kSizeBytes = 6;
constexpr int kError = 7;
constexpr int kBatches = 15;

absl::Status Malformed() {
  return MakeError(Reason::kInternal, "the gateway sent a frame that is not a ConsumeResponse");
}

absl::Status ParseRecords(const Bytes& message, RecordsFrame* frame) {
  rpc::WireReader reader(message);
  while (reader.Next()) {
    switch (reader.field()) {
      case kTopic:
        frame->topic = reader.bytes().ToString();
        break;
      case kPartition:
        frame->partition = PartitionIndex(static_cast<int32_t>(reader.varint()));
        break;
      case kHighWatermark:
        frame->high_watermark = Offset(static_cast<int64_t>(reader.varint()));
        break;
      case kLogStartOffset:
        frame->log_start_offset = Offset(static_cast<int64_t>(reader.varint()));
        break;
      case kNextOffset:
        frame->next_offset = Offset(static_cast<int64_t>(reader.varint()));
        break;
      case kSizeBytes:
        frame->size_bytes = static_cast<int64_t>(reader.varint());
        break;
      case kError: {
        v1::Error error;
        if (!error.ParseFromString(reader.bytes().ToString())) return Malformed();
        frame->error = rpc::FromProto(error);
        break;
      }
      case kBatches:
        frame->batches = reader.bytes();
        break;
      default:
        break;  // A field of a newer gateway.
    }
  }
  return reader.ok() ? absl::OkStatus() : Malformed();
}

}  // namespace

absl::StatusOr<ConsumeFrame> ParseConsumeFrame(const Bytes& message) {
  ConsumeFrame frame;
  rpc::WireReader reader(message);
  while (reader.Next()) {
    if (reader.field() == kOpened) {
      frame.opened.emplace();
      if (!frame.opened->ParseFromString(reader.bytes().ToString())) return Malformed();
    } else if (reader.field() == kRecords) {
      frame.records.emplace();
      FALAJ_RETURN_IF_ERROR(ParseRecords(reader.bytes(), &*frame.records));
    }
  }
  if (!reader.ok()) return Malformed();
  return frame;
}

Offset RunDecoder::FirstOffset(const RecordsFrame& frame) {
  const absl::StatusOr<record::BatchHeader> header = record::ParseBatchHeader(frame.batches);
  return header.ok() ? header->base_offset : frame.next_offset;
}

absl::StatusOr<RecordRun> RunDecoder::Decode(RecordsFrame frame, Offset from) {
  RecordRun run;
  run.topic_ = std::move(frame.topic);
  run.partition_ = frame.partition;
  run.next_offset_ = std::max(from, frame.next_offset);
  run.high_watermark_ = frame.high_watermark;
  run.log_start_offset_ = frame.log_start_offset;
  run.size_bytes_ = frame.size_bytes;
  record::BatchIterator batches(std::move(frame.batches));
  while (true) {
    FALAJ_ASSIGN_OR_RETURN(const std::optional<Bytes> batch, batches.Next());
    if (!batch.has_value()) break;
    const record::BatchHeader& header = batches.header();
    if (header.next_offset() <= from) continue;
    run.last_epoch_ = header.leader_epoch;
    if (header.control()) continue;
    FALAJ_RETURN_IF_ERROR(record::VerifyStoredBatch(*batch).status());
    FALAJ_ASSIGN_OR_RETURN(record::BatchReader reader,
                           record::BatchReader::Open(*batch, record::Limits()));
    run.records_.reserve(run.records_.size() + static_cast<size_t>(header.record_count));
    record::RecordView record;
    while (reader.Next(&record)) {
      if (record.offset >= from) run.records_.push_back(record);
    }
    FALAJ_RETURN_IF_ERROR(reader.status());
    run.owners_.push_back(reader.records());
  }
  return run;
}

}  // namespace falaj::client
