#include "services/storage/replica_stream.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/base/turn.h"
#include "libs/record/batch_header.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::storage {
namespace {

using internal::v1::ReplicaNews;

// Of batches in a frame; the first comes whole. A round of the follower's appender takes a frame of
// the catch-up lane at most; and the store keeps what is read in larger pieces than 256 KiB out of
// its block cache.
constexpr int64_t kLiveFrameBytesMax = int64_t{1} << 20;
constexpr int64_t kCatchUpFrameBytesMax = int64_t{320} << 10;
// A replica that is not in sync, and lacks more than this, leaves the live lane; it comes back when
// it lacks no more than a frame. In between it stays where it is.
constexpr size_t kLiveGapMax = size_t{8} << 20;
constexpr size_t kNearEnd = size_t{1} << 20;
constexpr int64_t kCreditMax = int64_t{1} << 30;
constexpr size_t kAnswersMax = 10'000;  // Due or queued; beyond, nothing more is read.
constexpr int kReadsKeptMax = 4;        // Each up to a frame: what a slow follower costs in memory.

int64_t FrameBytesMax(Lane lane) {
  return lane == Lane::kLive ? kLiveFrameBytesMax : kCatchUpFrameBytesMax;
}

internal::v1::ReplicaLane ToProto(Lane lane) {
  return lane == Lane::kLive ? internal::v1::REPLICA_LANE_LIVE
                             : internal::v1::REPLICA_LANE_CATCH_UP;
}

uint64_t NextStreamId() {
  static std::atomic<uint64_t> last = 0;
  return last.fetch_add(1) + 1;
}

// A ReplicaNews within a frame, up to the batches, which follow as slices.
std::string EncodeNewsHead(const ReplicaNews& news, size_t batch_bytes) {
  std::string fields = news.SerializeAsString();
  if (batch_bytes > 0) {
    rpc::WireWriter(&fields).AppendBytesHeader(ReplicaNews::kBatchesFieldNumber, batch_bytes);
  }
  std::string out;
  rpc::WireWriter(&out).AppendBytesHeader(internal::v1::ReplicateResponse::kNewsFieldNumber,
                                          fields.size() + batch_bytes);
  return out + fields;
}

}  // namespace

// One partition that is copied to the follower. Its fields belong to the stream's mu_.
class ReplicaStream::Copy final : public Partition::Listener,
                                  public std::enable_shared_from_this<Copy> {
 public:
  Copy(std::weak_ptr<ReplicaStream> from, std::shared_ptr<Partition> of)
      : stream(std::move(from)), partition(std::move(of)) {}

  void OnPublished() override {
    if (const auto open = stream.lock()) open->OnPublished(shared_from_this());
  }

  const std::weak_ptr<ReplicaStream> stream;
  const std::shared_ptr<Partition> partition;
  uint32_t index = 0;
  LeaderEpoch epoch;
  Offset next;   // The cursor.
  Offset acked;  // What the follower says it has written.
  Offset sent_log_start;
  Offset sent_high_watermark;
  bool due = false;        // In due_.
  bool due_later = false;  // In due_later_.
  bool waiting = false;    // In waiting_.
  bool reading = false;    // A reader is at it, or will be.
  bool moving = false;     // To the other lane, once all is acknowledged.
  Offset read_from;        // Where the read under way, or kept, begins.
  std::optional<log::ReadResult> read_ahead;

  bool IsOf(const PartitionState& state) const {
    return !state.gone && state.leads && state.epoch == epoch;
  }
};

ReplicaStream::ReplicaStream(const ServiceParts* parts) : parts_(parts), id_(NextStreamId()) {}

ReplicaStream* ReplicaStream::Open(const ServiceParts* parts) {
  std::shared_ptr<ReplicaStream> stream(new ReplicaStream(parts));
  parts->replica_streams->Add(stream);
  MutexLock lock(&stream->mu_);
  stream->self_ = stream;
  stream->StartSendInitialMetadata();  // The follower says nothing before it knows of somebody.
  stream->MaybeRead();
  return stream.get();
}

