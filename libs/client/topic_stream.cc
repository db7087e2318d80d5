#include "libs/client/topic_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/client/produce_frame.h"
#include "libs/record/partitioner.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

constexpr char kMethod[] = "/falaj.v1.ProducerService/StreamProduce";
constexpr absl::Duration kReconnectBase = absl::Milliseconds(50);
constexpr absl::Duration kReconnectMax = absl::Seconds(2);
constexpr absl::Duration kExpiryCheck = absl::Seconds(1);
// Batches share a frame up to so many bytes before compression, which takes its time while the
// first waits.
constexpr size_t kFramePlainBytesMax = 1 << 20;

absl::Status StatusOf(const v1::BatchAck& ack) {
  if (ack.has_error()) return rpc::FromProto(ack.error());
  if (ack.appends_size() != 1) {
    return MakeError(Reason::kInternal, "the gateway answered a batch without its outcome");
  }
  if (ack.appends(0).has_error()) return rpc::FromProto(ack.appends(0).error());
  return absl::OkStatus();
}

absl::Status BrokenStatus(const absl::Status& cause) {
  return MakeError(
      Reason::kAppendUncertain,
      absl::StrCat("the stream ended before the batch was answered: ", cause.message()),
      {{"cause", std::string(ReasonName(ReasonOf(cause)))}});
}

}  // namespace

TopicStream::TopicStream(const ProducerContext* context, std::string topic, uint64_t seed)
    : context_(context), topic_(std::move(topic)), random_(seed) {
  queue_options_.linger = context->options.linger;
  queue_options_.batch_bytes = context->options.batch_bytes;
  queue_options_.retry_uncertain = context->options.retry_uncertain;
  queue_options_.idempotent = context->want_producer != nullptr;
}

absl::StatusOr<int32_t> TopicStream::PartitionCount(MonotonicTime deadline) {
  MutexLock lock(&mu_);
  while (slots_.empty()) {
    if (shut_down_) return MakeError(Reason::kCancelled, "the producer is closed");
    const MonotonicTime now = context_->clock->MonotonicNow();
    if (stream_ == nullptr && failures_ > 0 && !IsRetryable(last_error_)) {
      failures_ = 0;
      return last_error_;
    }
    if (now >= deadline) {
      if (!last_error_.ok()) return last_error_;
      return MakeError(Reason::kTimedOut, "the gateway did not open the stream in time",
                       {{"topic", topic_}});
    }
    if (stream_ == nullptr && now >= reconnect_at_) Connect();
    const MonotonicTime until = stream_ == nullptr ? std::min(deadline, reconnect_at_) : deadline;
    changed_.WaitFor(&mu_, until - now);
  }
  return limits_.partition_count();
}

int64_t TopicStream::batch_bytes_max() const {
  MutexLock lock(&mu_);
  return limits_.batch_bytes_max();
}

void TopicStream::Connect() {
  v1::StreamProduceRequest request;
  request.mutable_open()->set_topic(topic_);
  request.mutable_open()->set_acks(context_->options.acks);
  request.mutable_open()->set_client_id(context_->options.client_id);
  request.mutable_open()->set_combined_acks(true);
  const uint64_t call = ++call_number_;
  ++calls_running_;
  opened_ = false;
  writing_ = false;
  auto self = shared_from_this();
  RawStream::Events events;
  events.frame = [self, call](const grpc::ByteBuffer& frame) { self->OnFrame(call, frame); };
  events.written = [self, call] { self->OnWritten(call); };
  events.done = [self, call](const absl::Status& status) { self->OnCallDone(call, status); };
  stream_ =
      RawStream::Start(context_->channel, kMethod, rpc::SerializeProto(request), std::move(events));
}

absl::Status TopicStream::Append(std::optional<PartitionIndex> partition,
                                 const record::Record& record, int64_t size_bytes,
                                 DeliveryCallback done) {
  bool pump = false;
  {
    MutexLock lock(&mu_);
    if (shut_down_) return MakeError(Reason::kCancelled, "the producer is closed");
    if (slots_.empty()) return last_error_;
    const PartitionIndex chosen = partition.has_value() ? *partition : Choose(record);
    if (chosen.value() < 0 || static_cast<size_t>(chosen.value()) >= slots_.size()) {
      return MakeError(Reason::kPartitionNotFound,
                       absl::StrCat("topic '", topic_, "' has no partition ", chosen.value()),
                       {{"topic", topic_}, {"partition", absl::StrCat(chosen.value())}});
    }
    const MonotonicTime now = context_->clock->MonotonicNow();
    Slot& slot = slots_[static_cast<size_t>(chosen.value())];
    const bool first = outstanding_records_++ == 0;
    Equip(&slot);
    if (slot.queue.Append(record, size_bytes, std::move(done), now)) {
      Reschedule(&slot, now);
      pump = encoding_ == nullptr && !writing_ && !ready_.empty();
    }
    if (stream_ == nullptr && now >= reconnect_at_) Connect();
    if (first || stream_ == nullptr) PlanTimer(now);
  }
  if (pump) Pump();
  return absl::OkStatus();
}

