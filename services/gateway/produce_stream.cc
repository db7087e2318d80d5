#include "services/gateway/produce_stream.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/base/turn.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"
#include "services/gateway/route_confirmer.h"

namespace falaj::gateway {
namespace {

// Frames of lower numbers are of other kinds, those of higher ones not known here.
constexpr int kBatchFrame = v1::StreamProduceRequest::kBatchFieldNumber;
constexpr int kBatchesFrame = v1::StreamProduceRequest::kBatchesFieldNumber;
static_assert(kBatchesFrame == kBatchFrame + 1);
constexpr int kBatches = v1::ProduceBatches::kBatchesFieldNumber;
constexpr int kBatchId = v1::ProduceBatch::kBatchIdFieldNumber;
constexpr int kPartition = v1::ProduceBatch::kPartitionFieldNumber;
constexpr int kBatch = v1::ProduceBatch::kBatchFieldNumber;

constexpr int kBatchesPerFrameMax = 256;
// So that the acks of one frame stay far below what clients take by default, 4 MiB, even if all of
// them carry errors.
constexpr int kAcksPerFrameMax = 256;

absl::Status Malformed() {
  return MakeError(Reason::kInvalidRequest, "a frame is not a well-formed StreamProduceRequest",
                   {{"field", "frame"}});
}

// The ack of records nobody waits for.
v1::BatchAck BlindAck(const v1::ProduceRecords& frame, const std::vector<EncodedBatch>& batches) {
  v1::BatchAck ack;
  ack.set_batch_id(frame.batch_id());
  for (int i = 0; i < frame.records_size(); ++i) ack.add_positions()->set_offset(-1);
  for (const EncodedBatch& batch : batches) {
    *ack.add_appends() = ToPartitionAppend(batch.partition, UnknownOutcome());
    for (const int record : batch.records) {
      ack.mutable_positions(record)->set_partition(batch.partition.value());
    }
  }
  return ack;
}

// What an ack takes while it waits to be written, roughly: small ones take more as objects.
int64_t MemoryOf(const v1::BatchAck& ack) {
  return static_cast<int64_t>(
      ack.ByteSizeLong() + sizeof(v1::BatchAck) +
      static_cast<size_t>(ack.appends_size()) * sizeof(v1::PartitionAppend) +
      static_cast<size_t>(ack.positions_size()) * sizeof(v1::RecordPosition));
}

absl::Status CheckCount(size_t batches) {
  if (batches >= 1 && batches <= kBatchesPerFrameMax) return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("a batches frame carries 1 to ", kBatchesPerFrameMax,
                                " batches, this one ", batches),
                   {{"field", "batches"},
                    {"value", absl::StrCat(batches)},
                    {"limit", absl::StrCat(kBatchesPerFrameMax)}});
}

// What a frame is that carries encoded batches: each a ProduceBatch.
struct BatchBodies {
  bool listed = false;  // In a batches frame, which must hold some.
  std::vector<Bytes> bodies;
};

// Nothing if `message` is not such a frame and no other: all others are parsed as protobuf. Fields
// of a newer client are left out.
std::optional<BatchBodies> FindBatches(const Bytes& message) {
  rpc::WireReader frame(message);
  BatchBodies result;
  std::optional<Bytes> content;
  while (frame.Next()) {
    if (!frame.is_bytes() || frame.field() > kBatchesFrame) continue;
    if (frame.field() < kBatchFrame || content.has_value()) return std::nullopt;
    result.listed = frame.field() == kBatchesFrame;
    content = frame.bytes();
  }
  if (!content.has_value() || !frame.ok()) return std::nullopt;
  if (!result.listed) {
    result.bodies.push_back(*content);
    return result;
  }
  rpc::WireReader list(*content);
  while (list.Next()) {
    if (list.field() == kBatches && list.is_bytes()) result.bodies.push_back(list.bytes());
  }
  if (!list.ok()) return std::nullopt;
  return result;
}

}  // namespace

ProduceStream* ProduceStream::Start(const GatewayParts* parts, const std::string& peer) {
  std::shared_ptr<ProduceStream> stream(new ProduceStream(parts, peer));
  stream->self_ = stream;
  parts->metrics->produce_streams->Add(1);
  parts->calls->Add(stream.get());
  stream->StartRead(&stream->incoming_);
  return stream.get();
}

