#include "services/storage/read_call.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/record/batch_header.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::storage {
namespace {

using internal::v1::PartitionBatches;

constexpr int64_t kBytesDefault = int64_t{1} << 20;
constexpr int64_t kBytesLimit = int64_t{16} << 20;  // Half of what a message between nodes may be.
constexpr int kPartitionsMax = 10'000;
constexpr size_t kPartitionsHereMax = 16;  // To be looked at between two turns of a gRPC thread.
constexpr int64_t kWaitLimitMs = 5 * 60 * 1000;

// The response up to the batches of a partition, which follow as slices. A field of a submessage is
// preceded by the size of the whole submessage, batches included.
std::string EncodePartHead(const PartitionBatches& head, size_t batch_bytes) {
  std::string fields = head.SerializeAsString();
  if (batch_bytes > 0) {
    rpc::WireWriter(&fields).AppendBytesHeader(PartitionBatches::kBatchesFieldNumber, batch_bytes);
  }
  std::string out;
  rpc::WireWriter(&out).AppendBytesHeader(internal::v1::ReadResponse::kPartitionsFieldNumber,
                                          fields.size() + batch_bytes);
  return out + fields;
}

}  // namespace

ReadCall* ReadCall::Start(const ServiceParts* parts, const grpc::ByteBuffer& request,
                          grpc::ByteBuffer* response) {
  std::shared_ptr<ReadCall> call(new ReadCall(parts, response));
  {
    MutexLock lock(&call->mu_);
    call->self_ = call;
  }
  if (const absl::Status parsed = call->Parse(request); !parsed.ok()) {
    call->End(parsed);
  } else {
    call->Go(false);
  }
  return call.get();
}

absl::Status ReadCall::Parse(const grpc::ByteBuffer& bytes) {
  internal::v1::ReadRequest request;
  if (!rpc::ParseProto(bytes, &request)) {
    return MakeError(Reason::kInvalidRequest, "the request is malformed");
  }
  if (request.partitions().empty()) return BadField("partitions", "must not be empty");
  if (request.partitions_size() > kPartitionsMax) return BadField("partitions", "are too many");
  if (request.max_bytes() < 0) return BadField("max_bytes", "must not be negative");
  if (request.min_bytes() < 0) return BadField("min_bytes", "must not be negative");
  if (request.max_wait_ms() < 0) return BadField("max_wait_ms", "must not be negative");
  bytes_max_ = request.max_bytes() == 0 ? kBytesDefault : request.max_bytes();
  bytes_max_ = std::min(bytes_max_, kBytesLimit);
  bytes_min_ = std::clamp<int64_t>(request.min_bytes(), 1, bytes_max_);
  for (const internal::v1::ReadPartition& asked : request.partitions()) {
    if (asked.max_bytes() < 0) return BadField("partitions.max_bytes", "must not be negative");
    if (asked.offset() < 0) return BadField("partitions.offset", "must not be negative");
    if (asked.last_epoch() < 0) return BadField("partitions.last_epoch", "must not be negative");
    Part part;
    auto found = parts_->Find(asked.topic_id(), asked.partition());
    if (found.ok()) {
      part.partition = *std::move(found);
    } else if (ReasonOf(found.status()) == Reason::kInvalidRequest) {
      return found.status();
    }
    part.status = found.status();
    part.epoch = LeaderEpoch{asked.leader_epoch()};
    part.offset = part.next = Offset{asked.offset()};
    if (asked.has_last_epoch()) part.last_epoch = LeaderEpoch{asked.last_epoch()};
    part.bytes_max = asked.max_bytes() == 0 ? bytes_max_ : asked.max_bytes();
    request_.push_back(std::move(part));
  }
  if (request.max_wait_ms() > 0) {
    const int64_t wait_ms = std::min<int64_t>(request.max_wait_ms(), kWaitLimitMs);
    deadline_ = Clock::Real()->MonotonicNow() + absl::Milliseconds(wait_ms);
  } else {
    MutexLock lock(&mu_);
    timed_out_ = true;
  }
  return absl::OkStatus();
}

