// Producer appends records to topics through a gateway.
//
//   auto producer = Producer::Create({.address = "localhost:7400"});
//   producer->Send("orders", {.key = "k", .value = "v"}, [](const Delivery& d) { ... });
//   producer->Flush(absl::Seconds(10));
//
// Records gather per partition into encoded batches (libs/record), which travel on one
// StreamProduce stream per topic. A key picks the partition by murmur2; records without a key stick
// to one partition until its batch leaves.
//
// Guarantees: every record accepted by Send() gets exactly one Delivery. Records of one partition
// that were appended are in the order of Send(), whatever was retried.
//
// With acks ALL the producer is idempotent: its batches carry sequences, and whatever their outcome
// they are sent again, through this or another gateway, until delivery_timeout, and appended once.
// An indefinite error (APPEND_UNCERTAIN, TIMED_OUT) is then what is left after that time. It means
// what it says: the records may be in the log. What was sent after them goes on.
//
// Otherwise (options.idempotent, other acks) a batch is sent again only if it certainly was not
// appended (IsDefinite) and nothing of its partition was appended after it; else the error goes to
// the caller, to look before sending again.
//
// Threads: all methods from any thread. Delivery callbacks run on gRPC's threads, on the producer's
// worker thread, or inside Send() and the destructor; they must not block, and must not call the
// blocking Send() or Flush().
//
// Failures: a lost connection is made again with backoff, for as long as a record waits; what
// waits longer than delivery_timeout fails. The destructor flushes nothing: whatever is outstanding
// fails with CANCELLED (indefinite).
#ifndef LIBS_CLIENT_PRODUCER_H_
#define LIBS_CLIENT_PRODUCER_H_

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/client/options.h"
#include "libs/record/record.h"

namespace falaj::client {

// Delivery is what became of one record.
struct Delivery {
  absl::Status status;  // Not OK: see IsDefinite(ReasonOf(status)).
  PartitionIndex partition{-1};
  Offset offset{-1};  // -1 with ACKS_NONE, or if it was not appended, or nobody knows any more.
  bool duplicate = false;  // An earlier attempt had appended it, at this offset.
};
using DeliveryCallback = std::function<void(const Delivery&)>;

// Destination is a topic, and a partition if the caller insists on one.
struct Destination {
  Destination(absl::string_view topic_name) : topic(topic_name) {}   // NOLINT: by intent
  Destination(const std::string& topic_name) : topic(topic_name) {}  // NOLINT: by intent
  Destination(const char* topic_name) : topic(topic_name) {}         // NOLINT: by intent
  Destination(absl::string_view topic_name, PartitionIndex p) : topic(topic_name), partition(p) {}

  absl::string_view topic;
  std::optional<PartitionIndex> partition;
};

class Producer {
 public:
  // Connects lazily: an unreachable gateway shows in Send().
  static absl::StatusOr<std::unique_ptr<Producer>> Create(const ProducerOptions& options);
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Takes the record; `done` is called once, unless Send() fails. Blocks while the topic is being
  // looked up for the first time and while buffer_bytes_max is reached. Returns TOPIC_NOT_FOUND,
  // PARTITION_NOT_FOUND, RECORD_TOO_LARGE, QUOTA_EXCEEDED (refuse_when_full), TIMED_OUT.
  absl::Status Send(const Destination& to, const record::Record& record, DeliveryCallback done);
  // The same with a future in place of the callback.
  std::future<Delivery> Send(const Destination& to, const record::Record& record);
  // The number of partitions of a topic, as the gateway told when the stream was opened. Blocks
  // like Send().
  absl::StatusOr<int32_t> PartitionCount(absl::string_view topic);

  // Sends what is waiting, regardless of linger, and blocks until every record sent before has its
  // Delivery. TIMED_OUT if that takes longer.
  absl::Status Flush(absl::Duration timeout);
  // Bytes of records without a Delivery.
  int64_t BufferedBytes() const;

 private:
  class Impl;
  explicit Producer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_PRODUCER_H_
