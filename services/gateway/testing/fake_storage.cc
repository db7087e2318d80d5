#include "services/gateway/testing/fake_storage.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <optional>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/record/batch_header.h"
#include "libs/replica/epoch_cache.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::gateway {

using internal::v1::AppendHeader;
using internal::v1::AppendOutcome;
using internal::v1::StorageService;

// AppendStream is one gateway's stream; FakeStorage's lock guards it.
class FakeStorage::AppendStream final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  AppendStream(FakeStorage* storage, grpc::CallbackServerContext* context)
      : storage_(storage), context_(context) {
    MutexLock lock(&storage_->mu_);
    storage_->streams_.insert(this);
    if (!storage_->hold_streams_) Open();
    StartRead(&incoming_);
  }

  // Once, when the gateway may write; never of a stream that has ended, which says so by itself.
  void Open() {
    if (!finished_ && !std::exchange(open_, true)) StartSendInitialMetadata();
  }
  void Answer(const AppendOutcome& response) {
    if (finished_) return;
    internal::v1::AppendResponse message;
    *message.add_outcomes() = response;
    answers_.push_back(storage_->spoil_ ? rpc::ToByteBuffer("\xff\xff", Bytes())
                                        : rpc::SerializeProto(message));
    WriteNext();
  }
  void WriteNext() {
    if (writing_ || finished_ || storage_->hold_ || answers_.empty()) return;
    writing_ = true;
    outgoing_ = std::move(answers_.front());
    answers_.pop_front();
    StartWrite(&outgoing_);
  }
  void Break() { context_->TryCancel(); }

 private:
  void OnReadDone(bool ok) override {
    MutexLock lock(&storage_->mu_);
    if (!ok) {
      End(grpc::Status::OK);
      return;
    }
    const Bytes message = rpc::ToBytes(incoming_);
    incoming_.Clear();
    ++storage_->messages_;
    rpc::WireReader reader(message);
    while (reader.Next()) storage_->Append(this, reader.bytes());
    if (!reader.ok()) std::abort();
    if (!finished_) StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override {
    MutexLock lock(&storage_->mu_);
    writing_ = false;
    if (ok) WriteNext();
  }
  void OnCancel() override {
    MutexLock lock(&storage_->mu_);
    End(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      MutexLock lock(&storage_->mu_);
      storage_->streams_.erase(this);
    }
    delete this;
  }
  void End(const grpc::Status& status) {
    if (!std::exchange(finished_, true)) Finish(status);
  }

  FakeStorage* const storage_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  std::deque<grpc::ByteBuffer> answers_;
  bool open_ = false;
  bool writing_ = false;
  bool finished_ = false;
};

