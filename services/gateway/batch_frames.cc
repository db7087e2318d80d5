#include "services/gateway/batch_frames.h"

#include <utility>

#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {
namespace {

// Field numbers of ReadResponse, PartitionBatches (storage_service.proto) and PartitionRecords
// (record.proto).
constexpr int kPartitions = 1;
constexpr int kHighWatermark = 1;
constexpr int kLogStart = 2;
constexpr int kNextOffset = 3;
constexpr int kError = 4;
constexpr int kLastEpoch = 5;
constexpr int kBatches = 15;

absl::Status Malformed() {
  return MakeError(Reason::kInternal, "a storage node gave a malformed answer");
}

absl::StatusOr<PartitionRead> ParsePartition(const Bytes& message) {
  PartitionRead read;
  rpc::WireReader reader(message);
  while (reader.Next()) {
    switch (reader.field()) {
      case kHighWatermark:
        read.high_watermark = Offset(static_cast<int64_t>(reader.varint()));
        break;
      case kLogStart:
        read.log_start = Offset(static_cast<int64_t>(reader.varint()));
        break;
      case kNextOffset:
        read.next_offset = Offset(static_cast<int64_t>(reader.varint()));
        break;
      case kError: {
        v1::Error error;
        if (!rpc::ParseProto(reader.bytes(), &error)) return Malformed();
        read.error = ErrorOfNode(error);
        break;
      }
      case kLastEpoch:
        read.last_epoch = LeaderEpoch(static_cast<int32_t>(reader.varint()));
        break;
      case kBatches:
        read.batches = reader.bytes();
        break;
      default:
        break;
    }
  }
  if (!reader.ok()) return Malformed();
  return read;
}

void AddRecord(const record::RecordView& view, v1::PartitionRecords* out) {
  v1::Record* record = out->add_records();
  record->set_offset(view.offset.value());
  if (view.key.has_value()) record->set_key(view.key->data(), view.key->size());
  if (view.value.has_value()) record->set_value(view.value->data(), view.value->size());
  *record->mutable_timestamp() =
      google::protobuf::util::TimeUtil::MillisecondsToTimestamp(view.timestamp_ms);
  for (const record::HeaderView& item : view.headers()) {
    v1::Header* added = record->add_headers();
    added->set_key(item.key.data(), item.key.size());
    if (item.value.has_value()) added->set_value(item.value->data(), item.value->size());
  }
}

// RunBuilder puts decoded records into messages of a bounded size.
class RunBuilder {
 public:
  RunBuilder(const v1::PartitionRecords& description, Offset asked, const RunLimits& limits)
      : description_(description), limits_(limits), next_(asked) {
    Open();
  }

  bool full() const { return full_; }
  // The batch that the next records are of. It counts where the first one goes.
  void AddBatch(size_t size_bytes, LeaderEpoch epoch) {
    CountBatch();
    batch_bytes_ = static_cast<int64_t>(size_bytes);
    batch_epoch_ = epoch;
  }
  void Add(const record::RecordView& view) {
    if (full_) return;
    const size_t bound = SizeBound(view);
    const bool may_overshoot = run_bytes_ == 0 && limits_.first_comes_whole;
    if (run_bytes_ + bound > limits_.run_bytes_max && !may_overshoot) {
      full_ = runs_.size() == limits_.runs_max || run_bytes_ == 0;
      if (full_) return;
      Open();
    }
    CountBatch();
    run_bytes_ += bound;
    AddRecord(view, &runs_.back());
    next_ = view.offset + 1;
    runs_.back().set_next_offset(next_.value());
    SetEpoch();
  }
  // All batches have been added, and if there was room for them the last run reaches as far.
  std::vector<v1::PartitionRecords> Take() {
    if (!full_) {
      CountBatch();
      runs_.back().set_next_offset(description_.next_offset());
      SetEpoch();
    }
    return std::move(runs_);
  }

 private:
  static size_t SizeBound(const record::RecordView& view) {
    constexpr size_t kFieldsMax = 64;  // Tags, lengths, timestamp and offset.
    return kFieldsMax + view.key.value_or("").size() + view.value.value_or("").size() +
           2 * view.headers().encoded().size();
  }
  void Open() {
    runs_.push_back(description_);
    runs_.back().set_size_bytes(0);
    runs_.back().set_next_offset(next_.value());
    runs_.back().clear_last_epoch();
    run_bytes_ = 0;
  }
  // All records of a batch are of its epoch, those before a cut too.
  void SetEpoch() {
    if (batch_epoch_ >= LeaderEpoch(0)) runs_.back().set_last_epoch(batch_epoch_.value());
  }
  void CountBatch() {
    v1::PartitionRecords& run = runs_.back();
    run.set_size_bytes(run.size_bytes() + std::exchange(batch_bytes_, 0));
  }

