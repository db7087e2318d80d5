#include "libs/client/consumer.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "libs/client/consumer_impl.h"
#include "libs/client/partition_queue.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

constexpr char kMethod[] = "/falaj.v1.ConsumerService/Consume";
constexpr absl::Duration kReconnectBase = absl::Milliseconds(50);
constexpr absl::Duration kReconnectMax = absl::Seconds(2);
constexpr absl::Duration kPartitionRetry = absl::Milliseconds(200);
constexpr MonotonicTime kNever{std::numeric_limits<int64_t>::max()};

// gRPC merges connections with equal arguments; each consumer wants one of its own. Lanes from 0 up
// are the producers'.
std::shared_ptr<grpc::Channel> MakeOwnChannel(const std::string& address) {
  static std::atomic<int> lanes{-1};
  rpc::ChannelOptions options;
  options.lane = lanes.fetch_sub(1);
  return rpc::MakeChannel(address, options);
}

absl::Status Located(const absl::Status& status, const std::string& topic,
                     PartitionIndex partition) {
  ErrorMetadata metadata = MetadataOf(status);
  metadata["topic"] = topic;
  metadata["partition"] = absl::StrCat(partition.value());
  return MakeError(ReasonOf(status), status.message(), metadata);
}

// Where the log parts from what was read; -1 if the error does not say that.
Offset DivergingOffset(const absl::Status& error) {
  const ErrorMetadata metadata = MetadataOf(error);
  const auto found = metadata.find("diverging_offset");
  int64_t offset = -1;
  if (found == metadata.end() || !absl::SimpleAtoi(found->second, &offset)) return Offset(-1);
  return Offset(offset);
}

}  // namespace

v1::OffsetTarget AtOffset(Offset offset) {
  v1::OffsetTarget target;
  target.set_offset(offset.value());
  return target;
}

v1::OffsetTarget AtTime(absl::Time time) {
  v1::OffsetTarget target;
  *target.mutable_time() =
      google::protobuf::util::TimeUtil::MillisecondsToTimestamp(absl::ToUnixMillis(time));
  return target;
}

v1::OffsetTarget AtStart() {
  v1::OffsetTarget target;
  target.set_named(v1::NAMED_OFFSET_EARLIEST);
  return target;
}

v1::OffsetTarget AtEnd() {
  v1::OffsetTarget target;
  target.set_named(v1::NAMED_OFFSET_LATEST);
  return target;
}

Consumer::Impl::Impl(const ConsumerOptions& options, const std::vector<ConsumerPosition>& positions)
    : options_(options),
      clock_(Clock::Real()),
      channel_(MakeOwnChannel(options.address)),
      admin_(AdminOptions{.address = options.address}) {
  for (const ConsumerPosition& position : positions) {
    Place place{.topic = position.topic, .partition = position.partition, .start = position.start};
    if (place.start.target_case() == v1::OffsetTarget::TARGET_NOT_SET) place.start = AtStart();
    if (place.start.has_offset()) place.position = Offset(place.start.offset());
    index_[{place.topic, place.partition.value()}] = places_.size();
    places_.push_back(std::move(place));
  }
}

Consumer::Impl::~Impl() {
  Close();
  MutexLock lock(&mu_);
  while (calls_running_ > 0) changed_.Wait(&mu_);
}

void Consumer::Impl::Close() {
  MutexLock lock(&mu_);
  closed_ = true;
  Disconnect();
  changed_.NotifyAll();
}

bool Consumer::Impl::AnythingToRead() const {
  return std::any_of(places_.begin(), places_.end(),
                     [](const Place& place) { return !place.resting; });
}

absl::StatusOr<RecordRun> Consumer::Impl::Poll(absl::Duration timeout) {
  MutexLock lock(&mu_);
  const MonotonicTime deadline = clock_->MonotonicNow() + timeout;
  while (true) {
    if (closed_) return MakeError(Reason::kCancelled, "the consumer is closed");
    if (!inbox_.empty()) {
      const Bytes message = std::move(inbox_.front());
      inbox_.pop_front();
      if (Outcome outcome = TakeFrame(message); outcome.has_value()) return *std::move(outcome);
      continue;
    }
    if (ended_.has_value()) {
      if (Outcome outcome = TakeEnd(); outcome.has_value()) return *std::move(outcome);
    }
    const MonotonicTime now = clock_->MonotonicNow();
    MonotonicTime until = std::min(deadline, RetryDue(now));
    if (stream_ == nullptr && AnythingToRead()) {
      if (now >= reconnect_at_) {
        Connect();
      } else {
        until = std::min(until, reconnect_at_);
      }
    }
    if (now >= deadline) return RecordRun();
    changed_.WaitFor(&mu_, until - now);
  }
}

