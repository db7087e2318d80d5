#include "services/gateway/consume_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/unreached_epoch.h"

namespace falaj::gateway {
namespace {

constexpr int kRecordsFrame = 3;  // Of ConsumeResponse.
constexpr int kPositionsMax = 10'000;
constexpr size_t kClientIdBytesMax = 255;
// Asked of a node at a time. Frames of batches are as long, and clients take 4 MiB unless told
// otherwise.
constexpr int32_t kReadBytes = 2 << 20;
constexpr int kReadsPerNode = 2;
constexpr int64_t kQueueBytesMax = 4 << 20;   // Read ahead of the client so much and no more.
constexpr size_t kDecodedBytesMax = 1 << 20;  // Of a frame of plain records.
// Answers that have come are decoded as long as less than this is queued. What is left of them is
// read again: records may be many times larger than their batches, and credit counts batches.
constexpr int64_t kDecodedQueueBytesMax = 16 << 20;
constexpr absl::Duration kReadWait = absl::Seconds(10);
constexpr absl::Duration kReadGrace = absl::Seconds(5);
constexpr absl::Duration kRetryDelay = absl::Milliseconds(50);
// A Read that has records to bring answers long before: this one waits for new ones.
constexpr absl::Duration kSurelyWaits = absl::Milliseconds(100);
constexpr absl::Duration kLookupTimeout = absl::Seconds(10);
constexpr absl::Duration kProgressInterval = absl::Seconds(1);

absl::Status BadFrame(const std::string& field, const std::string& message) {
  return MakeError(Reason::kInvalidRequest, message, {{"field", field}});
}

// The error ends the stream of many partitions: it has to say which one it is about.
absl::Status Located(const absl::Status& error, const PartitionName& name) {
  ErrorMetadata metadata = MetadataOf(error);
  metadata["topic"] = name.topic;
  metadata["partition"] = absl::StrCat(name.partition);
  absl::Status located = MakeError(ReasonOf(error), error.message(), metadata);
  const std::optional<absl::Duration> delay = RetryAfterOf(error);
  return delay.has_value() ? WithRetryAfter(std::move(located), *delay) : located;
}

// A stream that was not reading while its topic was deleted and made again.
absl::Status OfAnotherTopic(Offset next) {
  return MakeError(Reason::kOffsetOutOfRange,
                   absl::StrCat("the record before offset ", next,
                                " was of another topic, which had this name and is deleted"),
                   {{"offset", absl::StrCat(next)}});
}

}  // namespace

ConsumeStream* ConsumeStream::Start(const GatewayParts* parts, const std::string& peer) {
  std::shared_ptr<ConsumeStream> stream(new ConsumeStream(parts, peer));
  stream->self_ = stream;
  parts->metrics->consume_streams->Add(1);
  parts->calls->Add(stream.get());
  stream->StartRead(&stream->incoming_);
  return stream.get();
}

void ConsumeStream::OnReadDone(bool ok) {
  if (!ok) {
    MutexLock lock(&mu_);
    End(absl::OkStatus());  // The client has had enough.
    return;
  }
  absl::Status status = TakeFrame(incoming_);
  MutexLock lock(&mu_);
  if (!status.ok()) {
    End(status);
  } else if (resolving_) {
    read_withheld_ = true;  // OnResolved() goes on: positions change in the order of the frames.
  } else if (!finished_) {
    StartRead(&incoming_);
  }
}

absl::Status ConsumeStream::TakeFrame(const grpc::ByteBuffer& message) {
  v1::ConsumeRequest request;
  if (!rpc::ParseProto(message, &request)) {
    return BadFrame("frame", "a frame is not a well-formed ConsumeRequest");
  }
  bool opened = false;
  {
    MutexLock lock(&mu_);
    opened = opened_;
  }
  if (opened == request.has_open()) {
    return BadFrame("frame", opened ? "open is the first frame, and only that"
                                    : "the first frame must be open");
  }
  switch (request.frame_case()) {
    case v1::ConsumeRequest::kOpen:
      return TakeOpen(request.open());
    case v1::ConsumeRequest::kGrant: {
      {
        MutexLock lock(&mu_);
        FALAJ_RETURN_IF_ERROR(positions_.Grant(request.grant().bytes()));
      }
      Pump();
      return absl::OkStatus();
    }
    case v1::ConsumeRequest::kSeek:
      return TakeSeek(request.seek());
    case v1::ConsumeRequest::kPause:
      return TakePause(request.pause().partitions(), true);
    case v1::ConsumeRequest::kResume:
      return TakePause(request.resume().partitions(), false);
    case v1::ConsumeRequest::FRAME_NOT_SET:
      break;
  }
  return BadFrame("frame", "the frame says nothing this server knows");
}

absl::Status ConsumeStream::TakeOpen(const v1::OpenConsumeStream& open) {
  if (!open.has_partitions()) return BadFrame("open.subscription", "the subscription is missing");
  if (open.client_id().size() > kClientIdBytesMax) {
    return BadFrame("open.client_id", absl::StrCat("client_id has ", open.client_id().size(),
                                                   " bytes, the limit is ", kClientIdBytesMax));
  }
  if (!v1::RecordFormat_IsValid(open.format())) {
    return BadFrame("open.format",
                    absl::StrCat("format ", static_cast<int>(open.format()), " is unknown"));
  }
  const auto& positions = open.partitions().positions();
  if (positions.empty() || positions.size() > kPositionsMax) {
    return BadFrame("open.partitions.positions",
                    absl::StrCat("a subscription has 1 to ", kPositionsMax,
                                 " partitions, this one has ", positions.size()));
  }
  std::vector<Sought> sought;
  {
    MutexLock lock(&mu_);
    opened_ = true;
    if (open.format() == v1::RECORD_FORMAT_BATCHES) format_ = v1::RECORD_FORMAT_BATCHES;
    FALAJ_RETURN_IF_ERROR(positions_.Grant(open.initial_credit().bytes()));
    for (const v1::PartitionPosition& position : positions) {
      FALAJ_ASSIGN_OR_RETURN(Sought place, ReadPosition(position));
      FALAJ_RETURN_IF_ERROR(positions_.Add(place.name, Offset(0)));
      sought.push_back(std::move(place));
    }
  }
  Resolve(std::move(sought), true);
  return absl::OkStatus();
}

absl::StatusOr<ConsumeStream::Sought> ConsumeStream::ReadPosition(
    const v1::PartitionPosition& position) {
  FALAJ_RETURN_IF_ERROR(CheckTarget(position.position()));
  if (position.last_epoch() < 0) {
    return BadFrame("positions.last_epoch", absl::StrCat("last_epoch is ", position.last_epoch(),
                                                         "; it must not be negative"));
  }
  Sought place{.name = {position.topic(), PartitionIndex(position.partition())},
               .target = position.position()};
  if (position.has_last_epoch() && place.target.has_offset()) {
    place.last_epoch = LeaderEpoch(position.last_epoch());
  }
  return place;
}

absl::Status ConsumeStream::TakeSeek(const v1::SeekPartitions& seek) {
  std::vector<Sought> sought;
  {
    MutexLock lock(&mu_);
    for (const v1::PartitionPosition& position : seek.positions()) {
      FALAJ_ASSIGN_OR_RETURN(Sought place, ReadPosition(position));
      FALAJ_RETURN_IF_ERROR(positions_.CheckSubscribed(place.name));
      sought.push_back(std::move(place));
    }
  }
  if (sought.empty()) return BadFrame("seek.positions", "there is nowhere to seek to");
  Resolve(std::move(sought), false);
  return absl::OkStatus();
}

void ConsumeStream::Resolve(std::vector<Sought> sought, bool first) {
  std::vector<OffsetQuestion> questions;
  for (const Sought& place : sought) {
    questions.push_back({place.name.topic, place.name.partition, place.target});
  }
  {
    MutexLock lock(&mu_);
    resolving_ = true;
  }
  LookUpOffsets(
      parts_, std::move(questions), parts_->clock->MonotonicNow() + kLookupTimeout,
      [self = shared_from_this(), sought = std::move(sought), first](OffsetAnswers answers) {
        self->OnResolved(sought, std::move(answers), first);
      });
}

template <typename Partitions>
absl::Status ConsumeStream::TakePause(const Partitions& partitions, bool paused) {
  {
    MutexLock lock(&mu_);
    for (const v1::TopicPartition& partition : partitions) {
      FALAJ_RETURN_IF_ERROR(
          positions_.SetPaused({partition.topic(), PartitionIndex(partition.partition())}, paused));
    }
    CancelReads();
  }
  Pump();
  return absl::OkStatus();
}

void ConsumeStream::OnResolved(const std::vector<Sought>& sought, OffsetAnswers answers,
                               bool first) {
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    resolving_ = false;
    v1::ConsumeResponse response;
    for (size_t i = 0; i < sought.size(); ++i) {
      const auto& [name, target, last_epoch] = sought[i];
      absl::Status status = answers[i].status();
      if (status.ok()) status = positions_.Seek(name, Offset(answers[i]->offset()), last_epoch);
      if (!status.ok()) {
        End(Located(status, name));
        return;
      }
      v1::PartitionOffset* offset = response.mutable_opened()->add_offsets();
      offset->set_topic(name.topic);
      offset->set_partition(name.partition.value());
      offset->set_offset(answers[i]->offset());
    }
    if (first) {
      SendControl(response);
      streaming_ = true;
    } else {
      CancelReads();
    }
    if (std::exchange(read_withheld_, false)) StartRead(&incoming_);
  }
  Pump();
}