void ReplicaStream::OnReadDone(bool ok) {
  absl::Status status;
  if (ok) {
    parts_->metrics->replica_messages_received()->Add(1);
    status = TakeFrame(inbox_);
  }
  inbox_.Clear();
  MutexLock lock(&mu_);
  reading_ = false;
  if (!ok || !status.ok()) {
    ended_ = true;
    if (end_.ok()) end_ = status;
  }
  MaybeRead();
  MaybeWrite();
  MaybeFinish();
}

void ReplicaStream::OnWriteDone(bool ok) {
  MutexLock lock(&mu_);
  writing_ = false;
  outgoing_.Clear();
  if (!ok) ended_ = true;
  MaybeRead();
  MaybeWrite();
  MaybeFinish();
}

void ReplicaStream::OnCancel() {
  MutexLock lock(&mu_);
  ended_ = true;
  MaybeFinish();
}

void ReplicaStream::OnDone() {
  std::shared_ptr<ReplicaStream> self;
  absl::flat_hash_map<uint32_t, CopyPtr> copies;
  replica::IsrMember from;
  {
    MutexLock lock(&mu_);
    finished_ = true;
    self = std::move(self_);
    copies.swap(copies_);
    due_.clear();
    due_later_.clear();
    waiting_.clear();
    parts_->metrics->replica_unread_answers()->Add(-static_cast<double>(outbox_.size()));
    outbox_.clear();
    Pause(false);
    from = from_;
  }
  for (const auto& [index, copy] : copies) {
    copy->partition->StopListening(copy.get());
    parts_->shard->FollowerLeft(copy->partition->key(), {.stream = id_, .from = from});
  }
}

absl::Status ReplicaStream::TakeFrame(const grpc::ByteBuffer& message) {
  internal::v1::ReplicateRequest request;
  if (!rpc::ParseProto(message, &request)) {
    return MakeError(Reason::kInvalidRequest, "a frame of the stream is malformed");
  }
  FALAJ_RETURN_IF_ERROR(TakeHello(request));
  FALAJ_RETURN_IF_ERROR(TakeCredit(request.credit_bytes()));
  for (const internal::v1::ReplicaAttach& attach : request.attaches()) TakeAttach(attach);
  TakeAcks(request);
  return absl::OkStatus();
}

absl::Status ReplicaStream::TakeHello(const internal::v1::ReplicateRequest& request) {
  MutexLock lock(&mu_);
  const bool first = from_.node == NodeId{0};
  if (first != request.has_hello()) return BadField("hello", "must be in the first frame only");
  if (!first) return absl::OkStatus();
  if (request.hello().node_id() < 1) return BadField("hello.node_id", "must be at least 1");
  if (request.hello().node_epoch() < 1) return BadField("hello.node_epoch", "must be at least 1");
  switch (request.hello().lane()) {
    case internal::v1::REPLICA_LANE_LIVE:
      lane_ = Lane::kLive;
      break;
    case internal::v1::REPLICA_LANE_CATCH_UP:
      lane_ = Lane::kCatchUp;
      break;
    default:
      return BadField("hello.lane", "must be set");
  }
  from_ = {NodeId{request.hello().node_id()}, NodeEpoch{request.hello().node_epoch()}};
  return absl::OkStatus();
}

absl::Status ReplicaStream::TakeCredit(int64_t bytes) {
  if (bytes < 0) return BadField("credit_bytes", "must not be negative");
  MutexLock lock(&mu_);
  if (bytes > kCreditMax - credit_) {
    return MakeError(Reason::kCreditOverflow, absl::StrCat("more than ", kCreditMax, " bytes"),
                     {{"field", "credit_bytes"}, {"limit", absl::StrCat(kCreditMax)}});
  }
  credit_ += bytes;
  return absl::OkStatus();
}