  const v1::PartitionRecords& description_;
  const RunLimits limits_;
  Offset next_;                             // After the last record added.
  int64_t batch_bytes_ = 0;                 // Of the present batch, until it is counted.
  LeaderEpoch batch_epoch_{-1};             // Of the present batch; -1: there was none.
  std::vector<v1::PartitionRecords> runs_;  // Never empty.
  size_t run_bytes_ = 0;
  bool full_ = false;
};

}  // namespace

absl::StatusOr<std::vector<PartitionRead>> ParseReadResponse(const Bytes& message) {
  std::vector<PartitionRead> reads;
  rpc::WireReader reader(message);
  while (reader.Next()) {
    if (reader.field() != kPartitions) continue;
    FALAJ_ASSIGN_OR_RETURN(PartitionRead read, ParsePartition(reader.bytes()));
    reads.push_back(std::move(read));
  }
  if (!reader.ok()) return Malformed();
  return reads;
}

absl::StatusOr<std::vector<PartitionRead>> ParseReadAnswer(const absl::StatusOr<Bytes>& answer) {
  if (!answer.ok()) return answer.status();
  return ParseReadResponse(*answer);
}

v1::PartitionRecords DescribeRead(absl::string_view topic, PartitionIndex partition, Offset asked,
                                  const PartitionRead& read) {
  v1::PartitionRecords message;
  message.set_topic(std::string(topic));
  message.set_partition(partition.value());
  message.set_high_watermark(read.high_watermark.value());
  message.set_log_start_offset(read.log_start.value());
  message.set_next_offset(std::max(asked, read.next_offset).value());
  message.set_size_bytes(static_cast<int64_t>(read.batches.size()));
  if (read.last_epoch >= LeaderEpoch(0)) message.set_last_epoch(read.last_epoch.value());
  if (!read.error.ok()) {
    message.set_next_offset(asked.value());
    rpc::ToProto(read.error, message.mutable_error());
  }
  return message;
}

absl::Status KeepFirstBatches(int64_t bytes_max, PartitionRead* read) {
  record::BatchIterator iterator(read->batches);
  size_t taken = 0;
  while (true) {
    FALAJ_ASSIGN_OR_RETURN(const std::optional<Bytes> batch, iterator.Next());
    if (!batch.has_value()) break;
    if (taken > 0 && static_cast<int64_t>(taken + batch->size()) > bytes_max) break;
    taken += batch->size();
    read->next_offset = iterator.header().next_offset();
    read->last_epoch = iterator.header().leader_epoch;
  }
  read->batches = read->batches.Subrange(0, taken);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<v1::PartitionRecords>> DecodeRuns(
    const Bytes& batches, Offset asked, const v1::PartitionRecords& description,
    const RunLimits& limits) {
  RunBuilder runs(description, asked, limits);
  record::BatchIterator iterator(batches);
  while (!runs.full()) {
    FALAJ_ASSIGN_OR_RETURN(const std::optional<Bytes> batch, iterator.Next());
    if (!batch.has_value()) break;
    FALAJ_RETURN_IF_ERROR(record::VerifyStoredBatch(*batch).status());
    runs.AddBatch(batch->size(), iterator.header().leader_epoch);
    if (iterator.header().control()) continue;
    const auto add = [&](const record::RecordView& view) {
      if (view.offset >= asked) runs.Add(view);
    };
    FALAJ_RETURN_IF_ERROR(record::ForEachRecord(*batch, record::Limits{}, add));
  }
  return runs.Take();
}

std::string FramePrefix(int field, const v1::PartitionRecords& message, size_t batches_size) {
  std::string body = message.SerializeAsString();
  rpc::WireWriter(&body).AppendBytesHeader(kBatches, batches_size);
  if (field == 0) return body;
  std::string prefix;
  rpc::WireWriter(&prefix).AppendBytesHeader(field, body.size() + batches_size);
  return prefix + body;
}

}  // namespace falaj::gateway
