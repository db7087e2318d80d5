#include "services/storage/replica_link.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/record/batch_reader.h"
#include "libs/record/producer_window.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::storage {
namespace {

using internal::v1::ReplicaNews;
using internal::v1::ReplicateResponse;

constexpr char kReplicatePath[] = "/falaj.internal.v1.StorageService/Replicate";
// What the shard's mailbox may hold of one leader. Of old batches it takes a few a turn: more of
// them would only lie there.
constexpr int64_t kLiveCreditBytes = int64_t{8} << 20;
constexpr int64_t kCatchUpCreditBytes = int64_t{1} << 20;

replica::ProducerStates::Batch ProducerOf(const record::BatchHeader& header) {
  if (!record::IsSequenced(header)) return {};
  return {.producer = header.producer_id,
          .epoch = header.producer_epoch,
          .base_sequence = header.base_sequence,
          .record_count = header.last_offset_delta + 1};
}

// Cuts a run into batches and checks each.
absl::Status Cut(const Bytes& run, std::vector<ReplicaBatch>* batches) {
  record::BatchIterator iterator(run);
  while (true) {
    FALAJ_ASSIGN_OR_RETURN(std::optional<Bytes> batch, iterator.Next());
    if (!batch.has_value()) return absl::OkStatus();
    FALAJ_ASSIGN_OR_RETURN(const record::BatchHeader header, record::VerifyStoredBatch(*batch));
    batches->push_back({.base = header.base_offset,
                        .last = header.last_offset(),
                        .epoch = header.leader_epoch,
                        .max_timestamp_ms = header.max_timestamp_ms,
                        .producer = ProducerOf(header),
                        .batch = *std::move(batch)});
  }
}

}  // namespace

// The gRPC side of one stream; it holds no state but what gRPC needs.
class ReplicaLink::Stream : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Stream(ReplicaLink* link, grpc::GenericStub* stub) : link_(link) {
    stub->PrepareBidiStreamingCall(&context_, kReplicatePath, grpc::StubOptions(), this);
    StartRead(&incoming_);
    AddHold();  // Writes start from other threads; released by Break().
    StartCall();
  }

  void Write(const internal::v1::ReplicateRequest& request) {
    outgoing_ = rpc::SerializeProto(request);
    StartWrite(&outgoing_);
  }

  // No Write() may follow. Called once.
  void Break() {
    context_.TryCancel();
    RemoveHold();
  }

 private:
  void OnReadInitialMetadataDone(bool ok) override {
    if (ok) link_->OnOpened();
  }
  void OnWriteDone(bool ok) override {
    if (ok) link_->OnWritten();  // Otherwise the read side fails too and ends the stream.
  }
  void OnReadDone(bool ok) override {
    if (!ok || !link_->OnFrame(incoming_)) {
      link_->OnReadsEnded();
      return;
    }
    StartRead(&incoming_);
  }
  void OnDone(const grpc::Status& status) override { link_->OnBroken(status); }

  ReplicaLink* const link_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
};

ReplicaLink::ReplicaLink(const Source& source, const std::string& address, StoreShard* shard,
                         std::function<void()> on_trouble,
                         std::shared_ptr<rpc::ClientMetrics> metrics)
    : source_(source),
      address_(address),
      shard_(shard),
      on_trouble_(std::move(on_trouble)),
      channel_(rpc::MakeChannel(
          address, {.lane = static_cast<int>(source.lane), .metrics = std::move(metrics)})),
      stub_(channel_) {}

ReplicaLink::~ReplicaLink() { Close(); }

void ReplicaLink::Open(const replica::IsrMember& self) {
  next_.Clear();
  next_.mutable_hello()->set_node_id(self.node.value());
  next_.mutable_hello()->set_node_epoch(self.node_epoch.value());
  const bool live = source_.lane == Lane::kLive;
  next_.mutable_hello()->set_lane(live ? internal::v1::REPLICA_LANE_LIVE
                                       : internal::v1::REPLICA_LANE_CATCH_UP);
  next_.set_credit_bytes(live ? kLiveCreditBytes : kCatchUpCreditBytes);
  unconsumed_ = 0;
  open_ = writing_ = breaking_ = false;
  ++streams_;
  stream_ = std::make_unique<Stream>(this, &stub_);
}

