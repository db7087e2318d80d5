// Plain records on their way in: which partition each goes to, the encoded batches they make, and
// one answer gathered from the answers of all those batches. Shared by Produce and StreamProduce.
#ifndef SERVICES_GATEWAY_RECORD_APPEND_H_
#define SERVICES_GATEWAY_RECORD_APPEND_H_

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/storage_service.pb.h"
#include "falaj/v1/producer_service.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "libs/record/partitioner.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {

// One batch made of some of a request's records.
struct EncodedBatch {
  PartitionIndex partition;
  Bytes batch;
  std::vector<int> records;  // Indexes into the request, in batch order.
};

// Encodes records into batches of at most the topic's size, in order within each partition.
// `partition` overrides the choice by key. Errors: INVALID_REQUEST (no records, empty header key,
// timestamp out of range), PARTITION_NOT_FOUND, RECORD_TOO_LARGE naming the record; nothing is
// encoded then.
absl::StatusOr<std::vector<EncodedBatch>> EncodeRecords(
    const google::protobuf::RepeatedPtrField<v1::Record>& records, std::optional<int32_t> partition,
    const cluster::TopicInfo& topic, record::StickyPartitioner* sticky, int64_t now_ms);

// Where records without a key may go: partitions with a leader, or all if none has one.
std::vector<PartitionIndex> LedPartitions(const cluster::TopicInfo& topic);

// The outcome a client sees with ACKS_NONE: nothing is known.
internal::v1::AppendOutcome UnknownOutcome();

// Turns a storage node's answer, or the error that took its place, into what the client sees.
v1::PartitionAppend ToPartitionAppend(PartitionIndex partition,
                                      const absl::StatusOr<internal::v1::AppendOutcome>& outcome);

// AppendGather waits for the answers to all batches of one request and then calls `done` once.
// Threads: Complete() from any thread, once for each batch.
class AppendGather {
 public:
  struct Result {
    std::vector<v1::PartitionAppend> appends;
    std::vector<v1::RecordPosition> positions;  // One a record.
    // OK if every batch was appended. What leaves open whether one was comes before what does not.
    absl::Status error;
    bool any_appended = false;
  };
  using Done = std::function<void(Result)>;

  AppendGather(const std::vector<EncodedBatch>& batches, int record_count, Done done);

  void Complete(size_t batch, const absl::StatusOr<internal::v1::AppendOutcome>& outcome);

 private:
  Mutex mu_;
  std::vector<std::vector<int>> records_ ABSL_GUARDED_BY(mu_);  // By batch.
  std::vector<PartitionIndex> partitions_ ABSL_GUARDED_BY(mu_);
  size_t left_ ABSL_GUARDED_BY(mu_);
  Result result_ ABSL_GUARDED_BY(mu_);
  Done done_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_RECORD_APPEND_H_