void Consumer::Impl::Connect() {
  v1::ConsumeRequest request;
  v1::OpenConsumeStream* open = request.mutable_open();
  open->set_client_id(options_.client_id);
  open->set_format(v1::RECORD_FORMAT_BATCHES);
  open->mutable_initial_credit()->set_bytes(options_.credit_bytes);
  for (Place& place : places_) {
    place.subscribed = !place.resting;
    place.seeking = false;
    place.retry_at.reset();
    if (place.resting) continue;
    FillPosition(place, open->mutable_partitions()->add_positions());
  }
  const uint64_t call = ++call_number_;
  ++calls_running_;
  ungranted_ = 0;
  RawStream::Events events;
  events.frame = [this, call](const grpc::ByteBuffer& frame) {
    MutexLock lock(&mu_);
    if (call != call_number_) return;
    inbox_.push_back(rpc::ToBytes(frame));
    changed_.NotifyAll();
  };
  events.done = [this, call](const absl::Status& status) {
    MutexLock lock(&mu_);
    if (call == call_number_) ended_ = status;
    --calls_running_;
    changed_.NotifyAll();
  };
  stream_ = RawStream::Start(channel_, kMethod, rpc::SerializeProto(request), std::move(events));
  for (const Place& place : places_) {
    if (place.subscribed && place.paused) SendPaused(place);
  }
}

void Consumer::Impl::FillPosition(const Place& place, v1::PartitionPosition* position) {
  position->set_topic(place.topic);
  position->set_partition(place.partition.value());
  const bool known = place.position >= Offset(0);
  *position->mutable_position() = known ? AtOffset(place.position) : place.start;
  if (known && place.last_epoch >= LeaderEpoch(0)) {
    position->set_last_epoch(place.last_epoch.value());
  }
}

void Consumer::Impl::Disconnect() {
  if (stream_ != nullptr) stream_->Cancel();
  stream_ = nullptr;
  ++call_number_;  // Late events of the old call are nobody's.
  inbox_.clear();
  ended_.reset();
}

Consumer::Impl::Outcome Consumer::Impl::TakeEnd() {
  const absl::Status status =
      ended_->ok() ? MakeError(Reason::kShuttingDown, "the gateway ended the stream") : *ended_;
  Disconnect();
  const MonotonicTime now = clock_->MonotonicNow();
  if (Place* culprit = FindCulprit(status); culprit != nullptr) {
    // It may be about the position before the seek; the next call asks for the new one only.
    if (culprit->seeking) return std::nullopt;
    return TakeError(status, culprit);
  }
  const absl::Duration backoff = kReconnectBase * (1 << std::min(failures_++, 6));
  reconnect_at_ = now + std::min(backoff, kReconnectMax);
  if (!lost_at_.has_value()) lost_at_ = now;
  const bool too_long = options_.reconnect_timeout > absl::ZeroDuration() &&
                        now - *lost_at_ >= options_.reconnect_timeout;
  if (IsRetryable(status) && !too_long) return std::nullopt;
  return absl::StatusOr<RecordRun>(status);
}

// The partition whose definite error ended the call, if the error names one of ours.
Consumer::Impl::Place* Consumer::Impl::FindCulprit(const absl::Status& status) {
  if (IsRetryable(status)) return nullptr;
  const ErrorMetadata metadata = MetadataOf(status);
  const auto topic = metadata.find("topic");
  const auto partition = metadata.find("partition");
  int32_t number = 0;
  if (topic == metadata.end()) return nullptr;
  if (partition == metadata.end() || !absl::SimpleAtoi(partition->second, &number)) return nullptr;
  const absl::StatusOr<Place*> place = Find(topic->second, PartitionIndex(number));
  return place.ok() ? *place : nullptr;
}