bool ReplicaLink::Attach(const replica::IsrMember& self, const log::PartitionKey& key,
                         const replica::AttachRequest& request) {
  MutexLock lock(&mu_);
  if (closed_) return false;  // Whoever closes it has it asked for again.
  if (breaking_) {
    AttachLater(key);
    return false;
  }
  again_.erase(key);
  if (stream_ == nullptr) Open(self);
  const uint32_t index = next_index_++;
  if (const auto it = indexes_.find(key); it != indexes_.end()) attached_.erase(it->second);
  indexes_[key] = index;
  attached_[index] = {key, request.attach_id};
  internal::v1::ReplicaAttach& attach = *next_.add_attaches();
  attach.set_index(index);
  attach.set_topic_id(std::string(key.topic.bytes()));
  attach.set_partition(key.partition.value());
  attach.set_leader_epoch(request.epoch.value());
  attach.set_last_epoch(request.last_epoch.value());
  attach.set_log_end(request.log_end.value());
  attach.set_flushed_end(request.flushed_end.value());
  attach.set_log_start(request.log_start.value());
  return true;
}

void ReplicaLink::Acknowledge(const log::PartitionKey& key, const replica::FollowerAck& ack) {
  MutexLock lock(&mu_);
  const auto index = indexes_.find(key);
  if (index == indexes_.end()) return;
  const auto attached = attached_.find(index->second);
  if (attached == attached_.end() || attached->second.attach_id != ack.attach_id) return;
  internal::v1::ReplicaAck& out = *next_.add_acks();
  out.set_index(index->second);
  out.set_written_end(ack.written_end.value());
  out.set_flushed_end(ack.flushed_end.value());
  out.set_log_start(ack.log_start.value());
}

void ReplicaLink::Consumed(int64_t bytes) {
  MutexLock lock(&mu_);
  if (stream_ == nullptr || breaking_) return;
  // What an earlier stream brought is nothing the leader of this one waits for.
  const int64_t own = std::min(bytes, unconsumed_);
  unconsumed_ -= own;
  next_.set_credit_bytes(next_.credit_bytes() + own);
}

void ReplicaLink::Flush() {
  MutexLock lock(&mu_);
  MaybeWrite();
}

void ReplicaLink::AttachLater(const log::PartitionKey& key) {
  again_.insert(key);
  if (again_.size() == 1) on_trouble_();
}

bool ReplicaLink::Tick() {
  absl::flat_hash_set<log::PartitionKey> again;
  {
    MutexLock lock(&mu_);
    if (closed_ || again_.empty()) return false;
    // A call would fail at once while the channel waits to try again.
    const bool connects = stream_ != nullptr || channel_->GetState(/*try_to_connect=*/true) !=
                                                    GRPC_CHANNEL_TRANSIENT_FAILURE;
    if (breaking_ || !connects) return true;
    again.swap(again_);
  }
  for (const log::PartitionKey& key : again) shard_->Reattach(key, source_);
  return false;
}

void ReplicaLink::Break() {
  MutexLock lock(&mu_);
  if (stream_ == nullptr || breaking_) return;
  breaking_ = true;
  stream_->Break();
}

void ReplicaLink::Close() {
  {
    MutexLock lock(&mu_);
    closed_ = true;
  }
  Break();
  MutexLock lock(&mu_);
  while (streams_ > 0) idle_.Wait(&mu_);
}

void ReplicaLink::MaybeWrite() {
  if (!open_ || writing_ || breaking_) return;
  if (!next_.has_hello() && next_.attaches().empty() && next_.acks().empty() &&
      next_.credit_bytes() == 0) {
    return;
  }
  writing_ = true;
  stream_->Write(next_);
  next_.Clear();
}

void ReplicaLink::OnOpened() {
  MutexLock lock(&mu_);
  open_ = true;
  MaybeWrite();
}

void ReplicaLink::OnWritten() {
  MutexLock lock(&mu_);
  writing_ = false;
  MaybeWrite();
}

void ReplicaLink::OnReadsEnded() { Break(); }