ProduceStream::ProduceStream(const GatewayParts* parts, const std::string& peer)
    : parts_(parts), budget_(parts->budgets->Open(peer)), sticky_(Random::FromSystem(), {}) {}

void ProduceStream::OnReadDone(bool ok) {
  if (!ok) {
    MutexLock lock(&mu_);
    half_closed_ = true;
    FinishWhenDrained();
    return;
  }
  {
    MutexLock lock(&mu_);
    if (stopping_) return;  // The end, without an ack before it, says that it was not taken.
    taking_ = true;
  }
  absl::StatusOr<Frame> frame = ParseFrame(rpc::ToBytes(incoming_));
  incoming_.Clear();
  if (!frame.ok() || !NamesMissing(*frame)) return TakeAndReadOn(frame, absl::OkStatus());
  budget_.Add(frame->size_bytes);
  parts_->confirmer->Confirm(
      [self = shared_from_this(), frame = std::move(frame)](const absl::Status& confirmed) {
        self->budget_.Remove(frame->size_bytes);
        self->TakeAndReadOn(frame, confirmed);
      });
}

void ProduceStream::TakeAndReadOn(const absl::StatusOr<Frame>& frame,
                                  const absl::Status& confirmed) {
  const absl::Status taken = frame.ok() ? TakeFrame(*frame, confirmed) : frame.status();
  {
    MutexLock lock(&mu_);
    taking_ = false;
    if (!taken.ok()) {
      WriteNext();  // What has been acknowledged the client is told.
      return End(taken);
    }
    FinishWhenDrained();
  }
  ReadNext();
}

absl::StatusOr<ProduceStream::BatchFrame> ProduceStream::ParseBatch(const Bytes& message) {
  BatchFrame frame;
  frame.size_bytes = static_cast<int64_t>(message.size());
  rpc::WireReader reader(message);
  while (reader.Next()) {
    switch (reader.field()) {
      case kBatchId:
        frame.batch_id = reader.varint();
        break;
      case kPartition:
        frame.partition = PartitionIndex(static_cast<int32_t>(reader.varint()));
        break;
      case kBatch:
        frame.batch = reader.bytes();
        break;
      default:
        break;  // A field of a newer client.
    }
  }
  if (!reader.ok()) return Malformed();
  return frame;
}

absl::StatusOr<ProduceStream::Frame> ProduceStream::ParseFrame(const Bytes& message) const {
  Frame frame;
  frame.size_bytes = static_cast<int64_t>(message.size());
  if (topic_ != nullptr) {
    if (const std::optional<BatchBodies> batches = FindBatches(message); batches.has_value()) {
      if (batches->listed) FALAJ_RETURN_IF_ERROR(CheckCount(batches->bodies.size()));
      for (const Bytes& body : batches->bodies) {
        FALAJ_ASSIGN_OR_RETURN(BatchFrame batch, ParseBatch(body));
        frame.batches.push_back(std::move(batch));
      }
      return frame;
    }
  }
  v1::StreamProduceRequest& request = frame.other;
  if (!rpc::ParseProto(message, &request)) return Malformed();
  const bool is_open = request.frame_case() == v1::StreamProduceRequest::kOpen;
  if (is_open == (topic_ != nullptr) ||
      request.frame_case() == v1::StreamProduceRequest::FRAME_NOT_SET) {
    return MakeError(Reason::kInvalidRequest,
                     (topic_ != nullptr) ? "after the first frame come batch or records frames"
                                         : "the first frame must be open",
                     {{"field", "frame"}});
  }
  // Batches, and something else beside them.
  if (!is_open && !request.has_records()) return Malformed();
  return frame;
}

absl::Status ProduceStream::FindPartition(PartitionIndex partition) {
  if (CheckPartition(*topic_, partition).ok()) return absl::OkStatus();
  // It may have grown since the stream was opened. Another one of that name is not meant.
  const absl::StatusOr<TopicPtr> now = parts_->routes->FindTopic(topic_->name);
  if (now.ok() && (*now)->id == topic_->id) topic_ = *now;
  return CheckPartition(*topic_, partition);
}

