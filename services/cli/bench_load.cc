#include "services/cli/bench_load.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/client/consumer.h"
#include "libs/client/producer.h"
#include "services/cli/bench_stamp.h"
#include "services/cli/interrupt.h"
#include "services/cli/pace.h"
#include "services/cli/progress.h"

namespace falaj::cli {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(100);
constexpr absl::Duration kSilence = absl::Seconds(10);  // Then what has not come is lost.
constexpr absl::Duration kFlushTimeout = absl::Minutes(2);
constexpr absl::Duration kFlushStep = absl::Seconds(1);  // How soon Ctrl-C is seen.
constexpr size_t kPayloads = 64;                         // Made-up values to choose from.
constexpr size_t kOutstanding = 1 << 20;                 // More than the buffer can hold records.
constexpr int64_t kBufferBytes = 32 << 20;

// Where the producers of a load wait until all of them are ready.
class StartLine {
 public:
  explicit StartLine(int producers) : missing_(producers) {}

  // Returns when the last one has come, with that time, which is the same for all; or when the run
  // is interrupted.
  MonotonicTime Arrive() {
    MutexLock lock(&mu_);
    if (--missing_ == 0) {
      start_ = Clock::Real()->MonotonicNow();
      started_.NotifyAll();
    }
    while (missing_ > 0) {
      started_.WaitFor(&mu_, kPoll);
      if (Interrupted()) return Clock::Real()->MonotonicNow();
    }
    return start_;
  }

 private:
  Mutex mu_;
  CondVar started_;
  int missing_ ABSL_GUARDED_BY(mu_);
  MonotonicTime start_ ABSL_GUARDED_BY(mu_);
};

// One producer: sends its share on schedule and notes what became of each record.
//
// Its first record goes ahead of the schedule, and nothing of it is measured: it pays for the
// connection, the stream, the producer's id and the first look at the topic. Were it on the
// schedule, those behind it would be late for as long as that takes, and a run of a few seconds
// would tell of that instead of what the cluster does.
class ProducerLoop {
 public:
  ProducerLoop(const LoadOptions& options, uint32_t index, SequenceCheck* check)
      : options_(options),
        run_(RunOf(options)),
        index_(index),
        check_(check),
        sent_at_(kOutstanding) {
    MakePayloads();
  }

  ProduceResult Run(StartLine* line) {
    client::ProducerOptions producer_options = options_.producer;
    producer_options.buffer_bytes_max = kBufferBytes;
    absl::StatusOr<std::unique_ptr<client::Producer>> producer =
        client::Producer::Create(producer_options);
    if (producer.ok()) producer_ = producer->get();
    absl::Status status = producer.ok() ? Open() : producer.status();
    const MonotonicTime start = line->Arrive();
    if (status.ok()) status = SendAll(start);
    if (producer.ok()) {
      const absl::Status flushed = Flush();
      if (status.ok()) status = flushed;
      producer->reset();
    }
    Note(status);
    MutexLock lock(&mu_);
    // Nothing has passed if the share was one record.
    result_.elapsed = std::max(last_answer_ - start, absl::ZeroDuration());
    return std::move(result_);
  }

 private:
  // Sends the first record and waits for what becomes of it.
  absl::Status Open() {
    if (Share() == 0) return absl::OkStatus();
    FALAJ_RETURN_IF_ERROR(SendOne(0, clock_->MonotonicNow()));
    return Flush();
  }

  absl::Status SendAll(MonotonicTime start) {
    Pace& pace = pace_.emplace(options_.rate / options_.producers, start);
    const MonotonicTime end = options_.duration > absl::ZeroDuration()
                                  ? start + options_.duration
                                  : MonotonicTime{std::numeric_limits<int64_t>::max()};
    const int64_t count = Share();
    for (int64_t n = 1; n < count && !Interrupted(); ++n) {
      if (options_.rate > 0 && !options_.closed && pace.Due(n - 1) >= end) break;
      if (!options_.closed) pace.Wait(n - 1, clock_);
      const MonotonicTime now = clock_->MonotonicNow();
      if (options_.rate <= 0 && now >= end) break;
      FALAJ_RETURN_IF_ERROR(SendOne(n, now));
    }
    return absl::OkStatus();
  }