PartitionIndex TopicStream::Choose(const record::Record& record) {
  const int32_t count = limits_.partition_count();
  if (record.key.has_value()) return record::PartitionForKey(*record.key, count);
  const bool stay =
      sticky_ >= 0 && sticky_ < count && slots_[static_cast<size_t>(sticky_)].queue.HasOpenBatch();
  if (!stay) sticky_ = static_cast<int32_t>(random_.Below(static_cast<uint64_t>(count)));
  return PartitionIndex(sticky_);
}

PartitionQueue::Traffic TopicStream::TrafficBut(size_t batches) const {
  return {.flushing = flushes_ > 0, .quiet = sent_.size() <= batches};
}

void TopicStream::EndGathering(MonotonicTime now) {
  if (!sent_.empty() || context_->options.linger > absl::ZeroDuration()) return;
  std::vector<int32_t> gathering;
  for (const auto& [at, partition] : timers_) gathering.push_back(partition);
  for (const int32_t partition : gathering)
    Reschedule(&slots_[static_cast<size_t>(partition)], now);
}

void TopicStream::Reschedule(Slot* slot, MonotonicTime now) {
  const int32_t partition = slot->queue.partition().value();
  if (slot->timer != PartitionQueue::kNever) {
    timers_.erase({slot->timer, partition});
    slot->timer = PartitionQueue::kNever;
  }
  if (slot->listed) return;
  const MonotonicTime at = slot->queue.ReadyAt(TrafficBut(0));
  if (at == PartitionQueue::kNever) return;
  if (at <= now) {
    slot->listed = true;
    ready_.push_back(partition);
    return;
  }
  slot->timer = at;
  timers_.insert({at, partition});
  if (timers_.begin()->second == partition) context_->wake_at(at);
}

MonotonicTime TopicStream::NextFrameAt() const {
  if (ready_.empty()) return PartitionQueue::kNever;
  const auto batch_bytes = static_cast<size_t>(queue_options_.batch_bytes);
  const auto batches_max = static_cast<size_t>(std::max(limits_.batches_per_frame_max(), 1));
  if (ready_.size() >= batches_max) return MonotonicTime();
  MonotonicTime first = PartitionQueue::kNever;
  size_t bytes = 0;
  bool full = false;
  for (const int32_t partition : ready_) {
    if (full) break;
    const PartitionQueue& queue = slots_[static_cast<size_t>(partition)].queue;
    bytes += queue.WaitingBytes(kFrameBytesMax - bytes);
    full = FrameIsFull(bytes, batch_bytes);
    // What is listed may be gone by now: the frame is not worth waiting for, nor is it made.
    first = std::min(first, queue.head() == nullptr ? MonotonicTime() : queue.head()->created);
  }
  return FrameAt(TrafficBut(0), context_->options.linger, first, full);
}

BatchPtr TopicStream::PickBatch(const Outgoing& out, MonotonicTime now) {
  const auto& options = context_->options;
  const size_t batches_max = static_cast<size_t>(
      limits_.batches_in_flight_max() > 0
          ? std::min(limits_.batches_in_flight_max(), options.batches_in_flight_max)
          : options.batches_in_flight_max);
  if (sent_.size() >= batches_max) return nullptr;
  const int64_t bytes_max = limits_.bytes_in_flight_max();
  if (bytes_max > 0 && sent_bytes_ > 0 && sent_bytes_ + queue_options_.batch_bytes > bytes_max) {
    return nullptr;
  }
  while (!ready_.empty()) {
    Slot& slot = slots_[static_cast<size_t>(ready_.front())];
    const bool due = slot.queue.ReadyAt(TrafficBut(out.frame.batches())) <= now;
    if (due && !Fits(slot.queue, out)) return nullptr;  // The next frame begins with it.
    ready_.pop_front();
    slot.listed = false;
    if (due) return slot.queue.Head();
    Reschedule(&slot, now);
  }
  return nullptr;
}