std::optional<Route> ConsumeStream::FindRoute(const PartitionName& name) {
  absl::StatusOr<Route> route = parts_->routes->Find(name.topic, name.partition);
  if (!route.ok()) {
    if (!IsLeaderMissing(route.status())) {
      End(Located(route.status(), name));
    } else {
      PumpLater();
    }
    return std::nullopt;
  }
  if (!positions_.MayGoOnIn(name, route->topic)) {
    End(Located(OfAnotherTopic(positions_.At(name).next), name));
    return std::nullopt;
  }
  return *std::move(route);
}

void ConsumeStream::AddToPlan(const PartitionName& name, const Route& route, PlannedRead* plan) {
  const ConsumePositions::Position& at = positions_.At(name);
  plan->read.address = route.address;
  plan->read.names.push_back(name);
  plan->read.asked.push_back(at.next);
  plan->read.topics.push_back(route.topic);
  internal::v1::ReadPartition* partition = plan->request.add_partitions();
  partition->set_topic_id(std::string(route.topic.bytes()));
  partition->set_partition(name.partition.value());
  partition->set_leader_epoch(route.epoch.value());
  partition->set_offset(at.next.value());
  if (at.last_epoch >= LeaderEpoch(0)) partition->set_last_epoch(at.last_epoch.value());
}