  absl::Status Flush() {
    absl::Status flushed = producer_->Flush(kFlushStep);
    for (absl::Duration waited = kFlushStep;
         !flushed.ok() && waited < kFlushTimeout && !Interrupted(); waited += kFlushStep) {
      flushed = producer_->Flush(kFlushStep);
    }
    return flushed;
  }

  uint32_t number() const { return options_.first_producer + index_; }

  int64_t Share() const {
    if (options_.input != nullptr) {
      const auto size = static_cast<int64_t>(options_.input->size());
      return (size - index_ + options_.producers - 1) / options_.producers;
    }
    if (options_.records <= 0) return std::numeric_limits<int64_t>::max();
    return (options_.records - index_ + options_.producers - 1) / options_.producers;
  }

  // Random bytes do not compress: what is measured is not the codec's luck.
  void MakePayloads() {
    Random random(index_ + 1);
    const size_t size =
        std::max<size_t>(sizeof(BenchStamp), static_cast<size_t>(options_.record_size));
    for (size_t i = 0; i < kPayloads; ++i) {
      record::Record record;
      std::string value(size, '\0');
      for (char& c : value) c = static_cast<char>(random.Next());
      record.value = std::move(value);
      payloads_.push_back(std::move(record));
    }
  }

  MonotonicTime Intended(int64_t n, MonotonicTime sent) const {
    const bool scheduled = n > 0 && options_.rate > 0 && !options_.closed;
    return scheduled ? pace_->Due(n - 1) : sent;
  }

  absl::Status SendOne(int64_t n, MonotonicTime now) {
    const BenchStamp stamp{.run = options_.run,
                           .producer = number(),
                           .sequence = n,
                           .intended_ns = Intended(n, now).ns};
    sent_at_[static_cast<size_t>(n) % kOutstanding] = now;
    record::Record& record = payloads_[static_cast<size_t>(n) % kPayloads];
    client::Destination to(options_.topic);
    if (options_.input != nullptr) {
      const auto line = static_cast<size_t>(n * options_.producers + index_);
      const InputRecord& input = (*options_.input)[line];
      record.key = input.key;
      record.value = input.value;
      record.headers = {{BenchStamp::kHeader, stamp.ToString()}};
    } else {
      stamp.WriteTo(record.value->data());
      to.partition = PartitionIndex(
          static_cast<int32_t>((n / run_ + index_) % std::max(options_.partitions, 1)));
    }
    record.timestamp_ms = clock_->NowMs();
    const auto bytes = static_cast<int64_t>(record.value->size() +
                                            (record.key.has_value() ? record.key->size() : 0));
    if (n > 0) size_sum_ += bytes;
    {
      MutexLock lock(&mu_);
      ++result_.sent;
      ++outstanding_;
    }
    FALAJ_RETURN_IF_ERROR(producer_->Send(
        to, record, [this, n](const client::Delivery& delivery) { OnDelivery(n, delivery); }));
    if (!options_.closed) return absl::OkStatus();
    MutexLock lock(&mu_);
    while (outstanding_ > 0) answered_.Wait(&mu_);
    return absl::OkStatus();
  }

  void OnDelivery(int64_t n, const client::Delivery& delivery) {
    const MonotonicTime now = clock_->MonotonicNow();
    const MonotonicTime sent = sent_at_[static_cast<size_t>(n) % kOutstanding];
    if (delivery.status.ok()) check_->Acknowledge(number(), n);
    {
      MutexLock lock(&mu_);
      --outstanding_;
      last_answer_ = now;
      if (!delivery.status.ok()) {
        ++result_.failed;
        if (result_.first_error.ok()) result_.first_error = delivery.status;
      } else {
        ++result_.delivered;
        if (n == 0) {
          ++result_.ahead;
        } else {
          result_.from_intended.Record(now.ns - Intended(n, sent).ns);
          result_.from_sent.Record(now.ns - sent.ns);
        }
      }
    }
    // Whoever waits would else wake up to wait for the lock.
    if (options_.closed) answered_.NotifyAll();
  }

