#include "services/gateway/testing/stream_load.h"

#include <grpcpp/generic/generic_stub.h>

#include <algorithm>
#include <utility>

#include "falaj/v1/consumer_service.pb.h"
#include "falaj/v1/producer_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "libs/rpc/wire.h"

namespace falaj::gateway {
namespace {

MonotonicTime Now() { return Clock::Real()->MonotonicNow(); }

// Load is what both directions share: a raw stream, and waiting for its end.
class Load : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Load(const std::string& address, const std::string& method) : stub_(rpc::MakeChannel(address)) {
    stub_.PrepareBidiStreamingCall(&context_, method, grpc::StubOptions(), this);
  }

  absl::StatusOr<StreamLoadResult> Run() {
    start_ = Now();
    Begin();
    MutexLock lock(&mu_);
    while (!done_) changed_.Wait(&mu_);
    std::sort(result_.latencies.begin(), result_.latencies.end());
    if (!status_.ok() && !complete_) return status_;
    return std::move(result_);
  }

 protected:
  virtual void Begin() = 0;
  void Complete() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    complete_ = true;
    result_.elapsed = Now() - start_;
  }
  void OnDone(const grpc::Status& status) override {
    MutexLock lock(&mu_);
    status_ = rpc::FromGrpc(status);
    done_ = true;
    changed_.NotifyAll();
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;
  MonotonicTime start_;

  Mutex mu_;
  CondVar changed_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  bool complete_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  StreamLoadResult result_ ABSL_GUARDED_BY(mu_);
};

class ProduceLoad final : public Load {
 public:
  ProduceLoad(const std::string& address, const std::string& topic, const Bytes& batch, int count,
              int window)
      : Load(address, "/falaj.v1.ProducerService/StreamProduce"),
        topic_(topic),
        batch_(batch),
        count_(count),
        window_(window) {}

 private:
  void Begin() override {
    v1::StreamProduceRequest open;
    open.mutable_open()->set_topic(topic_);
    open.mutable_open()->set_acks(v1::ACKS_ALL);
    outgoing_ = rpc::SerializeProto(open);
    AddHold();  // For the writes that reads start.
    StartWrite(&outgoing_);
    StartRead(&incoming_);
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    writing_ = false;
    if (ok) WriteNext();
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      RemoveHold();
      return;
    }
    v1::StreamProduceResponse response;
    const bool parsed = rpc::ParseProto(incoming_, &response);
    {
      MutexLock lock(&mu_);
      opened_ = true;
      if (!parsed || (response.has_ack() &&
                      (response.ack().has_error() || response.ack().appends(0).has_error()))) {
        context_.TryCancel();
      } else if (response.has_ack()) {
        result_.bytes += static_cast<int64_t>(batch_.size());
        result_.latencies.push_back(Now() - sent_at_[response.ack().batch_id()]);
        if (static_cast<int>(result_.latencies.size()) == count_) {
          Complete();
          StartWritesDone();
        }
      }
      WriteNext();
    }
    StartRead(&incoming_);
  }
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const int sent = static_cast<int>(sent_at_.size());
    const int acked = static_cast<int>(result_.latencies.size());
    if (!opened_ || writing_ || sent == count_ || sent - acked >= window_) return;
    std::string body;
    rpc::WireWriter writer(&body);
    writer.AppendVarint(1, static_cast<uint64_t>(sent));
    writer.AppendBytesHeader(15, batch_.size());
    std::string prefix;
    rpc::WireWriter(&prefix).AppendBytesHeader(3, body.size() + batch_.size());
    outgoing_ = rpc::ToByteBuffer(prefix + body, batch_);
    sent_at_.push_back(Now());
    writing_ = true;
    StartWrite(&outgoing_);
  }

  const std::string topic_;
  const Bytes batch_;
  const int count_;
  const int window_;
  bool opened_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = true;                 // The open frame.
  std::vector<MonotonicTime> sent_at_ ABSL_GUARDED_BY(mu_);  // By batch id.
};

class ConsumeLoad final : public Load {
 public:
  ConsumeLoad(const std::string& address, const std::string& topic, int64_t bytes, int64_t credit)
      : Load(address, "/falaj.v1.ConsumerService/Consume"),
        topic_(topic),
        bytes_(bytes),
        credit_(credit) {}

 private:
  void Begin() override {
    v1::ConsumeRequest open;
    v1::PartitionPosition* position = open.mutable_open()->mutable_partitions()->add_positions();
    position->set_topic(topic_);
    position->mutable_position()->set_offset(0);
    open.mutable_open()->set_format(v1::RECORD_FORMAT_BATCHES);
    open.mutable_open()->mutable_initial_credit()->set_bytes(credit_);
    outgoing_ = rpc::SerializeProto(open);
    AddHold();
    StartWrite(&outgoing_);
    StartRead(&incoming_);
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    MutexLock lock(&mu_);
    writing_ = false;
    if (ok) GrantNext();
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      RemoveHold();
      return;
    }
    const auto size = static_cast<int64_t>(incoming_.Length());
    incoming_.Clear();
    {
      MutexLock lock(&mu_);
      result_.bytes += size;
      to_grant_ += size;
      if (!complete_ && result_.bytes >= bytes_) {
        Complete();
        context_.TryCancel();
      }
      GrantNext();
    }
    StartRead(&incoming_);
  }
  void GrantNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (writing_ || complete_ || to_grant_ < credit_ / 2) return;
    v1::ConsumeRequest grant;
    grant.mutable_grant()->set_bytes(std::exchange(to_grant_, 0));
    outgoing_ = rpc::SerializeProto(grant);
    writing_ = true;
    StartWrite(&outgoing_);
  }

  const std::string topic_;
  const int64_t bytes_;
  const int64_t credit_;
  bool writing_ ABSL_GUARDED_BY(mu_) = true;  // The open frame.
  int64_t to_grant_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace

absl::StatusOr<StreamLoadResult> RunProduceLoad(const std::string& address,
                                                const std::string& topic, const Bytes& batch,
                                                int count, int window) {
  return ProduceLoad(address, topic, batch, count, window).Run();
}

absl::StatusOr<StreamLoadResult> RunConsumeLoad(const std::string& address,
                                                const std::string& topic, int64_t bytes,
                                                int64_t credit) {
  return ConsumeLoad(address, topic, bytes, credit).Run();
}

}  // namespace falaj::gateway
