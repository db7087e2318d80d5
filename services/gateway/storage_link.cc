#include "services/gateway/storage_link.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/base/turn.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::gateway {
namespace {

constexpr char kServicePath[] = "/falaj.internal.v1.StorageService/";

// Several batches share a message up to this size: more would save little, and delay the first.
constexpr size_t kMessageBytesMax = 256 << 10;
constexpr size_t kMessageBatchesMax = 1024;  // As AppendRequest has it: a node takes no more.

// What precedes a batch in the message.
std::string EncodePrefix(uint64_t request_id, const AppendTarget& target, size_t batch_size) {
  internal::v1::AppendHeader header;
  header.set_request_id(request_id);
  header.set_topic_id(std::string(target.topic.bytes()));
  header.set_partition(target.partition.value());
  header.set_leader_epoch(target.epoch.value());
  header.set_acks(target.acks);
  if (target.timeout < absl::InfiniteDuration()) {
    const int64_t timeout_ms = absl::ToInt64Milliseconds(target.timeout);
    header.set_timeout_ms(static_cast<int32_t>(std::clamp<int64_t>(timeout_ms, 1, INT32_MAX)));
  }
  std::string fields;
  rpc::WireWriter writer(&fields);
  writer.AppendBytes(internal::v1::AppendBatch::kHeaderFieldNumber, header.SerializeAsString());
  writer.AppendBytesHeader(internal::v1::AppendBatch::kBatchFieldNumber, batch_size);
  std::string prefix;
  rpc::WireWriter(&prefix).AppendBytesHeader(internal::v1::AppendRequest::kBatchesFieldNumber,
                                             fields.size() + batch_size);
  return prefix + fields;
}

}  // namespace

// AppendStream is the gRPC side of one stream. It lives from OpenStream() until OnDone, which the
// link turns into OnBroken; it holds no state but what gRPC needs.
class StorageLink::AppendStream
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  AppendStream(StorageLink* link, grpc::GenericStub* stub) : link_(link) {
    // No wait_for_ready: a refused connection must fail the batches at once.
    stub->PrepareBidiStreamingCall(&context_, absl::StrCat(kServicePath, "Append"),
                                   grpc::StubOptions(), this);
    StartRead(&incoming_);
    AddHold();  // Writes start from other threads; released by Break().
    StartCall();
  }

  void Write(grpc::ByteBuffer message, bool more) {
    outgoing_ = std::move(message);
    grpc::WriteOptions options;
    if (more) options.set_buffer_hint();
    StartWrite(&outgoing_, options);
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
    if (!ok) {
      link_->OnReadsEnded();
      return;
    }
    link_->OnAnswer(incoming_);
    StartRead(&incoming_);
  }
  void OnDone(const grpc::Status& status) override { link_->OnBroken(status); }

  StorageLink* const link_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
};

StorageLink::StorageLink(const std::string& address, std::shared_ptr<rpc::ClientMetrics> metrics)
    : address_(address),
      channel_(rpc::MakeChannel(address, {.metrics = std::move(metrics)})),
      stub_(channel_) {}

StorageLink::~StorageLink() { Close(); }

void StorageLink::Append(const AppendTarget& target, const Bytes& batch, AppendCallback done) {
  bool refused = false;
  bool write_later = false;
  {
    MutexLock lock(&mu_);
    refused = closed_;
    if (!refused) {
      const uint64_t request_id = next_request_id_++;
      pending_[request_id] = Pending{std::move(done)};
      queue_.push_back({request_id, EncodePrefix(request_id, target, batch.size()), batch});
      queued_bytes_ += batch.size();
      if (stream_ == nullptr) OpenStream();
      const bool is_full = queued_bytes_ >= kMessageBytesMax || queue_.size() >= kMessageBatchesMax;
      if (is_full) WriteNext();
      write_later = open_ && !writing_;
    }
  }
  if (refused) return done(MakeError(Reason::kShuttingDown, "this gateway is stopping"));
  if (write_later) WriteAtEndOfTurn();
}

void StorageLink::WriteAtEndOfTurn() {
  if (Turn::IsDue(this)) return;
  auto pass = std::make_shared<Gate::Pass>(gate_.Enter());
  if (!*pass) return;  // Closed: what is queued has been called back.
  Turn::AtEnd(this, [this, pass = std::move(pass)] {
    MutexLock lock(&mu_);
    WriteNext();
  });
}

void StorageLink::OpenStream() {
  breaking_ = false;
  ++streams_;
  stream_ = std::make_unique<AppendStream>(this, &stub_);
}

void StorageLink::WriteNext() {
  if (!open_ || writing_ || breaking_ || queue_.empty()) return;
  writing_ = true;
  grpc::ByteBuffer message = TakeMessage();
  stream_->Write(std::move(message), !queue_.empty());
}

grpc::ByteBuffer StorageLink::TakeMessage() {
  std::vector<Bytes> parts;  // Two for each batch.
  size_t size = 0;
  while (!queue_.empty() && parts.size() < 2 * kMessageBatchesMax) {
    Waiting& next = queue_.front();
    size += next.prefix.size() + next.batch.size();
    if (!parts.empty() && size > kMessageBytesMax) break;
    if (const auto it = pending_.find(next.request_id); it != pending_.end())
      it->second.written = true;
    queued_bytes_ -= next.batch.size();
    parts.push_back(Bytes::Own(std::move(next.prefix)));
    parts.push_back(std::move(next.batch));
    queue_.pop_front();
  }
  return rpc::ToByteBuffer(parts);
}