bool ProduceStream::NamesMissing(const Frame& frame) {
  if (frame.other.has_open()) {
    return IsMissing(parts_->routes->FindTopic(frame.other.open().topic()).status());
  }
  if (frame.other.has_records() && frame.other.records().has_partition()) {
    return !FindPartition(PartitionIndex(frame.other.records().partition())).ok();
  }
  return std::any_of(frame.batches.begin(), frame.batches.end(), [this](const BatchFrame& batch) {
    return !FindPartition(batch.partition).ok();
  });
}

absl::Status ProduceStream::TakeFrame(const Frame& frame, const absl::Status& confirmed) {
  if (frame.other.has_open()) return TakeOpen(frame.other.open(), confirmed);
  if (frame.other.has_records()) {
    TakeRecords(frame.other.records(), frame.size_bytes, confirmed);
  }
  for (const BatchFrame& batch : frame.batches) TakeBatch(batch, confirmed);
  return absl::OkStatus();
}

absl::Status ProduceStream::TakeOpen(const v1::OpenProduceStream& open,
                                     const absl::Status& confirmed) {
  FALAJ_RETURN_IF_ERROR(CheckAcks(open.acks()));
  FALAJ_RETURN_IF_ERROR(CheckClientId(open.client_id(), "open.client_id"));
  absl::StatusOr<TopicPtr> topic = parts_->routes->FindTopic(open.topic());
  if (!topic.ok()) return AsConfirmed(topic.status(), confirmed);
  topic_ = *std::move(topic);
  acks_ = open.acks();
  v1::StreamProduceResponse response;
  v1::ProduceStreamOpened* opened = response.mutable_opened();
  opened->set_batches_per_frame_max(kBatchesPerFrameMax);
  opened->set_partition_count(static_cast<int32_t>(topic_->partitions.size()));
  opened->set_batches_in_flight_max(parts_->limits.stream_batches_in_flight_max);
  opened->set_bytes_in_flight_max(parts_->limits.stream_bytes_in_flight_max);
  opened->set_batch_bytes_max(topic_->settings.batch_bytes_max());
  opened->set_compression(static_cast<v1::Compression>(topic_->settings.compression()));
  MutexLock lock(&mu_);
  combine_acks_ = open.combined_acks();
  frames_out_.push_back({.frame = std::move(response)});
  WriteNext();
  return absl::OkStatus();
}

void ProduceStream::TakeBatch(const BatchFrame& batch, const absl::Status& confirmed) {
  const int64_t size_bytes = batch.size_bytes;
  const PartitionIndex partition = batch.partition;
  Enter(size_bytes);
  v1::BatchAck ack;
  ack.set_batch_id(batch.batch_id);
  absl::Status status = AsConfirmed(FindPartition(partition), confirmed);
  if (status.ok()) status = CheckBatch(*topic_, partition, batch.batch.size());
  if (!status.ok()) {
    rpc::ToProto(status, ack.mutable_error());
    Leave(size_bytes, ack);
    return;
  }
  const MonotonicTime start = parts_->clock->MonotonicNow();
  const bool blind = acks_ == v1::ACKS_NONE;
  if (blind) {
    *ack.add_appends() = ToPartitionAppend(partition, UnknownOutcome());
    SendAck(ack);
  }
  AppenderOf(partition)->Append(
      batch.batch, start + parts_->limits.append_timeout,
      [self = shared_from_this(), ack, partition, size_bytes, start,
       blind](absl::StatusOr<internal::v1::AppendOutcome> outcome) mutable {
        if (blind) {
          self->Leave(size_bytes);
          return;
        }
        *ack.add_appends() = ToPartitionAppend(partition, outcome);
        self->parts_->metrics->ObserveProduce(self->acks_,
                                              self->parts_->clock->MonotonicNow() - start);
        self->Leave(size_bytes, ack);
      });
}

