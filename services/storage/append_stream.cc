#include "services/storage/append_stream.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/record/batch_validator.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::storage {
namespace {

constexpr size_t kHeaderBytesMax = 1024;
constexpr int kBatchesMax = 1024;  // In a message.
constexpr int kOutcomesMax = 256;  // In a message: far below what a gateway receives at a time.

absl::Status Malformed() {
  return MakeError(Reason::kInvalidRequest, "a message of the stream is malformed");
}

std::optional<replica::Acks> ToAcks(v1::Acks acks) {
  switch (acks) {
    case v1::ACKS_NONE:
      return replica::Acks::kNone;
    case v1::ACKS_LEADER:
      return replica::Acks::kLeader;
    case v1::ACKS_ALL:
      return replica::Acks::kAll;
    default:
      return std::nullopt;
  }
}

internal::v1::AppendOutcome ToProto(const AppendAnswer& answer) {
  internal::v1::AppendOutcome outcome;
  outcome.set_request_id(answer.request_id);
  if (!answer.status.ok()) {
    rpc::ToProto(answer.status, outcome.mutable_error());
    return outcome;
  }
  outcome.set_base_offset(answer.outcome.base.value());
  outcome.set_record_count(answer.outcome.record_count);
  outcome.set_append_time_ms(answer.append_time_ms);
  outcome.set_duplicate(answer.outcome.duplicate);
  outcome.set_in_sync_replicas(answer.outcome.in_sync_replicas);
  outcome.set_durable(answer.outcome.durable);
  return outcome;
}

absl::Status DiskFull(NodeId node) {
  return WithRetryAfter(
      MakeError(Reason::kDiskFull, absl::StrCat("storage node ", node, " has no room"),
                {{"node", absl::StrCat(node.value())}}),
      absl::Seconds(1));
}

}  // namespace

AppendStream* AppendStream::Open(const ServiceParts* parts) {
  std::shared_ptr<AppendStream> stream(new AppendStream(parts));
  MutexLock lock(&stream->mu_);
  stream->self_ = stream;
  // A gateway writes only once it knows that somebody is there: tell it before the first answer.
  stream->StartSendInitialMetadata();
  stream->MaybeRead();
  return stream.get();
}

void AppendStream::OnReadDone(bool ok) {
  absl::Status status;
  if (ok) {
    status = TakeMessage(rpc::ToBytes(inbox_));
    inbox_.Clear();
  }
  MutexLock lock(&mu_);
  reading_ = false;
  if (!ok || !status.ok()) no_more_reads_ = true;
  if (!status.ok()) end_ = status;
  MaybeRead();
  MaybeWrite();
  MaybeFinish();
}

void AppendStream::OnWriteDone(bool ok) {
  if (!ok) cancelled_.store(true);  // The connection is gone; OnCancel may be late.
  MutexLock lock(&mu_);
  writing_ = false;
  outgoing_.Clear();
  MaybeWrite();
  MaybeFinish();
}

void AppendStream::OnCancel() {
  cancelled_.store(true);
  MutexLock lock(&mu_);
  MaybeFinish();
}

void AppendStream::OnDone() {
  std::shared_ptr<AppendStream> self;
  MutexLock lock(&mu_);
  finished_ = true;
  self = std::move(self_);  // Destroyed after the lock: declared before it.
}

absl::Status AppendStream::TakeMessage(const Bytes& message) {
  int batches = 0;
  rpc::WireReader reader(message);
  while (reader.Next()) {
    if (reader.field() != internal::v1::AppendRequest::kBatchesFieldNumber) continue;
    if (!reader.is_bytes() || ++batches > kBatchesMax) return Malformed();
    FALAJ_RETURN_IF_ERROR(TakeBatch(reader.bytes()));
  }
  return reader.ok() && batches > 0 ? absl::OkStatus() : Malformed();
}

absl::Status AppendStream::TakeBatch(const Bytes& entry) {
  internal::v1::AppendHeader header;
  bool has_header = false;
  Bytes batch;
  rpc::WireReader reader(entry);
  while (reader.Next()) {
    if (reader.field() == internal::v1::AppendBatch::kHeaderFieldNumber) {
      if (!reader.is_bytes() || reader.bytes_size() > kHeaderBytesMax) return Malformed();
      if (!rpc::ParseProto(reader.bytes(), &header)) return Malformed();
      has_header = true;
    } else if (reader.field() == internal::v1::AppendBatch::kBatchFieldNumber) {
      if (!reader.is_bytes()) return Malformed();
      batch = reader.bytes();
    }
  }
  if (!reader.ok() || !has_header) return Malformed();

  const int64_t bytes = static_cast<int64_t>(batch.size());
  parts_->append_budget->Take(bytes);
  {
    MutexLock lock(&mu_);
    ++unanswered_;
    unanswered_bytes_ += bytes;
  }
  const absl::Status queued = Queue(header, std::move(batch));
  if (queued.ok()) {
    parts_->catch_up->Earn(bytes);  // Whoever lags lacks this, too.
    return absl::OkStatus();
  }
  parts_->metrics->CountError(queued);
  AppendAnswer answer;
  answer.request_id = header.request_id();
  answer.status = queued;
  answer.size_bytes = bytes;
  Answer(std::move(answer));  // OnReadDone() writes it.
  return absl::OkStatus();
}