void ReadCall::Go(bool may_block) {
  while (true) {
    bool last = false;
    {
      MutexLock lock(&mu_);
      last = timed_out_ || cancelled_;
    }
    if (!Collect(may_block)) {
      const bool queued =
          parts_->disk_readers->Run([self = shared_from_this()] { self->Go(true); });
      if (!queued) {
        End(WithRetryAfter(MakeError(Reason::kQuotaExceeded, "too many reads wait for the disk"),
                           absl::Milliseconds(100)));
      }
      return;
    }
    if (last || failed_part_ || collected_bytes_ >= bytes_min_) return Answer();
    if (Park()) return;
  }
}

bool ReadCall::Collect(bool may_block) {
  collected_bytes_ = 0;
  failed_part_ = false;
  for (Part& part : request_) {
    if (!CollectPart(&part, bytes_max_ - collected_bytes_, may_block)) return false;
    collected_bytes_ += static_cast<int64_t>(part.batches.size());
    if (!part.status.ok()) failed_part_ = true;
  }
  return true;
}

bool ReadCall::CollectPart(Part* part, int64_t room, bool may_block) {
  if (part->partition == nullptr) return true;
  part->batches = Bytes();
  part->appended.clear();
  part->next = part->offset;
  part->state = part->partition->state();
  part->status = CheckPosition(*part);
  if (!part->status.ok()) return true;
  if (part->offset == part->state.high_watermark || room <= 0) return true;
  const size_t bytes_max = static_cast<size_t>(std::min(room, part->bytes_max));
  std::optional<log::TailRun> run = parts_->tail_cache->Lookup(
      part->partition->tail_key(), part->offset, part->state.high_watermark, bytes_max);
  if (!run.has_value()) {
    if (!may_block) return false;
    absl::StatusOr<log::TailRun> read = ReadDisk(*part, bytes_max);
    part->status = read.status();
    if (!read.ok()) return true;  // The others are answered all the same.
    run = *std::move(read);
  }
  // The first batch comes whole, however large, but only one such per answer.
  const bool too_large = static_cast<int64_t>(run->batches.size()) > room;
  if (too_large && collected_bytes_ > 0) return true;
  part->batches = std::move(run->batches);
  part->appended = std::move(run->appended);
  part->next = run->next_offset;
  part->last_batch = run->last_batch;
  return true;
}

absl::Status ReadCall::CheckPosition(const Part& part) const {
  FALAJ_RETURN_IF_ERROR(Partition::CheckReadable(part.state, part.epoch));
  if (part.offset < part.state.log_start) return OffsetOutOfRange(part.offset, part.state);
  if (part.last_epoch.has_value()) {
    FALAJ_RETURN_IF_ERROR(part.partition->CheckHolds(part.epoch, *part.last_epoch, part.offset));
  }
  if (part.offset > part.state.high_watermark) return OffsetOutOfRange(part.offset, part.state);
  return absl::OkStatus();
}

absl::StatusOr<log::TailRun> ReadCall::ReadDisk(const Part& part, size_t bytes_max) {
  const MonotonicTime start = parts_->clock->MonotonicNow();
  absl::StatusOr<log::ReadResult> read =
      parts_->store->Read(part.partition->id(), part.offset, part.state.high_watermark, bytes_max);
  parts_->metrics->read_seconds()->Observe(parts_->clock->MonotonicNow() - start);
  if (!read.ok()) return parts_->ExplainRead(part.partition, part.epoch, read.status());
  // Retention may have passed while we read: then the batches begin too late.
  const PartitionState now = part.partition->state();
  if (part.offset < now.log_start) return OffsetOutOfRange(part.offset, now);
  return log::TailRun{.batches = std::move(read->batches),
                      .next_offset = read->next_offset,
                      .last_batch = read->last_batch,
                      .appended = {}};
}