void ReplicaStream::TakeAttach(const internal::v1::ReplicaAttach& attach) {
  auto partition = parts_->Find(attach.topic_id(), attach.partition());
  if (!partition.ok()) return Attached(attach, nullptr, partition.status());
  replica::AttachFollower input{.token = attach.index(),
                                .stream = id_,
                                .epoch = LeaderEpoch{attach.leader_epoch()},
                                .last_epoch = LeaderEpoch{attach.last_epoch()},
                                .log_end = Offset{attach.log_end()},
                                .flushed_end = Offset{attach.flushed_end()},
                                .log_start = Offset{attach.log_start()}};
  {
    MutexLock lock(&mu_);
    input.from = from_;
    ++attaching_;
  }
  parts_->shard->AttachFollower(
      *partition, input,
      [self = shared_from_this(), attach, partition = *partition](const auto& answer) {
        {
          MutexLock lock(&self->mu_);
          --self->attaching_;
        }
        self->Attached(attach, partition, answer);
      });
}

void ReplicaStream::Attached(const internal::v1::ReplicaAttach& attach,
                             std::shared_ptr<Partition> partition,
                             const absl::StatusOr<replica::AttachAnswer>& answer) {
  NodeId from;
  {
    MutexLock lock(&mu_);
    from = from_.node;
  }
  internal::v1::ReplicateResponse response;
  internal::v1::ReplicaAttached& attached = *response.add_attached();
  attached.set_index(attach.index());
  CopyPtr copy;
  if (!answer.ok()) {
    parts_->metrics->CountError(answer.status());
    rpc::ToProto(answer.status(), attached.mutable_error());
  } else {
    attached.set_log_start(answer->log_start.value());
    attached.set_high_watermark(answer->high_watermark.value());
  }
  if (answer.ok() && answer->diverging.has_value()) {
    attached.mutable_cut()->set_epoch(answer->diverging->epoch.value());
    attached.mutable_cut()->set_end(answer->diverging->end.value());
  } else if (answer.ok()) {
    copy = std::make_shared<Copy>(weak_from_this(), partition);
    copy->index = attach.index();
    copy->epoch = LeaderEpoch{attach.leader_epoch()};
    copy->next = copy->acked = Offset{attach.log_end()};
    copy->sent_log_start = answer->log_start;
    copy->sent_high_watermark = answer->high_watermark;
  }
  if (copy != nullptr) {
    partition->Listen(copy);
    parts_->replica_streams->OnAttached(this, from, partition.get());
  }
  MutexLock lock(&mu_);
  if (finished_) {
    if (copy == nullptr) return;
    partition->StopListening(copy.get());
    parts_->shard->FollowerLeft(partition->key(), {.stream = id_, .from = from_});
    return;
  }
  Tell(response);
  if (copy != nullptr) {
    // What was attached before, of this partition or under this index, is over.
    if (const auto it = attached_.find(partition.get()); it != attached_.end()) {
      Drop(copies_.at(it->second));
    }
    if (const auto it = copies_.find(copy->index); it != copies_.end()) Drop(CopyPtr(it->second));
    attached_[partition.get()] = copy->index;
    copies_[copy->index] = copy;
    MakeDue(copy);
  }
  MaybeWrite();
}

void ReplicaStream::OnAttachedElsewhere(NodeId follower, const Partition* partition) {
  MutexLock lock(&mu_);
  if (finished_ || from_.node != follower) return;
  const auto it = attached_.find(partition);
  if (it == attached_.end()) return;
  // Streams overtake each other. If the follower did attach here last, it does so again.
  EndCopy(copies_.at(it->second),
          MakeError(Reason::kEpochFenced, "the partition is attached on another stream"));
  MaybeWrite();
}

bool ReplicaStream::IsAttached(const CopyPtr& copy) const {
  const auto it = copies_.find(copy->index);
  return it != copies_.end() && it->second == copy;
}