bool TopicStream::MarkSent(const BatchPtr& batch, uint64_t id, size_t frame_batches) {
  // While the batch was being encoded, batches before it may have failed and come back, and it may
  // have been numbered anew.
  PartitionQueue& queue = slots_[static_cast<size_t>(batch->partition.value())].queue;
  if (queue.ReadyAt(TrafficBut(frame_batches)) > context_->clock->MonotonicNow() ||
      queue.Head() != batch) {
    return false;
  }
  if (batch->stamp.has_value() && *batch->stamp != batch->encoded_stamp) return false;
  const auto size = static_cast<int64_t>(batch->encoded.size());
  queue.MarkSent(id);
  sent_[id] = {batch->partition.value(), size};
  sent_bytes_ += size;
  return true;
}

void TopicStream::Pump() {
  // OnWritten() goes on from there.
  Outgoing out;
  while (AddBatch(&out)) continue;
  if (!out.frame.empty()) out.stream->Write(out.frame.Take());
  if (!out.failed.empty()) Deliver(std::move(out.failed));
}

absl::Status TopicStream::Encode(PendingBatch* batch, const record::ProducerStamp& stamp,
                                 v1::Compression codec) const {
  if (batch->encoded.empty()) {
    FALAJ_ASSIGN_OR_RETURN(batch->encoded, EncodeBatch(&batch->builder, codec, stamp));
  } else if (stamp != batch->encoded_stamp) {
    batch->encoded = record::StampProducer(batch->encoded, stamp);
  }
  batch->encoded_stamp = stamp;
  return absl::OkStatus();
}

bool TopicStream::AddBatch(Outgoing* out) {
  BatchPtr batch;
  uint64_t id = 0;
  v1::Compression codec = context_->options.compression;
  record::ProducerStamp stamp;
  {
    MutexLock lock(&mu_);
    if (encoding_ != nullptr || stream_ == nullptr || !opened_) return false;
    if (out->frame.empty() ? writing_ : stream_ != out->stream) return false;
    const MonotonicTime now = context_->clock->MonotonicNow();
    const MonotonicTime at = out->frame.empty() ? NextFrameAt() : now;
    if (at > now) {
      if (at != PartitionQueue::kNever) context_->wake_at(at);
      return false;
    }
    batch = PickBatch(*out, now);
    if (batch == nullptr) return false;
    encoding_ = batch.get();
    stamp = batch->stamp.value_or(record::ProducerStamp());
    out->stream = stream_;
    if (batch->encoded.empty()) out->plain_bytes += batch->builder.size_bytes();
    id = next_batch_id_++;
    if (codec == v1::COMPRESSION_UNSPECIFIED) codec = limits_.compression();
  }
  // Outside the lock: senders go on appending while this batch is compressed and summed.
  const absl::Status encoded = Encode(batch.get(), stamp, codec);
  MutexLock lock(&mu_);
  encoding_ = nullptr;
  Slot& slot = slots_[static_cast<size_t>(batch->partition.value())];
  if (!encoded.ok()) {
    if (out->failed.empty()) ++delivering_;
    slot.queue.DropHead(encoded, &out->failed);
  } else if (stream_ == out->stream && opened_ && MarkSent(batch, id, out->frame.batches())) {
    out->frame.Add(id, batch->partition, batch->encoded);
    writing_ = true;
  }
  Reschedule(&slot, context_->clock->MonotonicNow());
  return true;
}

bool TopicStream::Fits(const PartitionQueue& queue, const Outgoing& out) const {
  if (out.frame.empty()) return true;
  const auto batches_max = static_cast<size_t>(std::max(limits_.batches_per_frame_max(), 1));
  if (out.frame.batches() >= batches_max) return false;
  const PendingBatch& next = *queue.head();
  if (!next.encoded.empty()) {
    return out.frame.size_bytes() + next.encoded.size() <= kFrameBytesMax;
  }
  const size_t plain_bytes = next.builder.size_bytes();
  return out.frame.size_bytes() + plain_bytes <= kFrameBytesMax &&
         out.plain_bytes + plain_bytes <= kFramePlainBytesMax;
}

void TopicStream::OnWritten(uint64_t call) {
  {
    MutexLock lock(&mu_);
    if (call != call_number_) return;
    writing_ = false;
  }
  Pump();
}

void TopicStream::OnFrame(uint64_t call, const grpc::ByteBuffer& frame) {
  v1::StreamProduceResponse response;
  std::vector<Finished> finished;
  {
    MutexLock lock(&mu_);
    if (call != call_number_ || stream_ == nullptr) return;
    if (!rpc::ParseProto(frame, &response)) {
      stream_->Cancel();
      return;
    }
    if (response.has_opened()) OnOpened(response.opened());
    if (response.has_ack()) OnAck(response.ack(), &finished);
    for (const v1::BatchAck& ack : response.acks().acks()) OnAck(ack, &finished);
    EndGathering(context_->clock->MonotonicNow());
    ++delivering_;
  }
  // What became sendable goes out before the callbacks run.
  Pump();
  Deliver(std::move(finished));
}