absl::Status AppendStream::Queue(const internal::v1::AppendHeader& header, Bytes batch) {
  AppendTask task;
  task.received = parts_->clock->MonotonicNow();
  const std::optional<replica::Acks> acks = ToAcks(header.acks());
  if (!acks.has_value()) return BadField("acks", "must be set");
  if (header.timeout_ms() < 0) return BadField("timeout_ms", "must not be negative");
  FALAJ_ASSIGN_OR_RETURN(task.partition, parts_->Find(header.topic_id(), header.partition()));
  const PartitionState state = task.partition->state();
  task.epoch = LeaderEpoch{header.leader_epoch()};
  FALAJ_RETURN_IF_ERROR(Partition::CheckAppend(state, task.epoch, *acks));
  if (parts_->disk->level() >= log::DiskLevel::kSoft) return DiskFull(parts_->node);

  record::Limits limits;
  limits.batch_bytes_max = static_cast<size_t>(state.settings.batch_bytes_max);
  FALAJ_ASSIGN_OR_RETURN(const record::BatchHeader batch_header,
                         record::ValidateBatch(batch, limits));
  if (batch_header.control()) {
    return MakeError(Reason::kInvalidBatch, "control batches are the leader's to write",
                     {{"field", "attributes"}});
  }
  task.acks = *acks;
  task.info = {.record_count = batch_header.record_count,
               .size_bytes = static_cast<int64_t>(batch.size()),
               .max_timestamp_ms = batch_header.max_timestamp_ms,
               .producer_id = batch_header.producer_id,
               .producer_epoch = batch_header.producer_epoch,
               .base_sequence = batch_header.base_sequence};
  task.batch = std::move(batch);
  if (header.timeout_ms() > 0) {
    task.deadline = task.received + absl::Milliseconds(header.timeout_ms());
  }
  task.request_id = header.request_id();
  task.sink = shared_from_this();
  return parts_->shard->Append(std::move(task));
}

void AppendStream::Answer(AppendAnswer answer) {
  const int64_t bytes = answer.size_bytes;
  {
    MutexLock lock(&mu_);
    --unanswered_;
    unanswered_bytes_ -= bytes;
    if (!finished_) outbox_.push_back(ToProto(answer));
  }
  // Outside the lock: it may resume this very stream.
  parts_->append_budget->Give(bytes);
}

void AppendStream::Flush() {
  MutexLock lock(&mu_);
  MaybeWrite();
  MaybeRead();
  MaybeFinish();
}

void AppendStream::ResumeReading() {
  MutexLock lock(&mu_);
  waiting_for_room_ = false;
  MaybeRead();
}

void AppendStream::MaybeRead() {
  if (reading_ || no_more_reads_ || finished_ || cancelled_.load()) return;
  if (unanswered_bytes_ >= parts_->stream_bytes_max) return;  // Flush() comes back.
  if (waiting_for_room_) return;
  if (parts_->append_budget->over_limit()) {
    const std::weak_ptr<AppendStream> weak = weak_from_this();
    waiting_for_room_ = parts_->append_budget->WaitForRoom([weak] {
      if (const std::shared_ptr<AppendStream> stream = weak.lock()) stream->ResumeReading();
    });
    if (waiting_for_room_) return;
  }
  reading_ = true;
  StartRead(&inbox_);
}

void AppendStream::MaybeWrite() {
  if (writing_ || finished_ || outbox_.empty() || cancelled_.load()) return;
  internal::v1::AppendResponse response;
  while (!outbox_.empty() && response.outcomes_size() < kOutcomesMax) {
    response.add_outcomes()->Swap(&outbox_.front());
    outbox_.pop_front();
  }
  outgoing_ = rpc::SerializeProto(response);
  writing_ = true;
  grpc::WriteOptions options;
  if (!outbox_.empty()) options.set_buffer_hint();  // More follows at once: one packet for all.
  StartWrite(&outgoing_, options);
}

void AppendStream::MaybeFinish() {
  if (finished_ || writing_) return;
  const bool cancelled = cancelled_.load();
  if (!cancelled && !(no_more_reads_ && unanswered_ == 0 && outbox_.empty())) return;
  finished_ = true;
  outbox_.clear();
  Finish(cancelled ? grpc::Status::CANCELLED : rpc::ToGrpc(end_));
}

}  // namespace falaj::storage