void ReplicaStream::Drop(const CopyPtr& dropped) {
  const CopyPtr copy = dropped;  // It may be what the maps hold.
  if (!IsAttached(copy)) return;
  attached_.erase(copy->partition.get());
  copies_.erase(copy->index);
  copy->partition->StopListening(copy.get());
  if (std::exchange(copy->waiting, false)) std::erase(waiting_, copy);
  if (std::exchange(copy->read_ahead, std::nullopt).has_value()) FreeRead();
}

void ReplicaStream::EndCopy(const CopyPtr& copy, const absl::Status& why) {
  internal::v1::ReplicateResponse response;
  internal::v1::ReplicaAttached& over = *response.add_attached();
  over.set_index(copy->index);
  rpc::ToProto(why, over.mutable_error());
  Tell(response);
  Drop(copy);
}

void ReplicaStream::MoveCopy(const CopyPtr& copy) {
  copy->moving = copy->acked < copy->next;
  if (copy->moving) return;
  internal::v1::ReplicateResponse response;
  internal::v1::ReplicaAttached& over = *response.add_attached();
  over.set_index(copy->index);
  over.set_lane(ToProto(Other(lane_)));
  Tell(response);
  Drop(copy);
}

void ReplicaStream::TakeAcks(const internal::v1::ReplicateRequest& request) {
  std::vector<ProgressTask> tasks;
  {
    MutexLock lock(&mu_);
    for (const internal::v1::ReplicaAck& ack : request.acks()) {
      const auto it = copies_.find(ack.index());
      if (it == copies_.end()) continue;  // Of an attach that is over.
      const CopyPtr& copy = it->second;
      copy->acked = std::max(copy->acked, Offset{ack.written_end()});
      if (copy->moving && copy->acked >= copy->next) MakeDue(copy);
      tasks.push_back({copy->partition,
                       {.stream = id_,
                        .from = from_,
                        .epoch = copy->epoch,
                        .written_end = Offset{ack.written_end()},
                        .flushed_end = Offset{ack.flushed_end()},
                        .log_start = Offset{ack.log_start()}}});
    }
  }
  if (!tasks.empty()) parts_->shard->TakeProgress(std::move(tasks));
}

void ReplicaStream::OnPublished(const CopyPtr& copy) {
  const PartitionState state = copy->partition->state();
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    // Marks alone can wait for the next batch, or for SendMarks().
    if (state.written_end == copy->next && copy->IsOf(state)) return MakeDueLater(copy);
    MakeDue(copy);
    if (writing_) return;
  }
  Turn::AtEnd(this, [self = shared_from_this()] {
    MutexLock lock(&self->mu_);
    self->MaybeWrite();
  });
}

void ReplicaStream::SendMarks() {
  MutexLock lock(&mu_);
  if (finished_) return;
  for (const CopyPtr& copy : std::exchange(due_later_, {})) {
    copy->due_later = false;
    MakeDue(copy);
  }
  MaybeWrite();
}

void ReplicaStream::MakeDue(const CopyPtr& copy) {
  if (std::exchange(copy->due, true)) return;
  due_.push_back(copy);
}

void ReplicaStream::MakeDueLater(const CopyPtr& copy) {
  if (std::exchange(copy->due_later, true)) return;
  due_later_.push_back(copy);
  if (due_later_.size() == 1) parts_->replica_streams->HasMarks();
}

Lane ReplicaStream::LaneOf(const Copy& copy, const PartitionState& state) const {
  const bool in_sync = std::find(state.isr.begin(), state.isr.end(), from_.node) != state.isr.end();
  const Offset next = std::max(copy.next, state.log_start);
  if (in_sync || next >= state.written_end) return Lane::kLive;
  const size_t gap = lane_ == Lane::kLive ? kLiveGapMax : kNearEnd;
  return parts_->tail_cache->Holds(copy.partition->tail_key(), next, state.written_end, gap)
             ? Lane::kLive
             : Lane::kCatchUp;
}