// ReadCall is one Read; it waits in waiting_reads_ until there is enough or its time is up.
class FakeStorage::ReadCall final : public grpc::ServerUnaryReactor,
                                    public std::enable_shared_from_this<ReadCall> {
 public:
  ReadCall(FakeStorage* storage, const grpc::ByteBuffer& request, grpc::ByteBuffer* response)
      : storage_(storage), response_(response) {
    if (!rpc::ParseProto(request, &request_)) std::abort();
  }

  void Begin() {
    self_ = shared_from_this();
    MutexLock lock(&storage_->mu_);
    std::vector<int32_t>& asked = storage_->read_calls_.emplace_back();
    for (const auto& partition : request_.partitions()) asked.push_back(partition.partition());
    if (TryAnswer(request_.max_wait_ms() <= 0)) return;
    storage_->waiting_reads_.insert(shared_from_this());
    storage_->timers_.RunAfter(absl::Milliseconds(request_.max_wait_ms()),
                               [self = shared_from_this()] { self->TimeUp(); });
  }
  // True if the call is finished.
  bool TryAnswer(bool give_up_waiting) {
    if (finished_) return true;
    std::vector<Bytes> pieces;
    int64_t bytes = 0;
    bool failed = false;
    for (const internal::v1::ReadPartition& partition : request_.partitions()) {
      pieces.push_back(
          storage_->ReadPartition(partition, request_.max_bytes() - bytes, &bytes, &failed));
    }
    if (bytes < request_.min_bytes() && !failed && !give_up_waiting) return false;
    finished_ = true;
    *response_ = rpc::ToByteBuffer(pieces);
    Finish(grpc::Status::OK);
    return true;
  }

 private:
  void TimeUp() {
    MutexLock lock(&storage_->mu_);
    TryAnswer(true);
    storage_->waiting_reads_.erase(shared_from_this());
  }
  void OnCancel() override {
    MutexLock lock(&storage_->mu_);
    storage_->waiting_reads_.erase(shared_from_this());
    if (!std::exchange(finished_, true)) Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { const auto last = std::move(self_); }

  FakeStorage* const storage_;
  internal::v1::ReadRequest request_;
  grpc::ByteBuffer* const response_;
  bool finished_ = false;
  std::shared_ptr<ReadCall> self_;  // Released by OnDone.
};

class FakeStorage::Service final
    : public StorageService::WithRawCallbackMethod_Append<
          StorageService::WithRawCallbackMethod_Read<StorageService::WithCallbackMethod_FindOffsets<
              StorageService::WithCallbackMethod_TruncatePrefix<StorageService::Service>>>> {
 public:
  explicit Service(FakeStorage* storage) : storage_(storage) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Append(
      grpc::CallbackServerContext* context) override {
    return new AppendStream(storage_, context);
  }
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const grpc::ByteBuffer* request,
                                 grpc::ByteBuffer* response) override {
    NoteTimeLeft(*context);
    auto call = std::make_shared<ReadCall>(storage_, *request, response);
    call->Begin();
    return call.get();
  }
  grpc::ServerUnaryReactor* FindOffsets(grpc::CallbackServerContext* context,
                                        const internal::v1::FindOffsetsRequest* request,
                                        internal::v1::FindOffsetsResponse* response) override {
    NoteTimeLeft(*context);
    MutexLock lock(&storage_->mu_);
    for (const internal::v1::FindOffset& query : request->queries()) {
      const Partition& partition = storage_->partitions_[{query.topic_id(), query.partition()}];
      internal::v1::FoundOffset* found = response->add_results();
      found->set_log_start_offset(partition.log_start);
      found->set_high_watermark(partition.end);
      found->set_timestamp_ms(-1);
      const bool earliest = query.target().named() == v1::NAMED_OFFSET_EARLIEST;
      found->set_offset(earliest ? partition.log_start : partition.end);
      if (query.target().has_offset()) found->set_offset(query.target().offset());
    }
    return Finished(context, grpc::Status::OK);
  }
  grpc::ServerUnaryReactor* TruncatePrefix(
      grpc::CallbackServerContext* context, const internal::v1::TruncatePrefixRequest* request,
      internal::v1::TruncatePrefixResponse* response) override {
    MutexLock lock(&storage_->mu_);
    Partition& partition = storage_->partitions_[{request->topic_id(), request->partition()}];
    const int64_t before =
        request->before().has_named() ? partition.end : request->before().offset();
    if (before > partition.end) {
      return Finished(context, rpc::ToGrpc(MakeError(Reason::kOffsetOutOfRange, "too far")));
    }
    partition.log_start = std::max(partition.log_start, before);
    response->set_log_start_offset(partition.log_start);
    return Finished(context, grpc::Status::OK);
  }

 private:
  void NoteTimeLeft(const grpc::CallbackServerContext& context) {
    MutexLock lock(&storage_->mu_);
    storage_->time_left_.push_back(absl::FromChrono(context.deadline()) - absl::Now());
  }
  static grpc::ServerUnaryReactor* Finished(grpc::CallbackServerContext* context,
                                            const grpc::Status& status) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(status);
    return reactor;
  }
  FakeStorage* const storage_;
};

FakeStorage::FakeStorage(Options options)
    : options_(std::move(options)), service_(std::make_unique<Service>(this)) {
  Start();
}

FakeStorage::~FakeStorage() {
  Stop();
  timers_.Close();
}

void FakeStorage::Start() {
  auto host = rpc::ServerHost::Start({.listen_address = address_}, {service_.get()}, nullptr);
  if (!host.ok()) std::abort();
  host_ = *std::move(host);
  address_ = host_->address();
}

void FakeStorage::Stop() {
  if (host_ != nullptr) host_->Stop(absl::ZeroDuration());
  host_.reset();
}

void FakeStorage::RefuseAppends(const absl::Status& status, int count) {
  MutexLock lock(&mu_);
  refusal_ = status;
  refusals_left_ = count;
}

void FakeStorage::ForgetAnswers(const absl::Status& status, int count) {
  MutexLock lock(&mu_);
  forgotten_ = status;
  forgotten_left_ = count;
}

void FakeStorage::RefuseReads(const absl::Status& status, int count) {
  MutexLock lock(&mu_);
  read_refusal_ = status;
  read_refusals_left_ = count;
  WakeReads();
}

void FakeStorage::HoldAnswers(bool on) {
  MutexLock lock(&mu_);
  hold_ = on;
  for (AppendStream* stream : streams_) stream->WriteNext();
}

