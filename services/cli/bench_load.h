// BenchLoad drives producers and consumers against one topic and measures them.
//
// Each producer sends a record ahead, which opens its way and is not measured; all start when each
// has its answer. Producing is an open loop unless asked otherwise: the n-th record behind it, from
// 0, is due at start + n / rate, whatever became of those before it, and latency counts from when
// it was due (no coordinated omission). Rate 0 sends as fast as the producers' buffers take
// records, which finds the highest throughput.
//
// Threads: Produce() and Consume() may run at the same time, each from one thread; inside, one
// thread for each producer and consumer.
#ifndef SERVICES_CLI_BENCH_LOAD_H_
#define SERVICES_CLI_BENCH_LOAD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "falaj/v1/record.pb.h"

#include "libs/client/options.h"
#include "services/cli/histogram.h"
#include "services/cli/sequence_check.h"

namespace falaj::cli {

// A record of --input.
struct InputRecord {
  std::optional<std::string> key;
  std::string value;
};

struct LoadOptions {
  std::string topic;
  int partitions = 1;
  int producers = 1;
  int consumers = 1;
  double rate = 0;          // Of all producers together.
  int64_t records = 0;      // Of all producers together; 0: until `duration`.
  absl::Duration duration;  // Zero: until `records`.
  int64_t record_size = 1024;
  bool closed = false;  // Each producer waits for an answer before its next record.
  uint64_t run = 0;
  uint32_t first_producer = 0;  // Number of the first producer; later ones count up.
  const std::vector<InputRecord>* input = nullptr;  // Instead of made-up records.
  client::ProducerOptions producer;
  client::ConsumerOptions consumer;
};

struct ProduceResult {
  int64_t sent = 0;
  int64_t delivered = 0;
  int64_t failed = 0;
  // Of those delivered, which each producer sent ahead. Nothing below counts them.
  int64_t ahead = 0;
  int64_t bytes = 0;  // Keys and values delivered.
  absl::Duration elapsed;
  Histogram from_intended;
  Histogram from_sent;
  absl::Status first_error;
};

struct ConsumeResult {
  int64_t records = 0;
  int64_t bytes = 0;       // Keys and values.
  absl::Duration elapsed;  // From the first to the last record.
  // From when a record was due to its hand-out by Poll(); without those sent ahead.
  Histogram end_to_end;
  absl::Status first_error;
};

class BenchLoad {
 public:
  BenchLoad(const LoadOptions& options, SequenceCheck* check) : options_(options), check_(check) {}

  ProduceResult Produce();
  // Reads from the first record until everything acknowledged has come (once producing has ended)
  // or nothing comes for ten seconds.
  ConsumeResult Consume();
  // Tells Consume() that no more will be acknowledged.
  void EndOfProducing() { produced_ = true; }

 private:
  const LoadOptions options_;
  SequenceCheck* const check_;
  std::atomic<bool> produced_{false};
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_LOAD_H_