std::optional<log::ReadResult> ReplicaStream::TakeNext(const CopyPtr& copy,
                                                       const PartitionState& state, Offset next,
                                                       int64_t room) {
  if (copy->read_ahead.has_value()) {
    std::optional<log::ReadResult> read = std::exchange(copy->read_ahead, std::nullopt);
    FreeRead();
    // Else the log start has moved since: the follower begins anew there, and below it nothing
    // fits.
    if (copy->read_from == next) return read;
  }
  if (lane_ == Lane::kLive) {
    auto run = parts_->tail_cache->Lookup(copy->partition->tail_key(), next, state.written_end,
                                          static_cast<size_t>(room));
    if (run.has_value()) {
      return log::ReadResult{.batches = std::move(run->batches), .next_offset = run->next_offset};
    }
  }
  if (reads_kept_ < kReadsKeptMax) {
    ReadAhead(copy, next, state.written_end);
  } else if (!std::exchange(copy->waiting, true)) {
    waiting_.push_back(copy);
  }
  return std::nullopt;
}

void ReplicaStream::FreeRead() {
  --reads_kept_;
  while (reads_kept_ < kReadsKeptMax && !waiting_.empty() && !ended_ && !finished_) {
    const CopyPtr copy = std::move(waiting_.front());
    waiting_.pop_front();
    copy->waiting = false;
    const PartitionState state = copy->partition->state();
    const Offset next = std::max(copy->next, state.log_start);
    const bool has_all = copy->reading || copy->read_ahead.has_value() || next >= state.written_end;
    if (!has_all && copy->IsOf(state)) ReadAhead(copy, next, state.written_end);
  }
}

void ReplicaStream::ReadAhead(const CopyPtr& copy, Offset from, Offset end) {
  // A stream that has ended does not wait for its turn.
  const auto read = [stream = weak_from_this(), copy, from, end] {
    if (const auto open = stream.lock()) open->Read(copy, from, end);
  };
  ReaderPool* const readers = lane_ == Lane::kLive ? parts_->disk_readers : parts_->catch_up_reader;
  if (!readers->Run(read)) return MakeDueLater(copy);
  copy->reading = true;
  copy->read_from = from;
  ++reads_kept_;
}

void ReplicaStream::Read(const CopyPtr& copy, Offset from, Offset end) {
  Lane lane = Lane::kLive;
  {
    MutexLock lock(&mu_);
    if (ended_ || finished_ || !IsAttached(copy)) {
      copy->reading = false;
      FreeRead();
      return MaybeWrite();
    }
    lane = lane_;
    ++reads_;
  }
  auto result = parts_->store->Read(copy->partition->id(), from, end,
                                    static_cast<size_t>(FrameBytesMax(lane)));
  if (result.ok() && lane == Lane::kCatchUp) {
    parts_->catch_up->Charge(static_cast<int64_t>(result->batches.size()));
  }
  OnRead(copy, std::move(result));
}

void ReplicaStream::OnRead(const CopyPtr& copy, absl::StatusOr<log::ReadResult> result) {
  MutexLock lock(&mu_);
  copy->reading = false;
  --reads_;
  const bool wanted = IsAttached(copy);
  if (result.ok() && wanted) {
    // It begins later if the log start has moved since, of which the partition may not say yet.
    const auto first = record::ParseBatchHeader(result->batches);
    if (first.ok()) copy->read_from = std::max(copy->read_from, first->base_offset);
    copy->read_ahead = *std::move(result);
    MakeDue(copy);
  } else {
    FreeRead();
    if (!result.ok()) parts_->metrics->CountError(result.status());
    // The follower gets the rest from another leader, or waits.
    const bool damaged = ReasonOf(result.status()) == Reason::kCorruptRecord;
    if (damaged) parts_->shard->Damaged(copy->partition);
    if (wanted) MakeDueLater(copy);
  }
  MaybeWrite();
  MaybeFinish();
}