void ProduceStream::TakeRecords(const v1::ProduceRecords& frame, int64_t size_bytes,
                                const absl::Status& confirmed) {
  Enter(size_bytes);
  v1::BatchAck ack;
  ack.set_batch_id(frame.batch_id());
  const auto partition =
      frame.has_partition() ? std::optional<int32_t>(frame.partition()) : std::nullopt;
  // The topic may have grown since the stream was opened; keys must map over all its partitions.
  absl::StatusOr<TopicPtr> topic = parts_->routes->FindTopic(topic_->name);
  if (topic.ok()) sticky_.SetPartitions(LedPartitions(**topic));
  absl::StatusOr<std::vector<EncodedBatch>> batches =
      topic.ok()
          ? EncodeRecords(frame.records(), partition, **topic, &sticky_, parts_->clock->NowMs())
          : topic.status();
  if (!batches.ok()) {
    rpc::ToProto(AsConfirmed(batches.status(), confirmed), ack.mutable_error());
    Leave(size_bytes, ack);
    return;
  }
  const MonotonicTime start = parts_->clock->MonotonicNow();
  const bool blind = acks_ == v1::ACKS_NONE;
  if (blind) {
    SendAck(BlindAck(frame, *batches));
  }
  auto gather = std::make_shared<AppendGather>(
      *batches, frame.records_size(),
      [self = shared_from_this(), ack, size_bytes, start,
       blind](AppendGather::Result result) mutable {
        if (blind) {
          self->Leave(size_bytes);
          return;
        }
        for (v1::PartitionAppend& append : result.appends) *ack.add_appends() = std::move(append);
        for (v1::RecordPosition& position : result.positions)
          *ack.add_positions() = std::move(position);
        self->parts_->metrics->ObserveProduce(self->acks_,
                                              self->parts_->clock->MonotonicNow() - start);
        self->Leave(size_bytes, ack);
      });
  for (size_t i = 0; i < batches->size(); ++i) {
    AppenderOf((*batches)[i].partition)
        ->Append((*batches)[i].batch, start + parts_->limits.append_timeout,
                 [gather, i](const auto& outcome) { gather->Complete(i, outcome); }, Lane());
  }
}

std::shared_ptr<PartitionAppender> ProduceStream::AppenderOf(PartitionIndex partition) {
  std::shared_ptr<PartitionAppender>& appender = appenders_[partition];
  if (appender == nullptr) {
    appender = std::make_shared<PartitionAppender>(parts_, topic_->id, partition, acks_);
  }
  return appender;
}

std::shared_ptr<ProducerLane> ProduceStream::Lane() {
  // Only ALL makes sure that what was acknowledged stays: else the sequences would have gaps.
  if (lane_ == nullptr && acks_ == v1::ACKS_ALL) lane_ = parts_->lanes->Take();
  return lane_;
}

void ProduceStream::Enter(int64_t size_bytes) {
  budget_.Add(size_bytes);
  MutexLock lock(&mu_);
  ++batches_in_flight_;
  bytes_in_flight_ += size_bytes;
}

bool ProduceStream::QueueAck(const v1::BatchAck& ack) {
  if (ack.has_error()) parts_->metrics->CountError(rpc::FromProto(ack.error()));
  for (const v1::PartitionAppend& append : ack.appends()) {
    if (append.has_error()) parts_->metrics->CountError(rpc::FromProto(append.error()));
  }
  MutexLock lock(&mu_);
  if (finished_) return false;
  // An ack with positions may be large: it goes alone.
  const bool combine = combine_acks_ && ack.positions().empty();
  if (!combine || frames_out_.empty() || !frames_out_.back().frame.has_acks() ||
      frames_out_.back().acks >= kAcksPerFrameMax) {
    frames_out_.emplace_back();
  }
  FrameOut& out = frames_out_.back();
  *(combine ? out.frame.mutable_acks()->add_acks() : out.frame.mutable_ack()) = ack;
  const int64_t size_bytes = MemoryOf(ack);
  budget_.Add(size_bytes);
  ++out.acks;
  out.size_bytes += size_bytes;
  ++unread_acks_;
  unread_bytes_ += size_bytes;
  return !writing_;
}

