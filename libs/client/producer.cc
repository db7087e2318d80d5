#include "libs/client/producer.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/client/producer_identity.h"
#include "libs/client/topic_stream.h"
#include "libs/rpc/channel.h"

namespace falaj::client {
namespace {

// gRPC merges connections with equal arguments; each producer wants one of its own.
std::atomic<int> lanes{0};

// What a record takes in a batch, at most: its bytes and the varints around them.
int64_t SizeOf(const record::Record& record) {
  constexpr int64_t kOverhead = 40;
  constexpr int64_t kHeaderOverhead = 10;
  int64_t size = kOverhead;
  if (record.key.has_value()) size += static_cast<int64_t>(record.key->size());
  if (record.value.has_value()) size += static_cast<int64_t>(record.value->size());
  for (const auto& header : record.headers) {
    size += kHeaderOverhead + static_cast<int64_t>(header.key.size());
    if (header.value.has_value()) size += static_cast<int64_t>(header.value->size());
  }
  return size;
}

}  // namespace

class Producer::Impl {
 public:
  explicit Impl(const ProducerOptions& options) : budget_(options.buffer_bytes_max) {
    context_.options = options;
    rpc::ChannelOptions channel;
    channel.lane = lanes.fetch_add(1);
    context_.channel = rpc::MakeChannel(options.address, channel);
    context_.clock = Clock::Real();
    context_.budget = &budget_;
    context_.wake_at = [this](MonotonicTime at) { WakeAt(at); };
    if (options.idempotent && options.acks == v1::ACKS_ALL) {
      ProducerIdentity::Events events;
      events.got = [this](ProducerId producer) {
        for (const auto& stream : AllStreams()) stream->SetProducer(producer);
      };
      events.failed = [this](const absl::Status& status) {
        for (const auto& stream : AllStreams()) stream->FailProducer(status);
      };
      events.wake_at = context_.wake_at;
      identity_.emplace(context_.channel, options.client_id, context_.clock, std::move(events));
      context_.want_producer = [this] { identity_->Want(); };
    }
    worker_ = std::thread([this] { RunTimers(); });
  }

  ~Impl() {
    {
      MutexLock lock(&timer_mu_);
      stopping_ = true;
      timer_changed_.NotifyAll();
    }
    worker_.join();
    if (identity_.has_value()) identity_->Shutdown();
    for (const auto& stream : AllStreams()) stream->Shutdown();
  }

  absl::Status Send(const Destination& to, const record::Record& record, DeliveryCallback done) {
    const MonotonicTime start = context_.clock->MonotonicNow();
    const std::shared_ptr<TopicStream> stream = Stream(to.topic);
    const MonotonicTime deadline = start + context_.options.delivery_timeout;
    FALAJ_RETURN_IF_ERROR(stream->PartitionCount(deadline).status());
    const int64_t size = SizeOf(record);
    if (const int64_t limit = stream->batch_bytes_max(); limit > 0 && size > limit) {
      return MakeError(Reason::kRecordTooLarge, "the record is larger than a batch may be",
                       {{"size_bytes", absl::StrCat(size)}, {"limit_bytes", absl::StrCat(limit)}});
    }
    FALAJ_RETURN_IF_ERROR(Reserve(size));
    absl::Status status = stream->Append(to.partition, record, size, std::move(done));
    if (!status.ok()) budget_.Release(size);
    return status;
  }

  absl::StatusOr<int32_t> PartitionCount(absl::string_view topic) {
    return Stream(topic)->PartitionCount(context_.clock->MonotonicNow() +
                                         context_.options.delivery_timeout);
  }

  absl::Status Flush(absl::Duration timeout) {
    const MonotonicTime start = context_.clock->MonotonicNow();
    const auto streams = AllStreams();
    for (const auto& stream : streams) stream->BeginFlush();
    bool finished = true;
    for (const auto& stream : streams) {
      finished = stream->WaitFinished(start, start + timeout) && finished;
    }
    for (const auto& stream : streams) stream->EndFlush();
    if (finished) return absl::OkStatus();
    return MakeError(Reason::kTimedOut, "some records were not answered in time");
  }

  int64_t BufferedBytes() const { return budget_.used(); }

 private:
  absl::Status Reserve(int64_t size) {
    const bool room =
        context_.options.refuse_when_full
            ? budget_.TryAcquire(size)
            : budget_.Acquire(size, context_.options.delivery_timeout, context_.clock);
    if (room) return absl::OkStatus();
    return MakeError(Reason::kQuotaExceeded, "the producer's buffer is full",
                     {{"limit_bytes", absl::StrCat(context_.options.buffer_bytes_max)}});
  }