bool ReplicaStream::AddNews(const CopyPtr& copy, std::vector<Bytes>* pieces, int64_t* room) {
  if (!IsAttached(copy)) return true;  // Dropped since it became due.
  const PartitionState state = copy->partition->state();
  if (!copy->IsOf(state)) {  // No longer ours.
    EndCopy(copy, MakeError(Reason::kNotLeader, "the reign of the attach is over",
                            {{"leader", absl::StrCat(state.leader.value())},
                             {"leader_epoch", absl::StrCat(state.epoch.value())}}));
    return true;
  }
  if (LaneOf(*copy, state) != lane_) {
    MoveCopy(copy);
    return true;
  }
  copy->moving = false;  // It may have been about to.
  Bytes batches;
  Offset next = std::max(copy->next, state.log_start);  // A log that ends below begins anew there.
  if (next < state.written_end && !copy->reading) {
    if (*room <= 0) return false;
    if (std::optional<log::ReadResult> read = TakeNext(copy, state, next, *room)) {
      batches = std::move(read->batches);
      next = read->next_offset;
    }
  }
  if (batches.empty() && state.high_watermark == copy->sent_high_watermark &&
      state.log_start == copy->sent_log_start) {
    return true;
  }
  ReplicaNews news;
  news.set_index(copy->index);
  news.set_log_start(state.log_start.value());
  news.set_high_watermark(state.high_watermark.value());
  copy->sent_log_start = state.log_start;
  copy->sent_high_watermark = state.high_watermark;
  copy->next = next;
  *room -= static_cast<int64_t>(batches.size());
  credit_ -= static_cast<int64_t>(batches.size());
  parts_->metrics->replica_sent_bytes(lane_)->Add(static_cast<int64_t>(batches.size()));
  pieces->push_back(Bytes::Own(EncodeNewsHead(news, batches.size())));
  if (!batches.empty()) pieces->push_back(std::move(batches));
  if (next < state.written_end) MakeDue(copy);
  return true;
}

grpc::ByteBuffer ReplicaStream::GatherNews() {
  std::vector<Bytes> pieces;
  int64_t room = std::min(FrameBytesMax(lane_), credit_);
  const size_t count = due_.size();
  for (size_t i = 0; i < count && (room > 0 || pieces.empty()); ++i) {
    const CopyPtr copy = std::move(due_.front());
    due_.pop_front();
    copy->due = false;
    parts_->metrics->replica_looks()->Add(1);
    if (AddNews(copy, &pieces, &room)) continue;
    // It waits for credit and keeps its turn: else who always has more would leave it none.
    copy->due = true;
    due_.push_front(copy);
    break;
  }
  return pieces.empty() ? grpc::ByteBuffer() : rpc::ToByteBuffer(pieces);
}

void ReplicaStream::Tell(const internal::v1::ReplicateResponse& answer) {
  outbox_.push_back(rpc::SerializeProto(answer));
  parts_->metrics->replica_unread_answers()->Add(1);
}

void ReplicaStream::Pause(bool paused) {
  if (std::exchange(paused_, paused) == paused) return;
  parts_->metrics->replica_streams_paused()->Add(paused ? 1 : -1);
}

void ReplicaStream::MaybeRead() {
  if (reading_ || ended_ || finished_) return;
  Pause(attaching_ + outbox_.size() >= kAnswersMax);  // Until the follower has read some.
  if (paused_) return;
  reading_ = true;
  StartRead(&inbox_);
}

void ReplicaStream::MaybeWrite() {
  if (writing_ || ended_ || finished_) return;
  // Gathering may find that attaches are over: then there are answers.
  if (outbox_.empty()) outgoing_ = GatherNews();
  if (outgoing_.Length() == 0) {
    if (outbox_.empty()) return;
    outgoing_ = std::move(outbox_.front());
    outbox_.pop_front();
    parts_->metrics->replica_unread_answers()->Add(-1);
  }
  writing_ = true;
  parts_->metrics->replica_messages_sent()->Add(1);
  StartWrite(&outgoing_);
}

void ReplicaStream::MaybeFinish() {
  if (!ended_ || finished_ || writing_ || reads_ > 0) return;
  finished_ = true;
  Finish(rpc::ToGrpc(end_));
}

}  // namespace falaj::storage