size_t ConsumeStream::FreeReads(const std::string& address) const {
  // Each is asked for all the credit there is: with less, much of the second answer would be
  // dropped and read again.
  const int allowed = positions_.credit() < int64_t{kReadsPerNode} * kReadBytes ? 1 : kReadsPerNode;
  const auto under_way = std::ranges::count_if(
      reads_, [&address](const auto& read) { return read.second.address == address; });
  return static_cast<size_t>(std::max<int64_t>(0, allowed - under_way));
}

void ConsumeStream::MakeRoom(const std::string& address) {
  const MonotonicTime now = parts_->clock->MonotonicNow();
  for (auto& [id, read] : reads_) {
    if (read.address != address) continue;
    if (read.cancelled) return;
    if (now - read.began < kSurelyWaits) continue;
    read.cancelled = true;
    read.call->Cancel();
    return;
  }
  PumpLater();
}

std::vector<ConsumeStream::PlannedRead> ConsumeStream::PlanReads() {
  if (finished_ || !streaming_ || queue_bytes_ >= kQueueBytesMax) return {};
  const std::vector<PartitionName> names = positions_.Readable();
  if (names.empty() || !HasBudget()) return {};
  std::map<std::string, std::vector<std::pair<PartitionName, Route>>> by_node;
  for (const PartitionName& name : names) {
    std::optional<Route> route = FindRoute(name);
    if (finished_) return {};
    if (route.has_value()) by_node[route->address].emplace_back(name, *std::move(route));
  }
  std::vector<PlannedRead> plans;
  for (const auto& [address, partitions] : by_node) {
    const size_t reads = std::min(FreeReads(address), partitions.size());
    if (reads == 0) {
      MakeRoom(address);
      continue;
    }
    // A node fills its answer in the order asked: both begin with those that wait for longest.
    const size_t first = plans.size();
    plans.resize(first + reads);
    for (size_t i = 0; i < partitions.size(); ++i) {
      AddToPlan(partitions[i].first, partitions[i].second, &plans[first + i % reads]);
    }
  }
  return plans;
}