void FakeStorage::HoldStreams(bool on) {
  MutexLock lock(&mu_);
  hold_streams_ = on;
  if (on) return;
  for (AppendStream* stream : streams_) stream->Open();
}

void FakeStorage::BreakStreams() {
  MutexLock lock(&mu_);
  for (AppendStream* stream : streams_) stream->Break();
}

void FakeStorage::DamageBatches() {
  MutexLock lock(&mu_);
  for (auto& [key, partition] : partitions_) {
    for (Stored& stored : partition.batches) {
      std::string bytes = stored.batch.ToString();
      bytes.back() = static_cast<char>(bytes.back() ^ 1);
      stored.batch = Bytes::Own(std::move(bytes));
    }
  }
}

void FakeStorage::SpoilAnswers(bool on) {
  MutexLock lock(&mu_);
  spoil_ = on;
}

void FakeStorage::SetLogStart(int64_t offset) {
  MutexLock lock(&mu_);
  for (auto& [key, partition] : partitions_) partition.log_start = offset;
}

int FakeStorage::appends() const {
  MutexLock lock(&mu_);
  return appends_;
}

int FakeStorage::messages() const {
  MutexLock lock(&mu_);
  return messages_;
}

int FakeStorage::refusals_left() const {
  MutexLock lock(&mu_);
  return refusals_left_;
}

const FakeStorage::Partition* FakeStorage::Find(int32_t partition) const {
  for (const auto& [key, found] : partitions_) {
    if (key.second == partition) return &found;
  }
  return nullptr;
}

std::vector<Bytes> FakeStorage::batches(int32_t partition) const {
  MutexLock lock(&mu_);
  std::vector<Bytes> batches;
  const Partition* const found = Find(partition);
  if (found == nullptr) return batches;
  for (const Stored& stored : found->batches) batches.push_back(stored.batch);
  return batches;
}

int64_t FakeStorage::end_offset(int32_t partition) const {
  MutexLock lock(&mu_);
  const Partition* const found = Find(partition);
  return found == nullptr ? 0 : found->end;
}

std::vector<AppendHeader> FakeStorage::headers() const {
  MutexLock lock(&mu_);
  return headers_;
}

std::vector<absl::Duration> FakeStorage::time_left() const {
  MutexLock lock(&mu_);
  return time_left_;
}

std::vector<internal::v1::ReadPartition> FakeStorage::reads() const {
  MutexLock lock(&mu_);
  return reads_;
}

std::vector<std::vector<int32_t>> FakeStorage::read_calls() const {
  MutexLock lock(&mu_);
  return read_calls_;
}

void FakeStorage::Append(AppendStream* stream, const Bytes& entry) {
  AppendHeader header;
  Bytes batch;
  rpc::WireReader reader(entry);
  while (reader.Next()) {
    if (reader.field() == 1 && !rpc::ParseProto(reader.bytes(), &header)) std::abort();
    if (reader.field() == 15) batch = reader.bytes();
  }
  if (!reader.ok()) std::abort();
  AppendOutcome response;
  response.set_request_id(header.request_id());
  if (!options_.sink) headers_.push_back(header);
  if (refusals_left_ > 0 && forgotten_left_ == 0) {
    --refusals_left_;
    rpc::ToProto(refusal_, response.mutable_error());
    stream->Answer(response);
    return;
  }
  Partition& partition = partitions_[{header.topic_id(), header.partition()}];
  const auto parsed = record::ParseBatchHeader(batch);
  const int32_t records = parsed.ok() ? parsed->record_count : 1;
  replica::ProducerStates::Batch producer;
  if (parsed.ok()) {
    producer = {parsed->producer_id, parsed->producer_epoch, parsed->base_sequence, records};
  }
  const auto verdict = partition.producers.Check(producer);
  if (!verdict.ok()) {
    rpc::ToProto(verdict.status(), response.mutable_error());
    return stream->Answer(response);
  }
  if (verdict->duplicate) {
    response.set_base_offset(verdict->base.value());
    response.set_record_count(records);
    response.set_duplicate(true);
    return stream->Answer(response);
  }
  partition.producers.Apply(producer, {.base = Offset(partition.end)});
  ++appends_;
  response.set_base_offset(partition.end);
  response.set_record_count(records);
  response.set_append_time_ms(Clock::Real()->NowMs());
  response.set_in_sync_replicas(1);
  partition.end += records;
  if (!options_.sink) {
    partition.batches.push_back({response.base_offset(), partition.end,
                                 record::StampBatch(batch, Offset(response.base_offset()),
                                                    LeaderEpoch(header.leader_epoch()))});
  }
  if (forgotten_left_ > 0) {
    --forgotten_left_;
    rpc::ToProto(forgotten_, response.mutable_error());
  }
  stream->Answer(response);
  WakeReads();
}

