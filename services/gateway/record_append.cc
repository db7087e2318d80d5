#include "services/gateway/record_append.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "libs/record/batch_builder.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

using google::protobuf::util::TimeUtil;

record::Codec CodecOf(const internal::v1::TopicSettings& settings) {
  switch (settings.compression()) {
    case v1::COMPRESSION_LZ4:
      return record::Codec::kLz4;
    case v1::COMPRESSION_ZSTD:
      return record::Codec::kZstd;
    default:
      return record::Codec::kNone;
  }
}

// The records of one partition on their way into batches of at most the topic's size.
class PartitionBatches {
 public:
  PartitionBatches(PartitionIndex partition, const internal::v1::TopicSettings& settings)
      : partition_(partition),
        limit_(static_cast<size_t>(settings.batch_bytes_max())),
        codec_(CodecOf(settings)) {}

  absl::Status Add(const record::Record& record, int index, std::vector<EncodedBatch>* full) {
    const size_t bound = record::BatchBuilder::RecordSizeBound(record);
    if (!builder_.empty() && builder_.size_bytes() + bound > limit_)
      FALAJ_RETURN_IF_ERROR(Flush(full));
    if (const size_t size = builder_.size_bytes() + bound; size > limit_) {
      return MakeError(Reason::kRecordTooLarge,
                       absl::StrCat("record ", index, " makes a batch of ", size,
                                    " bytes, the topic takes at most ", limit_),
                       {{"field", absl::StrCat("records[", index, "]")},
                        {"size_bytes", absl::StrCat(size)},
                        {"limit_bytes", absl::StrCat(limit_)}});
    }
    builder_.Add(record);
    records_.push_back(index);
    return absl::OkStatus();
  }

  absl::Status Flush(std::vector<EncodedBatch>* full) {
    if (builder_.empty()) return absl::OkStatus();
    record::BatchBuilder::BuildOptions options;
    options.codec = codec_;
    FALAJ_ASSIGN_OR_RETURN(Bytes batch, builder_.Build(options));
    full->push_back({partition_, std::move(batch), std::exchange(records_, {})});
    return absl::OkStatus();
  }

 private:
  const PartitionIndex partition_;
  const size_t limit_;
  const record::Codec codec_;
  record::BatchBuilder builder_;
  std::vector<int> records_;
};

absl::StatusOr<record::Record> ToRecord(const v1::Record& message, int index, int64_t now_ms) {
  record::Record record;
  if (message.has_key()) record.key = message.key();
  if (message.has_value()) record.value = message.value();
  record.timestamp_ms =
      message.has_timestamp() ? TimeUtil::TimestampToMilliseconds(message.timestamp()) : now_ms;
  if (record.timestamp_ms < 0) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("the timestamp of record ", index, " lies before 1970"),
                     {{"field", absl::StrCat("records[", index, "].timestamp")}});
  }
  for (const v1::Header& header : message.headers()) {
    if (header.key().empty()) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("record ", index, " has a header without a key"),
                       {{"field", absl::StrCat("records[", index, "].headers.key")}});
    }
    record.headers.push_back({header.key(), header.has_value()
                                                ? std::optional<std::string>(header.value())
                                                : std::nullopt});
  }
  return record;
}

}  // namespace