Consumer::Impl::Outcome Consumer::Impl::TakeFrame(const Bytes& message) {
  absl::StatusOr<ConsumeFrame> frame = ParseConsumeFrame(message);
  if (!frame.ok()) {
    Disconnect();
    return absl::StatusOr<RecordRun>(frame.status());
  }
  failures_ = 0;
  lost_at_.reset();
  if (frame->opened.has_value()) TakeOpened(*frame->opened);
  if (frame->records.has_value()) return TakeRecords(*std::move(frame->records));
  return std::nullopt;
}

void Consumer::Impl::TakeOpened(const v1::ConsumeStreamOpened& opened) {
  for (const v1::PartitionOffset& offset : opened.offsets()) {
    const absl::StatusOr<Place*> place = Find(offset.topic(), PartitionIndex(offset.partition()));
    if (place.ok() && (*place)->position.value() < 0) (*place)->position = Offset(offset.offset());
  }
}

Consumer::Impl::Outcome Consumer::Impl::TakeRecords(RecordsFrame frame) {
  const absl::StatusOr<Place*> found = Find(frame.topic, frame.partition);
  Grant(frame.size_bytes);
  if (!found.ok() || (*found)->resting) return std::nullopt;
  Place* place = *found;
  if (!frame.error.ok()) {
    if (!place->seeking) return TakeError(frame.error, place);
    Disconnect();  // As in TakeEnd().
    return std::nullopt;
  }
  if (place->seeking) {
    // Frames from before the seek: those ahead of the new position are dropped, those behind it are
    // skipped below, and one that spans it holds the very records the new ones would.
    if (RunDecoder::FirstOffset(frame) > place->position) return std::nullopt;
    if (frame.next_offset > place->position) place->seeking = false;
  }
  absl::StatusOr<RecordRun> run = RunDecoder::Decode(std::move(frame), place->position);
  if (!run.ok()) {
    place->resting = true;
    return absl::StatusOr<RecordRun>(Located(run.status(), place->topic, place->partition));
  }
  if (run->next_offset() > place->position) {
    // Both or neither: an epoch counts for the record it is of.
    place->position = run->next_offset();
    place->last_epoch = run->last_epoch();
  }
  if (run->empty()) return std::nullopt;
  return run;
}

Consumer::Impl::Outcome Consumer::Impl::TakeError(const absl::Status& error, Place* place) {
  if (IsRetryable(error)) {
    place->retry_at = clock_->MonotonicNow() + kPartitionRetry;
    return std::nullopt;
  }
  if (ReasonOf(error) == Reason::kOffsetOutOfRange &&
      options_.offset_reset != v1::NAMED_OFFSET_UNSPECIFIED) {
    // Nothing more comes from the partition before it is sought, so no old frame can be mistaken.
    place->position = DivergingOffset(error);
    place->last_epoch = LeaderEpoch(-1);
    place->start.set_named(options_.offset_reset);
    place->seeking = false;
    SendSeek(*place);
    return std::nullopt;
  }
  place->resting = true;
  return absl::StatusOr<RecordRun>(Located(error, place->topic, place->partition));
}

void Consumer::Impl::Grant(int64_t bytes) {
  ungranted_ += bytes;
  if (ungranted_ < options_.credit_bytes / 4 || stream_ == nullptr) return;
  v1::ConsumeRequest request;
  request.mutable_grant()->set_bytes(ungranted_);
  ungranted_ = 0;
  stream_->Write(rpc::SerializeProto(request));
}

void Consumer::Impl::SendSeek(const Place& place) {
  if (stream_ == nullptr) return;
  v1::ConsumeRequest request;
  FillPosition(place, request.mutable_seek()->add_positions());
  stream_->Write(rpc::SerializeProto(request));
}

void Consumer::Impl::SendPaused(const Place& place) {
  if (stream_ == nullptr) return;
  v1::ConsumeRequest request;
  v1::TopicPartition* partition = place.paused ? request.mutable_pause()->add_partitions()
                                               : request.mutable_resume()->add_partitions();
  partition->set_topic(place.topic);
  partition->set_partition(place.partition.value());
  stream_->Write(rpc::SerializeProto(request));
}