void ConsumeStream::PumpLater() {
  if (pump_due_) return;
  pump_due_ = parts_->timers->RunAfter(kRetryDelay, [self = shared_from_this()] {
    {
      MutexLock lock(&self->mu_);
      self->pump_due_ = false;
    }
    self->Pump();
  });
}

void ConsumeStream::Pump() {
  MutexLock lock(&mu_);
  for (auto& [read, request] : PlanReads()) {
    const int64_t bytes = std::clamp<int64_t>(positions_.credit(), 1, kReadBytes);
    request.set_max_bytes(static_cast<int32_t>(bytes));
    request.set_min_bytes(1);
    request.set_max_wait_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(kReadWait)));
    for (size_t i = 0; i < read.names.size(); ++i) positions_.Ask(read.names[i], read.topics[i]);
    const uint64_t read_id = next_read_id_++;
    const std::shared_ptr<StorageLink> link = parts_->links->Get(read.address);
    NodeRead& under_way = reads_[read_id] = std::move(read);
    under_way.began = parts_->clock->MonotonicNow();
    // Answers come on gRPC's threads and wait for mu_.
    under_way.call =
        link->Call("Read", request, kReadWait + kReadGrace,
                   [self = shared_from_this(), read_id](absl::StatusOr<Bytes> response) {
                     self->OnRead(read_id, std::move(response));
                   });
  }
}

void ConsumeStream::OnRead(uint64_t read_id, absl::StatusOr<Bytes> response) {
  absl::StatusOr<std::vector<PartitionRead>> parts = ParseReadAnswer(response);
  {
    MutexLock lock(&mu_);
    const NodeRead read = std::move(reads_.extract(read_id).mapped());
    std::vector<PartitionName> refused;
    if (finished_) return;
    if (parts.ok() && parts->size() == read.names.size()) {
      for (size_t i = 0; i < read.names.size(); ++i) {
        bool retry = false;
        if (absl::Status status =
                TakePartition(read.names[i], read.asked[i], std::move((*parts)[i]), &retry);
            !status.ok()) {
          End(Located(status, read.names[i]));
          return;
        }
        if (retry) {
          refused.push_back(read.names[i]);
        } else {
          positions_.EndAsk(read.names[i]);
        }
      }
    } else {
      for (const PartitionName& name : read.names) positions_.EndDoubt(name);
      // Cancelled because the question was out of date: ask again at once. Otherwise the node is in
      // trouble.
      const absl::StatusCode code = parts.status().code();
      if (code == absl::StatusCode::kCancelled || code == absl::StatusCode::kDeadlineExceeded) {
        for (const PartitionName& name : read.names) positions_.EndAsk(name);
      } else {
        refused = read.names;
      }
    }
    if (!refused.empty()) AskAgainLater(std::move(refused));
  }
  Pump();
}

