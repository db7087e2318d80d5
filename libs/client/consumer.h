// Consumer reads partitions it is told to, in offset order, through one Consume stream.
//
//   auto consumer = Consumer::Create({.address = "localhost:7400"}, {{"orders",
//   PartitionIndex(0)}}); while (true) {
//     auto run = (*consumer)->Poll(absl::Seconds(1));
//     for (const record::RecordView& record : run->records()) ...
//   }
//
// The gateway sends encoded batches ahead, within credit_bytes; Poll() checks their CRC and decodes
// them on the caller's thread, and grants the credit back as it hands records out. So a consumer
// that does not poll stops the flow and costs nothing but its credit.
//
// A position is the offset of the next record Poll() will return. Poll() returns each offset once
// and in order: after a reconnect it resumes at the positions, records below them are skipped.
//
// Threads: one thread polls; Seek, Pause, Resume and Position may be called from any thread,
// Close() too (it makes a blocked Poll() return CANCELLED).
//
// Records that were read and then lost (a topic that allows unclean elections) are noticed: the
// consumer tells the gateway the leader epoch of what it read last, over reconnects too. Where the
// logs part it fails with OFFSET_OUT_OF_RANGE and diverging_offset, or, with a reset policy, goes
// on from there.
//
// Failures: a lost connection is made again inside Poll(), with backoff. What concerns one
// partition (OFFSET_OUT_OF_RANGE without a reset policy, CORRUPT_RECORD, TOPIC_NOT_FOUND) fails one
// Poll(), with "topic" and "partition" in the error's metadata; that partition then rests until
// Seek(), the others go on.
#ifndef LIBS_CLIENT_CONSUMER_H_
#define LIBS_CLIENT_CONSUMER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/v1/record.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/client/options.h"
#include "libs/record/record.h"

namespace falaj::client {

// ConsumerPosition is a partition and where to begin in it.
struct ConsumerPosition {
  std::string topic;
  PartitionIndex partition;
  v1::OffsetTarget start;  // Not set: the first record still kept.
};

// OffsetTarget in its three forms.
v1::OffsetTarget AtOffset(Offset offset);
v1::OffsetTarget AtTime(absl::Time time);
v1::OffsetTarget AtStart();
v1::OffsetTarget AtEnd();

// RecordRun is a run of records of one partition, and the memory they live in. The views are valid
// as long as the run, or what it was moved to.
class RecordRun {
 public:
  RecordRun() = default;
  RecordRun(RecordRun&&) = default;
  RecordRun& operator=(RecordRun&&) = default;

  bool empty() const { return records_.empty(); }
  const std::string& topic() const { return topic_; }
  PartitionIndex partition() const { return partition_; }
  Offset next_offset() const { return next_offset_; }  // After the last record.
  // Of the record before next_offset(), control records count too; -1: not known.
  LeaderEpoch last_epoch() const { return last_epoch_; }
  Offset high_watermark() const { return high_watermark_; }
  Offset log_start_offset() const { return log_start_offset_; }
  int64_t size_bytes() const { return size_bytes_; }  // Encoded.
  const std::vector<record::RecordView>& records() const { return records_; }

 private:
  friend class Consumer;
  friend class RunDecoder;
  std::string topic_;
  PartitionIndex partition_;
  Offset next_offset_;
  LeaderEpoch last_epoch_{-1};
  Offset high_watermark_;
  Offset log_start_offset_;
  int64_t size_bytes_ = 0;
  std::vector<Bytes> owners_;
  std::vector<record::RecordView> records_;
};

class Consumer {
 public:
  // Connects lazily, in the first Poll(). INVALID_REQUEST if no partition, or one twice, is named.
  static absl::StatusOr<std::unique_ptr<Consumer>> Create(
      const ConsumerOptions& options, const std::vector<ConsumerPosition>& positions);
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // Returns the records that came next for some partition; an empty run if none came in time.
  absl::StatusOr<RecordRun> Poll(absl::Duration timeout);

  // PARTITION_NOT_FOUND if the partition is not among those of Create().
  absl::Status Seek(absl::string_view topic, PartitionIndex partition,
                    const v1::OffsetTarget& target);
  absl::Status Pause(absl::string_view topic, PartitionIndex partition);
  absl::Status Resume(absl::string_view topic, PartitionIndex partition);
  // -1 while it is not known: before the first Poll() of a partition that begins at a time or a
  // name.
  absl::StatusOr<Offset> Position(absl::string_view topic, PartitionIndex partition) const;

  void Close();

 private:
  class Impl;
  explicit Consumer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_CONSUMER_H_