MonotonicTime Consumer::Impl::RetryDue(MonotonicTime now) {
  MonotonicTime next = kNever;
  for (Place& place : places_) {
    if (!place.retry_at.has_value()) continue;
    if (*place.retry_at > now) {
      next = std::min(next, *place.retry_at);
      continue;
    }
    place.retry_at.reset();
    SendSeek(place);
  }
  return next;
}

absl::StatusOr<Consumer::Impl::Place*> Consumer::Impl::Find(absl::string_view topic,
                                                            PartitionIndex partition) {
  const auto it = index_.find(Key(std::string(topic), partition.value()));
  if (it != index_.end()) return &places_[it->second];
  return MakeError(Reason::kPartitionNotFound, "the consumer does not read this partition",
                   {{"topic", std::string(topic)}, {"partition", absl::StrCat(partition.value())}});
}

absl::Status Consumer::Impl::Seek(absl::string_view topic, PartitionIndex partition,
                                  const v1::OffsetTarget& target) {
  Offset offset(target.offset());
  if (!target.has_offset()) {
    v1::OffsetQuery query;
    query.set_topic(std::string(topic));
    query.set_partition(partition.value());
    *query.mutable_target() = target;
    FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::OffsetResult> results,
                           admin_.ListOffsets({query}));
    if (results[0].has_error()) return rpc::FromProto(results[0].error());
    offset = Offset(results[0].offset());
  }
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(Place * place, Find(topic, partition));
  place->position = offset;
  place->last_epoch = LeaderEpoch(-1);
  place->seeking = true;
  place->resting = false;
  place->retry_at.reset();
  if (place->subscribed) {
    SendSeek(*place);
  } else {
    Disconnect();  // It was resting when the stream was opened; open one that names it.
  }
  changed_.NotifyAll();
  return absl::OkStatus();
}

absl::Status Consumer::Impl::SetPaused(absl::string_view topic, PartitionIndex partition,
                                       bool paused) {
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(Place * place, Find(topic, partition));
  if (place->paused == paused) return absl::OkStatus();
  place->paused = paused;
  if (place->subscribed) SendPaused(*place);
  return absl::OkStatus();
}

absl::StatusOr<Offset> Consumer::Impl::Position(absl::string_view topic,
                                                PartitionIndex partition) const {
  MutexLock lock(&mu_);
  FALAJ_ASSIGN_OR_RETURN(const Place* place, const_cast<Impl*>(this)->Find(topic, partition));
  return place->position;
}

absl::StatusOr<std::unique_ptr<Consumer>> Consumer::Create(
    const ConsumerOptions& options, const std::vector<ConsumerPosition>& positions) {
  if (options.address.empty()) return MakeError(Reason::kInvalidRequest, "no gateway address");
  if (positions.empty()) return MakeError(Reason::kInvalidRequest, "no partitions to read");
  std::vector<std::pair<std::string, int32_t>> names;
  for (const ConsumerPosition& p : positions) names.push_back({p.topic, p.partition.value()});
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) {
    return MakeError(Reason::kInvalidRequest, "a partition is named twice");
  }
  return std::unique_ptr<Consumer>(new Consumer(std::make_unique<Impl>(options, positions)));
}

Consumer::Consumer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Consumer::~Consumer() = default;

absl::StatusOr<RecordRun> Consumer::Poll(absl::Duration timeout) { return impl_->Poll(timeout); }
absl::Status Consumer::Seek(absl::string_view topic, PartitionIndex partition,
                            const v1::OffsetTarget& target) {
  return impl_->Seek(topic, partition, target);
}
absl::Status Consumer::Pause(absl::string_view topic, PartitionIndex partition) {
  return impl_->SetPaused(topic, partition, true);
}
absl::Status Consumer::Resume(absl::string_view topic, PartitionIndex partition) {
  return impl_->SetPaused(topic, partition, false);
}
absl::StatusOr<Offset> Consumer::Position(absl::string_view topic, PartitionIndex partition) const {
  return impl_->Position(topic, partition);
}
void Consumer::Close() { impl_->Close(); }

}  // namespace falaj::client