  void Note(const absl::Status& status) {
    MutexLock lock(&mu_);
    if (result_.first_error.ok()) result_.first_error = status;
    // Sizes differ with --input only; the mean is exact when all were delivered.
    if (result_.sent > 1) {
      result_.bytes = static_cast<int64_t>(static_cast<double>(size_sum_) *
                                           static_cast<double>(result_.delivered - result_.ahead) /
                                           static_cast<double>(result_.sent - 1));
    }
  }

  // Made-up records go to the partitions in turn, a full batch at a time, as a sticky partitioner's
  // do (KIP-794): a remnant would leave alone. The producer takes a batch for full when another
  // record, counted generously, might not fit.
  static int64_t RunOf(const LoadOptions& options) {
    constexpr int64_t kHeaderAndMargin = 61 + 40;
    constexpr int64_t kRecordOverhead = 10;  // Lengths, offset and timestamp.
    const int64_t room = options.producer.batch_bytes - kHeaderAndMargin - options.record_size;
    return std::max<int64_t>(1, room / (options.record_size + kRecordOverhead) + 1);
  }

  const LoadOptions& options_;
  const int64_t run_;
  const uint32_t index_;
  SequenceCheck* const check_;
  Clock* const clock_ = Clock::Real();
  client::Producer* producer_ = nullptr;
  std::optional<Pace> pace_;  // Of the records behind the first.
  std::vector<MonotonicTime>
      sent_at_;  // By sequence, as a ring; written before the record is sent.
  std::vector<record::Record> payloads_;
  int64_t size_sum_ = 0;

  Mutex mu_;
  CondVar answered_;
  int64_t outstanding_ ABSL_GUARDED_BY(mu_) = 0;
  MonotonicTime last_answer_ ABSL_GUARDED_BY(mu_);
  ProduceResult result_ ABSL_GUARDED_BY(mu_);
};

// One consumer of every n-th partition.
class ConsumerLoop {
 public:
  ConsumerLoop(const LoadOptions& options, int index, SequenceCheck* check,
               const std::atomic<bool>* produced)
      : options_(options), index_(index), check_(check), produced_(produced) {}

  ConsumeResult Run() {
    std::vector<client::ConsumerPosition> positions;
    for (int32_t p = index_; p < options_.partitions; p += options_.consumers) {
      positions.push_back({options_.topic, PartitionIndex(p), client::AtStart()});
    }
    if (positions.empty()) return ConsumeResult();
    absl::StatusOr<std::unique_ptr<client::Consumer>> consumer =
        client::Consumer::Create(options_.consumer, positions);
    result_.first_error = consumer.ok() ? ReadAll(consumer->get()) : consumer.status();
    if (result_.records > 0) result_.elapsed = last_ - first_;
    return std::move(result_);
  }

