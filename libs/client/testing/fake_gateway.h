// FakeGateway speaks the two streams of the public API for tests of the client: it keeps what is
// produced, and lets a test decide how batches are answered and what consumers get.
#ifndef LIBS_CLIENT_TESTING_FAKE_GATEWAY_H_
#define LIBS_CLIENT_TESTING_FAKE_GATEWAY_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "falaj/v1/consumer_service.grpc.pb.h"
#include "falaj/v1/producer_service.grpc.pb.h"

#include "libs/base/bytes.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/record/producer_window.h"

namespace falaj::client {

class FakeGateway final : public v1::ProducerService::Service, public v1::ConsumerService::Service {
 public:
  using ProduceStream =
      grpc::ServerReaderWriter<v1::StreamProduceResponse, v1::StreamProduceRequest>;
  using ConsumeStream = grpc::ServerReaderWriter<v1::ConsumeResponse, v1::ConsumeRequest>;

  // What to do with a batch: an error to answer, kBreak to end the stream, kStop to end it with
  // SHUTTING_DOWN as a gateway does that has answered what it took, kSilence not to answer.
  // kAppendAndBreak and kAppendAndError do so after it was appended.
  struct Verdict {
    enum Kind {
      kAppend,
      kError,
      kBreak,
      kStop,
      kSilence,
      kAppendAndBreak,
      kAppendAndError,
    } kind = kAppend;
    absl::Status error;
  };

  // Listens on `port`, 0 for any.
  explicit FakeGateway(int port = 0);
  ~FakeGateway() override;
  std::string address() const;
  int port() const { return port_; }

  // Set before use. The argument counts batches from 0.
  std::function<Verdict(int)> judge = [](int) { return Verdict(); };
  // Runs a Consume call after its open frame; `call` counts from 0.
  std::function<grpc::Status(int call, const v1::OpenConsumeStream&, ConsumeStream*)> consume;
  int32_t partitions = 4;
  int32_t batch_bytes_max = 1 << 20;
  int32_t batches_per_frame_max = 256;  // 0: as gateways of before.
  std::atomic<bool> answer_opens{true};
  // What the next calls of InitProducer return.
  void RefuseProducers(const absl::Status& status, int count);
  // The partition forgets its producers.
  void ForgetProducers(int32_t partition);

  // The values appended to a partition, in order.
  std::vector<std::string> Values(int32_t partition) const;
  int batches() const;
  size_t largest_frame() const;  // In batches.
  int opens() const;
  int producers() const;  // Ids given away.
  // The epochs of the batches appended to a partition, in order.
  std::vector<int> Epochs(int32_t partition) const;

 private:
  struct Partition {
    std::vector<std::string> values;
    std::vector<int> epochs;
    // By topic too: a producer numbers each topic by itself.
    std::map<std::pair<std::string, ProducerId>, record::ProducerWindow> producers;
  };

  grpc::Status InitProducer(grpc::ServerContext* context, const v1::InitProducerRequest* request,
                            v1::InitProducerResponse* response) override;
  grpc::Status StreamProduce(grpc::ServerContext* context, ProduceStream* stream) override;
  grpc::Status Consume(grpc::ServerContext* context, ConsumeStream* stream) override;
  void NoteFrame(size_t batches) ABSL_LOCKS_EXCLUDED(mu_);
  // Sets `end` if the stream ends without an answer.
  std::optional<v1::BatchAck> Take(const std::string& topic, const v1::ProduceBatch& batch,
                                   absl::Status* end);
  void Append(const std::string& topic, const Bytes& batch, v1::PartitionAppend* append)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  mutable Mutex mu_;
  int batches_ ABSL_GUARDED_BY(mu_) = 0;
  size_t largest_frame_ ABSL_GUARDED_BY(mu_) = 0;
  int opens_ ABSL_GUARDED_BY(mu_) = 0;
  int consumes_ ABSL_GUARDED_BY(mu_) = 0;
  int producers_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status refusal_ ABSL_GUARDED_BY(mu_);
  int refusals_left_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<int32_t, Partition> partitions_ ABSL_GUARDED_BY(mu_);
};

// An encoded batch of the values, at its place in the log.
Bytes MakeBatch(int64_t base_offset, const std::vector<std::string>& values);

}  // namespace falaj::client

#endif  // LIBS_CLIENT_TESTING_FAKE_GATEWAY_H_