void FakeStorage::WakeReads() {
  for (auto it = waiting_reads_.begin(); it != waiting_reads_.end();) {
    it = (*it)->TryAnswer(false) ? waiting_reads_.erase(it) : std::next(it);
  }
}

absl::Status FakeStorage::CheckHolds(const Partition& partition,
                                     const internal::v1::ReadPartition& request) {
  if (!request.has_last_epoch()) return absl::OkStatus();
  replica::EpochCache epochs;
  for (const Stored& stored : partition.batches) {
    const auto header = record::ParseBatchHeader(stored.batch);
    const std::optional<replica::EpochEntry> latest = epochs.Latest();
    if (!header.ok() || (latest.has_value() && latest->epoch == header->leader_epoch)) continue;
    epochs.Assign({header->leader_epoch, Offset(stored.base_offset)});
  }
  const LeaderEpoch led(request.leader_epoch());
  if (!epochs.Latest().has_value() || epochs.Latest()->epoch < led) {
    epochs.Assign({led, Offset(partition.end)});
  }
  const LeaderEpoch last(request.last_epoch());
  if (epochs.Latest()->epoch < last) {
    return MakeError(Reason::kNotLeader, "the log does not reach to that epoch",
                     {{"leader_epoch", absl::StrCat(led)}});
  }
  const auto parts = epochs.PartsAt(last, Offset(request.offset()), Offset(partition.end));
  if (!parts.has_value()) return absl::OkStatus();
  return MakeError(Reason::kOffsetOutOfRange, "that record is lost",
                   {{"diverging_offset", absl::StrCat(parts->end)}});
}

Bytes FakeStorage::ReadPartition(const internal::v1::ReadPartition& request, int64_t budget,
                                 int64_t* bytes, bool* failed) {
  const Partition& partition = partitions_[{request.topic_id(), request.partition()}];
  if (options_.endless.empty()) reads_.push_back(request);
  internal::v1::PartitionBatches answer;
  answer.set_log_start_offset(partition.log_start);
  answer.set_high_watermark(partition.end);
  answer.set_next_offset(request.offset());
  Bytes payload;
  int64_t room = budget;
  if (request.max_bytes() > 0) room = std::min<int64_t>(room, request.max_bytes());
  const auto take = [&](const Bytes& batch, int64_t next) {
    const auto size = static_cast<int64_t>(batch.size());
    const bool first = *bytes == 0 && payload.empty();
    if (!first && static_cast<int64_t>(payload.size()) + size > room) return false;
    payload = Bytes::Concat(payload, batch);
    answer.set_next_offset(next);
    if (const auto header = record::ParseBatchHeader(batch); header.ok()) {
      answer.set_last_epoch(header->leader_epoch.value());
    }
    return true;
  };
  if (read_refusals_left_ > 0) {
    --read_refusals_left_;
    *failed = true;
    rpc::ToProto(read_refusal_, answer.mutable_error());
  } else if (!options_.endless.empty()) {
    while (take(options_.endless, answer.next_offset() + options_.endless_records)) {
    }
    answer.set_high_watermark(answer.next_offset() + 1'000'000);
  } else if (const absl::Status held = CheckHolds(partition, request); !held.ok()) {
    *failed = true;
    rpc::ToProto(held, answer.mutable_error());
  } else if (request.offset() < partition.log_start || request.offset() > partition.end) {
    *failed = true;
    rpc::ToProto(MakeError(Reason::kOffsetOutOfRange, "no such offset",
                           {{"log_start_offset", absl::StrCat(partition.log_start)},
                            {"high_watermark", absl::StrCat(partition.end)}}),
                 answer.mutable_error());
  } else {
    for (const Stored& stored : partition.batches) {
      if (stored.next_offset > request.offset() && !take(stored.batch, stored.next_offset)) break;
    }
  }
  *bytes += static_cast<int64_t>(payload.size());
  std::string body = answer.SerializeAsString();
  rpc::WireWriter(&body).AppendBytesHeader(15, payload.size());
  std::string head;
  rpc::WireWriter(&head).AppendBytesHeader(1, body.size() + payload.size());
  return Bytes::Concat(Bytes::Own(head + body), payload);
}

}  // namespace falaj::gateway