 private:
  absl::Status ReadAll(client::Consumer* consumer) {
    MonotonicTime heard = clock_->MonotonicNow();
    while (!Interrupted()) {
      FALAJ_ASSIGN_OR_RETURN(const client::RecordRun run, consumer->Poll(kPoll));
      const MonotonicTime now = clock_->MonotonicNow();
      if (!run.empty()) {
        heard = now;
        Take(run, now);
      } else if (*produced_) {
        if (check_->received() >= check_->acknowledged()) return absl::OkStatus();
        if (now - heard > kSilence) return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }

  void Take(const client::RecordRun& run, MonotonicTime now) {
    stamps_.clear();
    if (result_.records == 0) first_ = now;
    last_ = now;
    for (const record::RecordView& record : run.records()) {
      const std::optional<BenchStamp> stamp = ReadStamp(record, options_.run);
      if (!stamp.has_value()) continue;
      stamps_.push_back(*stamp);
      if (stamp->sequence > 0) result_.end_to_end.Record(now.ns - stamp->intended_ns);
      result_.bytes +=
          static_cast<int64_t>(record.key.value_or("").size() + record.value.value_or("").size());
    }
    result_.records += static_cast<int64_t>(stamps_.size());
    check_->Receive(run.partition(), stamps_);
  }

  const LoadOptions& options_;
  const int index_;
  SequenceCheck* const check_;
  const std::atomic<bool>* const produced_;
  Clock* const clock_ = Clock::Real();
  std::vector<BenchStamp> stamps_;
  MonotonicTime first_;
  MonotonicTime last_;
  ConsumeResult result_;
};

// How many loops still run.
class Running {
 public:
  explicit Running(int count) : count_(count) {}
  void OneLess() {
    MutexLock lock(&mu_);
    if (--count_ == 0) done_.NotifyAll();
  }
  // Waits at most so long; true while any runs.
  bool WaitFor(absl::Duration timeout) {
    MutexLock lock(&mu_);
    if (count_ > 0) done_.WaitFor(&mu_, timeout);
    return count_ > 0;
  }

 private:
  Mutex mu_;
  CondVar done_;
  int count_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

ProduceResult BenchLoad::Produce() {
  StartLine line(options_.producers);
  std::vector<ProduceResult> results(static_cast<size_t>(options_.producers));
  std::vector<std::thread> threads;
  Running running(options_.producers);
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([this, i, &line, &results, &running] {
      ProducerLoop loop(options_, static_cast<uint32_t>(i), check_);
      results[i] = loop.Run(&line);
      running.OneLess();
    });
  }
  const int64_t before = check_->acknowledged();
  const auto expected =
      static_cast<int64_t>(options_.input != nullptr ? options_.input->size() : 0);
  ProgressBar progress("producing", std::max(expected, options_.records), Clock::Real());
  while (running.WaitFor(kPoll)) {
    const int64_t count = check_->acknowledged() - before;
    progress.Update(count, count * options_.record_size);
  }
  ProduceResult sum;
  for (size_t i = 0; i < results.size(); ++i) {
    threads[i].join();
    sum.sent += results[i].sent;
    sum.delivered += results[i].delivered;
    sum.ahead += results[i].ahead;
    sum.failed += results[i].failed;
    sum.bytes += results[i].bytes;
    sum.elapsed = std::max(sum.elapsed, results[i].elapsed);
    sum.from_intended.Merge(results[i].from_intended);
    sum.from_sent.Merge(results[i].from_sent);
    if (sum.first_error.ok()) sum.first_error = results[i].first_error;
  }
  return sum;
}

ConsumeResult BenchLoad::Consume() {
  std::vector<ConsumeResult> results(static_cast<size_t>(options_.consumers));
  std::vector<std::thread> threads;
  Running running(options_.consumers);
  for (size_t i = 0; i < results.size(); ++i) {
    threads.emplace_back([this, i, &results, &running] {
      ConsumerLoop loop(options_, static_cast<int>(i), check_, &produced_);
      results[i] = loop.Run();
      running.OneLess();
    });
  }
  const bool alone = produced_;  // Otherwise the producers' bar is drawn.
  ProgressBar progress("consuming", check_->acknowledged(), Clock::Real());
  while (running.WaitFor(kPoll)) {
    const int64_t count = check_->received();
    if (alone) progress.Update(count, count * options_.record_size);
  }
  ConsumeResult sum;
  for (size_t i = 0; i < results.size(); ++i) {
    threads[i].join();
    sum.records += results[i].records;
    sum.bytes += results[i].bytes;
    sum.elapsed = std::max(sum.elapsed, results[i].elapsed);
    sum.end_to_end.Merge(results[i].end_to_end);
    if (sum.first_error.ok()) sum.first_error = results[i].first_error;
  }
  return sum;
}

}  // namespace falaj::cli