void ConsumeStream::AskAgainLater(std::vector<PartitionName> names) {
  parts_->timers->RunAfter(kRetryDelay, [self = shared_from_this(), names = std::move(names)] {
    {
      MutexLock lock(&self->mu_);
      for (const PartitionName& name : names) self->positions_.EndAsk(name);
    }
    self->Pump();
  });
}

absl::Status ConsumeStream::TakePartition(const PartitionName& name, Offset asked,
                                          PartitionRead read, bool* retry) {
  // Of a position that was left meanwhile: an error of it must not end the stream, nor may records
  // of it be doubted by the epoch of another.
  if (!positions_.IsAt(name, asked)) return absl::OkStatus();
  const LeaderEpoch last_epoch = positions_.At(name).last_epoch;
  const bool unreached =
      IsUnreached(*parts_->routes, name.topic, name.partition, last_epoch, read.error);
  const absl::Duration doubted = positions_.Doubt(name, unreached, parts_->clock->MonotonicNow());
  if (IsGone(*parts_->routes, name.topic, name.partition, last_epoch, read.error, doubted)) {
    return RecordUnknown(asked, last_epoch, read);
  }
  if (!read.error.ok()) {
    if (!IsLeaderMissing(read.error) && ReasonOf(read.error) != Reason::kEpochFenced) {
      return read.error;
    }
    *retry = true;
    return absl::OkStatus();
  }
  if (read.batches.empty()) {
    MaybeSendProgress(name, read);
    return absl::OkStatus();
  }
  // Nodes are asked at the same time, each for all the credit there is: what does not fit any more
  // is read again later.
  if (positions_.credit() <= 0) return absl::OkStatus();
  if (static_cast<int64_t>(read.batches.size()) > positions_.credit()) {
    FALAJ_RETURN_IF_ERROR(KeepFirstBatches(positions_.credit(), &read));
  }
  if (format_ != v1::RECORD_FORMAT_BATCHES) return SendDecoded(name, asked, read);
  const auto size_bytes = static_cast<int64_t>(read.batches.size());
  if (!positions_.Take(name, asked, read.next_offset, read.last_epoch, size_bytes)) {
    return absl::OkStatus();
  }
  const v1::PartitionRecords message = DescribeRead(name.topic, name.partition, asked, read);
  const std::string prefix = FramePrefix(kRecordsFrame, message, read.batches.size());
  Enqueue({rpc::ToByteBuffer(prefix, read.batches), size_bytes});
  return absl::OkStatus();
}

absl::Status ConsumeStream::SendDecoded(const PartitionName& name, Offset asked,
                                        const PartitionRead& read) {
  const int64_t room = kDecodedQueueBytesMax - queue_bytes_;
  if (room <= 0) return absl::OkStatus();
  const v1::PartitionRecords message = DescribeRead(name.topic, name.partition, asked, read);
  RunLimits limits;
  limits.run_bytes_max = kDecodedBytesMax;
  limits.runs_max = static_cast<size_t>(room) / kDecodedBytesMax + 1;
  FALAJ_ASSIGN_OR_RETURN(const auto runs, DecodeRuns(read.batches, asked, message, limits));
  int64_t size_bytes = 0;
  for (const v1::PartitionRecords& run : runs) size_bytes += run.size_bytes();
  const v1::PartitionRecords& last = runs.back();
  const LeaderEpoch last_epoch(last.has_last_epoch() ? last.last_epoch() : -1);
  if (!positions_.Take(name, asked, Offset(last.next_offset()), last_epoch, size_bytes)) {
    return absl::OkStatus();
  }
  for (const v1::PartitionRecords& run : runs) {
    // Queued frames hold decoded records: these are what is counted.
    Enqueue({rpc::ToByteBuffer(FramePrefix(kRecordsFrame, run, 0), Bytes()),
             static_cast<int64_t>(run.ByteSizeLong())});
  }
  return absl::OkStatus();
}