void StorageLink::OnOpened() {
  MutexLock lock(&mu_);
  open_ = true;
  WriteNext();
}

void StorageLink::OnWritten() {
  MutexLock lock(&mu_);
  writing_ = false;
  WriteNext();
}

void StorageLink::OnAnswer(const grpc::ByteBuffer& message) {
  internal::v1::AppendResponse response;
  if (!rpc::ParseProto(message, &response)) {
    // Nobody knows which batches it was about: they, and all others under way, end uncertain.
    MutexLock lock(&mu_);
    BreakStream();
    return;
  }
  std::vector<std::pair<AppendCallback, internal::v1::AppendOutcome>> answered;
  answered.reserve(static_cast<size_t>(response.outcomes_size()));
  {
    MutexLock lock(&mu_);
    for (internal::v1::AppendOutcome& outcome : *response.mutable_outcomes()) {
      const auto it = pending_.find(outcome.request_id());
      if (it == pending_.end()) continue;
      answered.emplace_back(std::move(it->second.done), std::move(outcome));
      pending_.erase(it);
    }
  }
  for (auto& [done, outcome] : answered) done(std::move(outcome));
}

void StorageLink::OnReadsEnded() {
  MutexLock lock(&mu_);
  BreakStream();
}

void StorageLink::BreakStream() {
  if (stream_ == nullptr || breaking_) return;
  breaking_ = true;
  stream_->Break();
}

void StorageLink::OnBroken(const grpc::Status& status) {
  std::map<uint64_t, Pending> failed;  // Called back in the order they were sent.
  std::unique_ptr<AppendStream> ended;
  {
    MutexLock lock(&mu_);
    for (auto& [id, pending] : pending_) failed.emplace(id, std::move(pending));
    pending_.clear();
    queue_.clear();
    queued_bytes_ = 0;
    open_ = false;
    writing_ = false;
    ended = std::move(stream_);
  }
  const absl::Status cause = rpc::FromGrpc(status);
  for (auto& [id, pending] : failed) {
    const Reason reason = pending.written ? Reason::kAppendUncertain : Reason::kLeaderUnavailable;
    pending.done(MakeError(
        reason,
        absl::StrCat("the connection to storage node ", address_, " broke: ", cause.message()),
        {{"address", address_}}));
  }
  ended.reset();
  MutexLock lock(&mu_);
  --streams_;
  idle_.NotifyAll();
}

std::shared_ptr<UnaryCall> StorageLink::Call(absl::string_view method,
                                             const google::protobuf::MessageLite& request,
                                             absl::Duration timeout, BytesCallback done) {
  auto call = std::make_shared<UnaryCall>();
  auto pass = std::make_shared<Gate::Pass>(gate_.Enter());
  if (!*pass) {
    done(MakeError(Reason::kShuttingDown, "this gateway is stopping"));
    return call;
  }
  {
    MutexLock lock(&mu_);
    calls_.insert(call);
    if (closed_) call->Cancel();
  }
  call->request_ = rpc::SerializeProto(request);
  if (timeout < absl::InfiniteDuration()) {
    call->context_.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
  }
  stub_.UnaryCall(
      &call->context_, absl::StrCat(kServicePath, method), grpc::StubOptions(), &call->request_,
      &call->response_, [this, call, pass, done = std::move(done)](const grpc::Status& status) {
        bool node_left = false;
        {
          MutexLock lock(&mu_);
          calls_.erase(call);
          node_left = call->node_left_;
        }
        if (status.ok()) {
          done(rpc::ToBytes(call->response_));
        } else if (node_left) {
          done(MakeError(Reason::kLeaderUnavailable,
                         absl::StrCat("storage node ", address_, " has left the cluster"),
                         {{"address", address_}}));
        } else {
          done(rpc::FromGrpc(status));
        }
      });
  return call;
}

void StorageLink::Reset() {
  MutexLock lock(&mu_);
  BreakStream();
  for (const std::shared_ptr<UnaryCall>& call : calls_) {
    call->node_left_ = true;
    call->Cancel();
  }
}

void StorageLink::Break() {
  MutexLock lock(&mu_);
  closed_ = true;
  BreakStream();
  for (const std::shared_ptr<UnaryCall>& call : calls_) call->Cancel();
}

void StorageLink::Close() {
  Break();
  {
    MutexLock lock(&mu_);
    while (streams_ > 0) idle_.Wait(&mu_);
  }
  gate_.Close();
}

std::shared_ptr<StorageLink> StorageLinks::Get(const std::string& address) {
  MutexLock lock(&mu_);
  std::shared_ptr<StorageLink>& link = links_[address];
  if (link == nullptr) link = std::make_shared<StorageLink>(address, metrics_);
  return link;
}

void StorageLinks::Reset(const std::string& address) {
  std::shared_ptr<StorageLink> link;
  {
    MutexLock lock(&mu_);
    const auto it = links_.find(address);
    if (it == links_.end()) return;
    link = it->second;
  }
  link->Reset();
}

std::vector<std::shared_ptr<StorageLink>> StorageLinks::All() {
  MutexLock lock(&mu_);
  std::vector<std::shared_ptr<StorageLink>> links;
  for (const auto& [address, link] : links_) links.push_back(link);
  return links;
}

void StorageLinks::Break() {
  for (const auto& link : All()) link->Break();
}

void StorageLinks::Close() {
  for (const auto& link : All()) link->Close();
}

}  // namespace falaj::gateway