void ProduceStream::SendAck(const v1::BatchAck& ack) {
  if (!QueueAck(ack)) return;
  if (Turn::IsDue(this)) return;
  // The server's parts outlive the pass, and so the stream, which is let go of before it.
  auto pass = std::make_shared<Gate::Pass>(parts_->turns->Enter());
  Turn::AtEnd(this, [self = shared_from_this(), pass = std::move(pass)]() mutable {
    {
      MutexLock lock(&self->mu_);
      self->WriteNext();
    }
    self.reset();
    pass.reset();
  });
}

void ProduceStream::Leave(int64_t size_bytes, const v1::BatchAck& ack) {
  SendAck(ack);
  Leave(size_bytes);
}

void ProduceStream::Leave(int64_t size_bytes) {
  budget_.Remove(size_bytes);
  bool resume = false;
  {
    MutexLock lock(&mu_);
    --batches_in_flight_;
    bytes_in_flight_ -= size_bytes;
    resume = std::exchange(read_withheld_, false);
    FinishWhenDrained();
  }
  if (resume) ReadNext();
}

void ProduceStream::ReadNext() {
  {
    MutexLock lock(&mu_);
    if (finished_ || stopping_) return;
    if (!HasRoom()) {
      read_withheld_ = true;  // Leave() or OnWriteDone() goes on.
      return;
    }
  }
  if (const std::optional<BudgetScope> full =
          budget_.AwaitRoom([self = shared_from_this()] { self->ReadNext(); })) {
    parts_->metrics->CountThrottled(*full);
    return;
  }
  MutexLock lock(&mu_);
  if (!finished_ && !stopping_) StartRead(&incoming_);
}

bool ProduceStream::HasRoom() const {
  const GatewayLimits& limits = parts_->limits;
  return batches_in_flight_ < limits.stream_batches_in_flight_max &&
         bytes_in_flight_ < limits.stream_bytes_in_flight_max &&
         unread_acks_ < limits.stream_batches_in_flight_max;
}

void ProduceStream::WriteNext() {
  if (writing_ || frames_out_.empty() || finished_) return;
  writing_ = true;
  FrameOut& next = frames_out_.front();
  outgoing_ = rpc::SerializeProto(next.frame);
  writing_acks_ = next.acks;
  writing_bytes_ = next.size_bytes;
  frames_out_.pop_front();
  grpc::WriteOptions options;
  if (!frames_out_.empty()) options.set_buffer_hint();
  StartWrite(&outgoing_, options);
}

void ProduceStream::OnWriteDone(bool ok) {
  int64_t written_bytes = 0;
  bool resume = false;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    outgoing_.Clear();
    unread_acks_ -= std::exchange(writing_acks_, 0);
    written_bytes = std::exchange(writing_bytes_, 0);
    unread_bytes_ -= written_bytes;
    if (ok) {
      resume = HasRoom() && std::exchange(read_withheld_, false);
      WriteNext();
      FinishWhenDrained();
    } else {
      End(MakeError(Reason::kCancelled, "the client is gone"));
    }
  }
  budget_.Remove(written_bytes);
  if (resume) ReadNext();
}

void ProduceStream::FinishWhenDrained() {
  if (batches_in_flight_ > 0 || !frames_out_.empty() || writing_ || taking_) return;
  if (half_closed_) End(absl::OkStatus());
  if (stopping_) End(MakeError(Reason::kShuttingDown, "this gateway is stopping"));
}

void ProduceStream::End(const absl::Status& status) {
  if (std::exchange(finished_, true)) return;
  frames_out_.clear();
  Finish(rpc::ToGrpc(status));
}

void ProduceStream::OnCancel() {
  MutexLock lock(&mu_);
  End(MakeError(Reason::kCancelled, "the stream was cancelled"));
}

void ProduceStream::Stop() {
  MutexLock lock(&mu_);
  stopping_ = true;
  FinishWhenDrained();
}

void ProduceStream::OnDone() {
  parts_->calls->Remove(this);
  int64_t left_bytes = 0;
  {
    MutexLock lock(&mu_);
    left_bytes = std::exchange(unread_bytes_, 0);
  }
  budget_.Remove(left_bytes);
  parts_->metrics->produce_streams->Add(-1);
  const std::shared_ptr<ProduceStream> last = std::move(self_);
}

}  // namespace falaj::gateway