bool ConsumeStream::HasBudget() {
  if (budget_wait_) return false;
  const std::optional<BudgetScope> full = budget_.AwaitRoom([self = shared_from_this()] {
    {
      MutexLock lock(&self->mu_);
      self->budget_wait_ = false;
    }
    self->Pump();
  });
  budget_wait_ = full.has_value();
  if (budget_wait_) parts_->metrics->CountThrottled(*full);
  return !budget_wait_;
}

void ConsumeStream::MaybeSendProgress(const PartitionName& name, const PartitionRead& read) {
  const MonotonicTime now = parts_->clock->MonotonicNow();
  const auto [place, added] = last_progress_.try_emplace(name, now);
  if (!added && now - place->second < kProgressInterval) return;
  place->second = now;
  v1::ConsumeResponse response;
  v1::PartitionProgress* progress = response.mutable_progress();
  progress->set_topic(name.topic);
  progress->set_partition(name.partition.value());
  progress->set_next_offset(positions_.At(name).next.value());
  progress->set_high_watermark(read.high_watermark.value());
  SendControl(response);
}

void ConsumeStream::CancelReads() {
  for (auto& [id, read] : reads_) {
    read.cancelled = true;
    read.call->Cancel();
  }
}

void ConsumeStream::SendControl(const v1::ConsumeResponse& frame) {
  Enqueue({rpc::SerializeProto(frame), 0});
}

void ConsumeStream::Enqueue(Frame frame) {
  if (finished_) return;
  budget_.Add(frame.size_bytes);
  queue_bytes_ += frame.size_bytes;
  queue_.push_back(std::move(frame));
  WriteNext();
}

void ConsumeStream::WriteNext() {
  if (writing_ || finished_ || queue_.empty()) return;
  writing_ = true;
  outgoing_ = std::move(queue_.front());
  queue_.pop_front();
  StartWrite(&outgoing_.message);
}

// Bytes are given back without the lock: others may go on with them, on this thread.
void ConsumeStream::OnWriteDone(bool ok) {
  bool pump = false;
  int64_t written = 0;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    const bool was_full = queue_bytes_ >= kQueueBytesMax;
    written = std::exchange(outgoing_.size_bytes, 0);
    queue_bytes_ -= written;
    outgoing_.message.Clear();
    if (ok) {
      WriteNext();
    } else {
      End(MakeError(Reason::kCancelled, "the client is gone"));
    }
    pump = ok && was_full && queue_bytes_ < kQueueBytesMax;
  }
  budget_.Remove(written);
  if (pump) Pump();
}

void ConsumeStream::End(const absl::Status& status) {
  if (std::exchange(finished_, true)) return;
  CancelReads();
  Finish(rpc::ToGrpc(status));
}

void ConsumeStream::OnCancel() {
  MutexLock lock(&mu_);
  End(MakeError(Reason::kCancelled, "the stream was cancelled"));
}

void ConsumeStream::Stop() {
  MutexLock lock(&mu_);
  End(MakeError(Reason::kShuttingDown, "this gateway is stopping"));
}

void ConsumeStream::OnDone() {
  parts_->calls->Remove(this);
  int64_t left = 0;
  {
    MutexLock lock(&mu_);
    left = std::exchange(queue_bytes_, 0);
    queue_.clear();
  }
  budget_.Remove(left);
  parts_->metrics->consume_streams->Add(-1);
  const std::shared_ptr<ConsumeStream> last = std::move(self_);
}

}  // namespace falaj::gateway