bool ReadCall::Park() {
  bool news = false;
  for (const Part& part : request_) {
    const Offset offset = part.state.high_watermark;
    if (!part.partition->Await(part.epoch, offset, shared_from_this())) {
      news = true;
      break;
    }
    parked_at_.emplace_back(part.partition, offset);
  }
  parts_->read_deadlines->Add(deadline_, shared_from_this());
  {
    MutexLock lock(&mu_);
    if (!news && !news_ && !timed_out_ && !cancelled_) {
      parked_ = true;  // From here on Wake() finds somebody to go on.
      return true;
    }
    news_ = false;
  }
  Unpark();
  return false;
}

void ReadCall::Unpark() {
  for (const auto& [partition, offset] : parked_at_) partition->Forget(offset, this);
  parked_at_.clear();
  parts_->read_deadlines->Remove(deadline_, this);
}

void ReadCall::Wake(GoOn where) {
  {
    MutexLock lock(&mu_);
    if (!parked_) {
      news_ = true;
      return;
    }
    parked_ = false;
  }
  const auto resume = [self = shared_from_this()] {
    self->Unpark();
    self->Go(false);
  };
  if (where == GoOn::kHere && request_.size() <= kPartitionsHereMax) return resume();
  if (!parts_->tail_readers->Run(resume)) resume();
}

void ReadCall::OnDeadline() {
  {
    MutexLock lock(&mu_);
    timed_out_ = true;
  }
  Wake(GoOn::kElsewhere);
}

void ReadCall::Answer() {
  if (!parts_->read_budget->TryTake(collected_bytes_)) {
    return End(WithRetryAfter(
        MakeError(Reason::kQuotaExceeded, "answers to reads use up the node's memory budget"),
        absl::Milliseconds(100)));
  }
  {
    MutexLock lock(&mu_);
    budgeted_bytes_ = collected_bytes_;
  }
  std::vector<Bytes> pieces;
  pieces.reserve(request_.size() * 2);
  for (Part& part : request_) {
    PartitionBatches head;
    if (part.status.ok()) {
      head.set_high_watermark(part.state.high_watermark.value());
      head.set_log_start_offset(part.state.log_start.value());
      head.set_next_offset(part.next.value());
      if (!part.batches.empty()) {
        Observe(part);
        // By the batch itself: the replica may have another log by now.
        const size_t last_size = part.batches.size() - part.last_batch;
        const auto last =
            record::ParseBatchHeader(part.batches.Subrange(part.last_batch, last_size));
        if (last.ok()) head.set_last_epoch(last->leader_epoch.value());
      }
    } else {
      parts_->metrics->CountError(part.status);
      head.set_high_watermark(part.state.high_watermark.value());
      head.set_log_start_offset(part.state.log_start.value());
      head.set_next_offset(part.offset.value());
      rpc::ToProto(part.status, head.mutable_error());
    }
    pieces.push_back(Bytes::Own(EncodePartHead(head, part.batches.size())));
    if (!part.batches.empty()) pieces.push_back(std::move(part.batches));
  }
  *response_ = rpc::ToByteBuffer(pieces);
  End(absl::OkStatus());
}

void ReadCall::Observe(const Part& part) {
  TopicCounters* counters = part.partition->counters();
  counters->fetched_records.Add(part.next - part.offset);
  counters->fetched_bytes.Add(static_cast<int64_t>(part.batches.size()));
  const MonotonicTime now = parts_->clock->MonotonicNow();
  for (const MonotonicTime appended : part.appended) {
    parts_->metrics->delivery_seconds()->Observe(now - appended);
  }
}

void ReadCall::End(const absl::Status& status) { Finish(rpc::ToGrpc(status)); }

void ReadCall::OnCancel() {
  {
    MutexLock lock(&mu_);
    cancelled_ = true;
  }
  Wake(GoOn::kElsewhere);
}

void ReadCall::OnDone() {
  std::shared_ptr<ReadCall> self;
  int64_t bytes = 0;
  {
    MutexLock lock(&mu_);
    self = std::move(self_);
    bytes = budgeted_bytes_;
  }
  parts_->read_budget->Give(bytes);
}

}  // namespace falaj::storage