void TopicStream::OnOpened(const v1::ProduceStreamOpened& opened) {
  limits_ = opened;
  opened_ = true;
  failures_ = 0;
  last_error_ = absl::OkStatus();
  if (opened.batch_bytes_max() > 0) {
    queue_options_.batch_bytes = std::min(context_->options.batch_bytes, opened.batch_bytes_max());
  }
  for (int32_t p = static_cast<int32_t>(slots_.size()); p < opened.partition_count(); ++p) {
    slots_.push_back(Slot{.queue = PartitionQueue(&queue_options_, PartitionIndex(p))});
    Equip(&slots_.back());
  }
  changed_.NotifyAll();
}

void TopicStream::Equip(Slot* slot) {
  if (!slot->queue.NeedsProducer()) return;
  if (producer_ != ProducerId(-1)) {
    slot->queue.SetProducer(producer_);
  } else {
    context_->want_producer();
  }
}

void TopicStream::SetProducer(ProducerId producer) {
  {
    MutexLock lock(&mu_);
    producer_ = producer;
    const MonotonicTime now = context_->clock->MonotonicNow();
    for (Slot& slot : slots_) {
      Equip(&slot);
      Reschedule(&slot, now);
    }
  }
  Pump();
}

void TopicStream::FailProducer(const absl::Status& status) {
  std::vector<Finished> finished;
  {
    MutexLock lock(&mu_);
    if (producer_ != ProducerId(-1)) return;
    Expire(PartitionQueue::kNever, status, &finished);
    ++delivering_;
  }
  Deliver(std::move(finished));
}

void TopicStream::OnAck(const v1::BatchAck& ack, std::vector<Finished>* finished) {
  PartitionQueue::Answer answer{.status = StatusOf(ack)};
  if (answer.status.ok()) {
    answer.base_offset = Offset(ack.appends(0).base_offset());
    answer.duplicate = ack.appends(0).duplicate();
  }
  OnAnswer(ack.batch_id(), answer, finished);
}

void TopicStream::OnAnswer(uint64_t batch_id, const PartitionQueue::Answer& answer,
                           std::vector<Finished>* finished) {
  const auto it = sent_.find(batch_id);
  if (it == sent_.end()) return;
  Slot& slot = slots_[static_cast<size_t>(it->second.first)];
  sent_bytes_ -= it->second.second;
  sent_.erase(it);
  const MonotonicTime now = context_->clock->MonotonicNow();
  slot.queue.OnAck(batch_id, answer, now, finished);
  if (slot.queue.NeedsProducer()) {  // Its epochs are used up.
    producer_ = ProducerId(-1);
    Equip(&slot);
  }
  Reschedule(&slot, now);
}

void TopicStream::OnCallDone(uint64_t call, const absl::Status& status) {
  std::vector<Finished> finished;
  {
    MutexLock lock(&mu_);
    if (call == call_number_ && stream_ != nullptr) OnBroken(status, &finished);
    ++delivering_;
  }
  Deliver(std::move(finished));
  MutexLock lock(&mu_);
  --calls_running_;
  changed_.NotifyAll();
}

void TopicStream::OnBroken(const absl::Status& status, std::vector<Finished>* finished) {
  const MonotonicTime now = context_->clock->MonotonicNow();
  stream_ = nullptr;
  writing_ = false;
  opened_ = false;
  last_error_ =
      status.ok() ? MakeError(Reason::kShuttingDown, "the gateway ended the stream") : status;
  const absl::Duration backoff = kReconnectBase * (1 << std::min(failures_++, 6));
  reconnect_at_ = now + std::min(backoff, kReconnectMax);
  if (ReasonOf(status) == Reason::kShuttingDown) {
    // A gateway that stops in good order has answered all it took: it refuses the rest by this.
    while (!sent_.empty()) OnAnswer(sent_.begin()->first, {.status = status}, finished);
  } else {
    BreakInFlight(BrokenStatus(last_error_), now, finished);
  }
  // What has come back may be late already.
  Expire(now + -context_->options.delivery_timeout, last_error_, finished);
  if (!IsRetryable(last_error_)) Expire(PartitionQueue::kNever, last_error_, finished);
  PlanTimer(now);
  changed_.NotifyAll();
}