absl::StatusOr<std::vector<EncodedBatch>> EncodeRecords(
    const google::protobuf::RepeatedPtrField<v1::Record>& records, std::optional<int32_t> partition,
    const cluster::TopicInfo& topic, record::StickyPartitioner* sticky, int64_t now_ms) {
  if (records.empty()) {
    return MakeError(Reason::kInvalidRequest, "there are no records", {{"field", "records"}});
  }
  if (partition.has_value()) {
    FALAJ_RETURN_IF_ERROR(CheckPartition(topic, PartitionIndex(*partition)));
  }
  const auto partition_count = static_cast<int32_t>(topic.partitions.size());
  std::map<PartitionIndex, PartitionBatches> by_partition;
  std::vector<EncodedBatch> batches;
  for (int i = 0; i < records.size(); ++i) {
    FALAJ_ASSIGN_OR_RETURN(const record::Record record, ToRecord(records[i], i, now_ms));
    PartitionIndex target(partition.value_or(0));
    if (!partition.has_value() && record.key.has_value()) {
      target = record::PartitionForKey(*record.key, partition_count);
    } else if (!partition.has_value()) {
      target = sticky->current();
      sticky->Appended(static_cast<int64_t>(record::BatchBuilder::RecordSizeBound(record)),
                       i + 1 == records.size());
    }
    const auto place = by_partition.try_emplace(target, target, topic.settings).first;
    FALAJ_RETURN_IF_ERROR(place->second.Add(record, i, &batches));
  }
  for (auto& [index, pending] : by_partition) FALAJ_RETURN_IF_ERROR(pending.Flush(&batches));
  return batches;
}

std::vector<PartitionIndex> LedPartitions(const cluster::TopicInfo& topic) {
  std::vector<PartitionIndex> led;
  std::vector<PartitionIndex> all;
  for (const cluster::PartitionInfo& partition : topic.partitions) {
    all.push_back(partition.index);
    if (partition.leader.value() != 0) led.push_back(partition.index);
  }
  return led.empty() ? all : led;
}

internal::v1::AppendOutcome UnknownOutcome() {
  internal::v1::AppendOutcome outcome;
  outcome.set_base_offset(-1);
  return outcome;
}

v1::PartitionAppend ToPartitionAppend(PartitionIndex partition,
                                      const absl::StatusOr<internal::v1::AppendOutcome>& outcome) {
  v1::PartitionAppend append;
  append.set_partition(partition.value());
  append.set_base_offset(-1);
  if (!outcome.ok()) {
    rpc::ToProto(outcome.status(), append.mutable_error());
    return append;
  }
  append.set_base_offset(outcome->base_offset());
  append.set_record_count(outcome->record_count());
  if (outcome->append_time_ms() > 0) {
    *append.mutable_append_time() = TimeUtil::MillisecondsToTimestamp(outcome->append_time_ms());
  }
  append.set_duplicate(outcome->duplicate());
  append.set_in_sync_replicas(outcome->in_sync_replicas());
  append.set_durable(outcome->durable());
  return append;
}

AppendGather::AppendGather(const std::vector<EncodedBatch>& batches, int record_count, Done done)
    : left_(batches.size()), done_(std::move(done)) {
  for (const EncodedBatch& batch : batches) {
    records_.push_back(batch.records);
    partitions_.push_back(batch.partition);
  }
  result_.appends.resize(batches.size());
  result_.positions.resize(static_cast<size_t>(record_count));
}

void AppendGather::Complete(size_t batch,
                            const absl::StatusOr<internal::v1::AppendOutcome>& outcome) {
  Done done;
  Result result;
  {
    MutexLock lock(&mu_);
    const PartitionIndex partition = partitions_[batch];
    result_.appends[batch] = ToPartitionAppend(partition, outcome);
    const int64_t base = outcome.ok() ? outcome->base_offset() : -1;
    int64_t offset = base;
    for (const int index : records_[batch]) {
      v1::RecordPosition& position = result_.positions[static_cast<size_t>(index)];
      position.set_partition(partition.value());
      position.set_offset(base < 0 ? -1 : offset++);
    }
    if (outcome.ok()) {
      result_.any_appended = true;
    } else if (result_.error.ok() ||
               (IsDefinite(ReasonOf(result_.error)) && !IsDefinite(ReasonOf(outcome.status())))) {
      result_.error = outcome.status();
    }
    if (--left_ > 0) return;
    done = std::move(done_);
    result = std::move(result_);
  }
  done(std::move(result));
}

}  // namespace falaj::gateway