void ReplicaLink::OnBroken(const grpc::Status& status) {
  std::unique_ptr<Stream> ended;
  bool closed = false;
  {
    MutexLock lock(&mu_);
    ended = std::move(stream_);
    open_ = writing_ = breaking_ = false;
    for (const auto& [index, attached] : attached_) again_.insert(attached.key);
    attached_.clear();
    indexes_.clear();
    next_.Clear();
    closed = closed_;
  }
  if (!closed) {
    log::Info("the stream to a leader has ended",
              {{"leader", source_.leader},
               {"address", address_},
               {"lane", source_.lane == Lane::kLive ? "live" : "catch-up"},
               {"error", rpc::FromGrpc(status)}});
  }
  ended.reset();
  on_trouble_();
  MutexLock lock(&mu_);
  --streams_;
  idle_.NotifyAll();
}

bool ReplicaLink::Find(uint32_t index, Attached* found) {
  MutexLock lock(&mu_);
  const auto it = attached_.find(index);
  if (it == attached_.end()) return false;
  *found = it->second;
  return true;
}

bool ReplicaLink::Forget(uint32_t index, const log::PartitionKey& key) {
  MutexLock lock(&mu_);
  if (attached_.erase(index) == 0) return false;
  indexes_.erase(key);
  return true;
}

bool ReplicaLink::OnFrame(const grpc::ByteBuffer& message) {
  const Bytes bytes = rpc::ToBytes(message);
  rpc::WireReader reader(bytes);
  while (reader.Next()) {
    if (!reader.is_bytes()) continue;
    bool taken = true;
    if (reader.field() == ReplicateResponse::kAttachedFieldNumber) {
      taken = OnAttached(reader.bytes());
    } else if (reader.field() == ReplicateResponse::kNewsFieldNumber) {
      taken = OnNews(reader.bytes());
    }
    if (!taken) return false;
  }
  return reader.ok();
}

bool ReplicaLink::OnAttached(const Bytes& message) {
  internal::v1::ReplicaAttached answer;
  if (!rpc::ParseProto(message, &answer)) return false;
  Attached attached;
  if (!Find(answer.index(), &attached)) return true;  // Attached anew since.
  if (answer.has_error()) {
    // Not the leader yet, mostly: this node heard of it first. Or not any more.
    if (Forget(answer.index(), attached.key)) {
      MutexLock lock(&mu_);
      AttachLater(attached.key);
    }
    return true;
  }
  if (answer.lane() != internal::v1::REPLICA_LANE_UNSPECIFIED) {
    if (Forget(answer.index(), attached.key)) {
      shard_->MoveTo(attached.key, {source_.leader, Other(source_.lane)});
    }
    return true;
  }
  replica::AttachAnswered input{.attach_id = attached.attach_id,
                                .diverging = std::nullopt,
                                .log_start = Offset{answer.log_start()},
                                .high_watermark = Offset{answer.high_watermark()}};
  if (answer.has_cut()) {
    input.diverging =
        replica::EpochEnd{LeaderEpoch{answer.cut().epoch()}, Offset{answer.cut().end()}};
  }
  shard_->AttachAnswered(attached.key, input);
  return true;
}

bool ReplicaLink::OnNews(const Bytes& message) {
  uint32_t index = 0;
  ReplicateTask task;
  task.source = source_;
  Bytes run;
  rpc::WireReader reader(message);
  while (reader.Next()) {
    switch (reader.field()) {
      case ReplicaNews::kIndexFieldNumber:
        index = static_cast<uint32_t>(reader.varint());
        break;
      case ReplicaNews::kLogStartFieldNumber:
        task.marks.log_start = Offset{static_cast<int64_t>(reader.varint())};
        break;
      case ReplicaNews::kHighWatermarkFieldNumber:
        task.marks.high_watermark = Offset{static_cast<int64_t>(reader.varint())};
        break;
      case ReplicaNews::kBatchesFieldNumber:
        run = reader.bytes();
        break;
      default:
        break;
    }
  }
  if (!reader.ok()) return false;
  task.bytes = static_cast<int64_t>(run.size());
  {
    MutexLock lock(&mu_);
    unconsumed_ += task.bytes;
  }
  Attached attached;
  if (!Find(index, &attached)) {
    Consumed(task.bytes);  // Of an attach that is over.
    return true;
  }
  task.key = attached.key;
  task.marks.attach_id = attached.attach_id;
  if (const absl::Status cut = Cut(run, &task.batches); !cut.ok()) {
    log::Error("a leader has sent a damaged batch; asking it again",
               {{"leader", source_.leader}, {"partition", task.key.partition}, {"error", cut}});
    return false;
  }
  shard_->Replicate(std::move(task));
  return true;
}

}  // namespace falaj::storage