  std::shared_ptr<TopicStream> Stream(absl::string_view topic) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    auto it = streams_.find(topic);
    if (it == streams_.end()) {
      it = streams_
               .emplace(std::string(topic), std::make_shared<TopicStream>(
                                                &context_, std::string(topic), random_.Next()))
               .first;
    }
    return it->second;
  }

  std::vector<std::shared_ptr<TopicStream>> AllStreams() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    std::vector<std::shared_ptr<TopicStream>> streams;
    for (const auto& [topic, stream] : streams_) streams.push_back(stream);
    return streams;
  }

  // Called by a TopicStream under its lock: takes only the timer's own.
  void WakeAt(MonotonicTime at) ABSL_LOCKS_EXCLUDED(timer_mu_) {
    MutexLock lock(&timer_mu_);
    if (at >= next_timer_) return;
    next_timer_ = at;
    timer_changed_.NotifyAll();
  }

  void RunTimers() ABSL_LOCKS_EXCLUDED(mu_, timer_mu_) {
    while (WaitForTimer()) {
      const MonotonicTime now = context_.clock->MonotonicNow();
      if (identity_.has_value()) identity_->OnTimer(now);
      for (const auto& stream : AllStreams()) stream->OnTimer(now);
    }
  }

  // Returns false when the producer stops.
  bool WaitForTimer() ABSL_LOCKS_EXCLUDED(timer_mu_) {
    MutexLock lock(&timer_mu_);
    while (!stopping_) {
      const MonotonicTime now = context_.clock->MonotonicNow();
      if (next_timer_ <= now) {
        next_timer_ = PartitionQueue::kNever;
        return true;
      }
      if (next_timer_ == PartitionQueue::kNever) {
        timer_changed_.Wait(&timer_mu_);
      } else {
        timer_changed_.WaitFor(&timer_mu_, next_timer_ - now);
      }
    }
    return false;
  }

  // Constant after construction.
  ProducerContext context_;
  ByteBudget budget_;
  std::optional<ProducerIdentity> identity_;  // Unless the producer is not idempotent.

  Mutex mu_;
  Random random_ ABSL_GUARDED_BY(mu_) = Random::FromSystem();
  absl::flat_hash_map<std::string, std::shared_ptr<TopicStream>> streams_ ABSL_GUARDED_BY(mu_);

  Mutex timer_mu_;
  CondVar timer_changed_;
  bool stopping_ ABSL_GUARDED_BY(timer_mu_) = false;
  MonotonicTime next_timer_ ABSL_GUARDED_BY(timer_mu_) = PartitionQueue::kNever;

  std::thread worker_;
};

absl::StatusOr<std::unique_ptr<Producer>> Producer::Create(const ProducerOptions& options) {
  if (options.address.empty()) return MakeError(Reason::kInvalidRequest, "no gateway address");
  if (options.acks == v1::ACKS_UNSPECIFIED) return MakeError(Reason::kInvalidRequest, "acks unset");
  if (options.batch_bytes <= 0 || options.batches_in_flight_max <= 0) {
    return MakeError(Reason::kInvalidRequest, "batch_bytes and batches_in_flight_max must be > 0");
  }
  return std::unique_ptr<Producer>(new Producer(std::make_unique<Impl>(options)));
}

Producer::Producer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Producer::~Producer() = default;

absl::Status Producer::Send(const Destination& to, const record::Record& record,
                            DeliveryCallback done) {
  return impl_->Send(to, record, std::move(done));
}

std::future<Delivery> Producer::Send(const Destination& to, const record::Record& record) {
  auto promise = std::make_shared<std::promise<Delivery>>();
  std::future<Delivery> future = promise->get_future();
  absl::Status status = impl_->Send(
      to, record, [promise](const Delivery& delivery) { promise->set_value(delivery); });
  if (!status.ok()) promise->set_value(Delivery{.status = std::move(status)});
  return future;
}

absl::StatusOr<int32_t> Producer::PartitionCount(absl::string_view topic) {
  return impl_->PartitionCount(topic);
}

absl::Status Producer::Flush(absl::Duration timeout) { return impl_->Flush(timeout); }
int64_t Producer::BufferedBytes() const { return impl_->BufferedBytes(); }

}  // namespace falaj::client