void TopicStream::BreakInFlight(const absl::Status& status, MonotonicTime now,
                                std::vector<Finished>* finished) {
  sent_.clear();
  sent_bytes_ = 0;
  for (Slot& slot : slots_) {
    slot.queue.OnBroken(status, now, finished);
    Reschedule(&slot, now);
  }
}

void TopicStream::Expire(MonotonicTime created_max, const absl::Status& status,
                         std::vector<Finished>* finished) {
  const MonotonicTime now = context_->clock->MonotonicNow();
  for (Slot& slot : slots_) {
    slot.queue.Expire(created_max, encoding_, status, finished);
    Reschedule(&slot, now);
  }
}

void TopicStream::Deliver(std::vector<Finished> finished) {
  int64_t bytes = 0;
  int64_t records = 0;
  for (const Finished& done : finished) {
    Delivery delivery{done.status, done.batch->partition, done.base_offset, done.duplicate};
    for (const DeliveryCallback& callback : done.batch->callbacks) {
      if (callback) callback(delivery);
      if (delivery.offset.value() >= 0) ++delivery.offset;
    }
    bytes += done.batch->charged_bytes;
    records += static_cast<int64_t>(done.batch->callbacks.size());
  }
  if (bytes > 0) context_->budget->Release(bytes);
  MutexLock lock(&mu_);
  outstanding_records_ -= records;
  --delivering_;
  if (flushes_ > 0 || shut_down_) changed_.NotifyAll();
}

void TopicStream::PlanTimer(MonotonicTime now) {
  if (shut_down_ || outstanding_records_ == 0) return;
  MonotonicTime at = now + kExpiryCheck;
  if (stream_ == nullptr) at = std::min(at, reconnect_at_);
  if (!timers_.empty()) at = std::min(at, timers_.begin()->first);
  context_->wake_at(at);
}

void TopicStream::OnTimer(MonotonicTime now) {
  std::vector<Finished> finished;
  {
    MutexLock lock(&mu_);
    if (shut_down_) return;
    while (!timers_.empty() && timers_.begin()->first <= now) {
      Reschedule(&slots_[static_cast<size_t>(timers_.begin()->second)], now);
    }
    const MonotonicTime created_max = now + -context_->options.delivery_timeout;
    const bool look = now >= expire_at_;
    if (look) expire_at_ = now + kExpiryCheck;
    if (look && Oldest() <= created_max) {
      const absl::Status late =
          last_error_.ok() ? MakeError(Reason::kTimedOut, "not delivered within delivery_timeout")
                           : last_error_;
      Expire(created_max, late, &finished);
      // What is in flight and late: only ending the call tells, and then its fate is unknown.
      if (Oldest() <= created_max && stream_ != nullptr) stream_->Cancel();
    }
    if (stream_ == nullptr && outstanding_records_ > 0 && now >= reconnect_at_) Connect();
    PlanTimer(now);
    ++delivering_;
  }
  Deliver(std::move(finished));
  Pump();
}

MonotonicTime TopicStream::Oldest() const {
  MonotonicTime oldest = PartitionQueue::kNever;
  for (const Slot& slot : slots_) oldest = std::min(oldest, slot.queue.Oldest());
  return oldest;
}

void TopicStream::BeginFlush() {
  {
    MutexLock lock(&mu_);
    ++flushes_;
    const MonotonicTime now = context_->clock->MonotonicNow();
    for (Slot& slot : slots_) Reschedule(&slot, now);
  }
  Pump();
}

bool TopicStream::WaitFinished(MonotonicTime start, MonotonicTime deadline) {
  MutexLock lock(&mu_);
  // Other threads may go on sending, so age decides. Callbacks that are running belong to batches
  // which have left the queues already.
  while (outstanding_records_ > 0 && (delivering_ > 0 || Oldest() <= start)) {
    const MonotonicTime now = context_->clock->MonotonicNow();
    if (now >= deadline) return false;
    changed_.WaitFor(&mu_, deadline - now);
  }
  return true;
}

void TopicStream::EndFlush() {
  MutexLock lock(&mu_);
  --flushes_;
}

void TopicStream::Shutdown() {
  const absl::Status closed = MakeError(Reason::kCancelled, "the producer was closed");
  std::vector<Finished> finished;
  {
    MutexLock lock(&mu_);
    shut_down_ = true;
    if (stream_ != nullptr) stream_->Cancel();
    stream_ = nullptr;
    changed_.NotifyAll();
    while (calls_running_ > 0) changed_.Wait(&mu_);
    BreakInFlight(closed, context_->clock->MonotonicNow(), &finished);
    Expire(PartitionQueue::kNever, closed, &finished);
    ++delivering_;
  }
  Deliver(std::move(finished));
}

}  // namespace falaj::client
