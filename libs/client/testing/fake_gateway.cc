#include "libs/client/testing/fake_gateway.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_header.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

// What a leader that knows `window` says of a batch: OK if it is the next one, or one of the
// newest.
absl::Status CheckSequence(const record::ProducerWindow& window,
                           const record::BatchHeader& header) {
  const bool known = !window.empty();
  if (known && header.producer_epoch < window.epoch()) {
    return MakeError(Reason::kProducerFenced, "an old epoch");
  }
  const bool begins = !known || header.producer_epoch > window.epoch();
  const Sequence expected = begins ? Sequence(0) : window.next_sequence();
  const bool repeats = known && window.Find(header.producer_epoch, header.base_sequence,
                                            header.record_count) != nullptr;
  if (repeats || header.base_sequence == expected) return absl::OkStatus();
  ErrorMetadata metadata = {{"expected_sequence", absl::StrCat(expected)},
                            {"got_sequence", absl::StrCat(header.base_sequence)}};
  if (!known) metadata["unknown_producer"] = "true";
  return MakeError(Reason::kOutOfOrderSequence, "not the next batch", metadata);
}

}  // namespace

FakeGateway::FakeGateway(int port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(static_cast<v1::ProducerService::Service*>(this));
  builder.RegisterService(static_cast<v1::ConsumerService::Service*>(this));
  server_ = builder.BuildAndStart();
}

FakeGateway::~FakeGateway() { server_->Shutdown(gpr_inf_past(GPR_CLOCK_MONOTONIC)); }

std::string FakeGateway::address() const { return absl::StrCat("127.0.0.1:", port_); }

std::vector<std::string> FakeGateway::Values(int32_t partition) const {
  MutexLock lock(&mu_);
  const auto it = partitions_.find(partition);
  return it == partitions_.end() ? std::vector<std::string>() : it->second.values;
}

std::vector<int> FakeGateway::Epochs(int32_t partition) const {
  MutexLock lock(&mu_);
  const auto it = partitions_.find(partition);
  return it == partitions_.end() ? std::vector<int>() : it->second.epochs;
}

void FakeGateway::RefuseProducers(const absl::Status& status, int count) {
  MutexLock lock(&mu_);
  refusal_ = status;
  refusals_left_ = count;
}

void FakeGateway::ForgetProducers(int32_t partition) {
  MutexLock lock(&mu_);
  partitions_[partition].producers.clear();
}

int FakeGateway::producers() const {
  MutexLock lock(&mu_);
  return producers_;
}

grpc::Status FakeGateway::InitProducer(grpc::ServerContext* /*context*/,
                                       const v1::InitProducerRequest* /*request*/,
                                       v1::InitProducerResponse* response) {
  MutexLock lock(&mu_);
  if (refusals_left_ > 0) {
    --refusals_left_;
    return rpc::ToGrpc(refusal_);
  }
  response->set_producer_id(1000 + producers_++);
  return grpc::Status::OK;
}

int FakeGateway::batches() const {
  MutexLock lock(&mu_);
  return batches_;
}

int FakeGateway::opens() const {
  MutexLock lock(&mu_);
  return opens_;
}

grpc::Status FakeGateway::StreamProduce(grpc::ServerContext* /*context*/, ProduceStream* stream) {
  v1::StreamProduceRequest request;
  if (!stream->Read(&request) || !request.has_open()) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no open frame");
  }
  {
    MutexLock lock(&mu_);
    ++opens_;
  }
  const std::string topic = request.open().topic();
  if (topic == "missing") {
    return rpc::ToGrpc(MakeError(Reason::kTopicNotFound, "no such topic"));
  }
  if (!answer_opens) return rpc::ToGrpc(MakeError(Reason::kShuttingDown, "not now"));
  v1::StreamProduceResponse response;
  response.mutable_opened()->set_partition_count(partitions);
  response.mutable_opened()->set_batches_in_flight_max(100);
  response.mutable_opened()->set_bytes_in_flight_max(16 << 20);
  response.mutable_opened()->set_batch_bytes_max(batch_bytes_max);
  response.mutable_opened()->set_batches_per_frame_max(batches_per_frame_max);
  stream->Write(response);
  while (stream->Read(&request)) {
    response.Clear();
    std::vector<const v1::ProduceBatch*> batches;
    if (request.has_batch()) batches.push_back(&request.batch());
    for (const v1::ProduceBatch& batch : request.batches().batches()) batches.push_back(&batch);
    NoteFrame(batches.size());
    absl::Status end;
    for (const v1::ProduceBatch* batch : batches) {
      const std::optional<v1::BatchAck> ack = Take(topic, *batch, &end);
      if (!end.ok()) break;
      if (!ack.has_value()) continue;
      *(request.has_batch() ? response.mutable_ack() : response.mutable_acks()->add_acks()) = *ack;
    }
    const bool answers = end.ok() || ReasonOf(end) == Reason::kShuttingDown;
    if (answers && response.frame_case() != v1::StreamProduceResponse::FRAME_NOT_SET) {
      stream->Write(response);
    }
    if (!end.ok()) return rpc::ToGrpc(end);
  }
  return grpc::Status::OK;
}

void FakeGateway::NoteFrame(size_t batches) {
  MutexLock lock(&mu_);
  largest_frame_ = std::max(largest_frame_, batches);
}

size_t FakeGateway::largest_frame() const {
  MutexLock lock(&mu_);
  return largest_frame_;
}

std::optional<v1::BatchAck> FakeGateway::Take(const std::string& topic,
                                              const v1::ProduceBatch& batch, absl::Status* end) {
  MutexLock lock(&mu_);
  const Verdict verdict = judge(batches_++);
  if (verdict.kind == Verdict::kBreak || verdict.kind == Verdict::kAppendAndBreak) {
    *end = absl::UnavailableError("the gateway fell over");
  } else if (verdict.kind == Verdict::kStop) {
    *end = MakeError(Reason::kShuttingDown, "the gateway stops");
  }
  v1::BatchAck ack;
  ack.set_batch_id(batch.batch_id());
  v1::PartitionAppend* append = ack.add_appends();
  append->set_partition(batch.partition());
  switch (verdict.kind) {
    case Verdict::kBreak:
    case Verdict::kStop:
    case Verdict::kSilence:
      return std::nullopt;
    case Verdict::kError:
      rpc::ToProto(verdict.error, append->mutable_error());
      return ack;
    case Verdict::kAppend:
    case Verdict::kAppendAndBreak:
    case Verdict::kAppendAndError:
      break;
  }
  Append(topic, Bytes::Copy(batch.batch()), append);
  if (verdict.kind == Verdict::kAppendAndError) {
    rpc::ToProto(verdict.error, append->mutable_error());
  }
  return !end->ok() ? std::nullopt : std::optional<v1::BatchAck>(std::move(ack));
}

void FakeGateway::Append(const std::string& topic, const Bytes& batch,
                         v1::PartitionAppend* append) {
  Partition& partition = partitions_[append->partition()];
  const record::BatchHeader header = record::ParseBatchHeader(batch).value();
  const auto base = static_cast<int64_t>(partition.values.size());
  append->set_base_offset(base);
  if (record::IsSequenced(header)) {
    record::ProducerWindow& window = partition.producers[{topic, header.producer_id}];
    if (const absl::Status status = CheckSequence(window, header); !status.ok()) {
      return rpc::ToProto(status, append->mutable_error());
    }
    const auto* const first =
        window.Find(header.producer_epoch, header.base_sequence, header.record_count);
    append->set_duplicate(first != nullptr);
    if (first != nullptr) return append->set_base_offset(first->base.value());
    record::ProducedBatch produced = record::ToProducedBatch(header, 0);
    produced.base = Offset(base);
    window.Push(header.producer_epoch, produced);
  }
  partition.epochs.push_back(header.producer_epoch.value());
  const absl::Status walked =
      record::ForEachRecord(batch, record::Limits(), [&](const record::RecordView& record) {
        partition.values.push_back(std::string(record.value.value_or("(null)")));
      });
  if (!walked.ok()) rpc::ToProto(walked, append->mutable_error());
}

grpc::Status FakeGateway::Consume(grpc::ServerContext* /*context*/, ConsumeStream* stream) {
  v1::ConsumeRequest request;
  if (!stream->Read(&request) || !request.has_open()) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no open frame");
  }
  int call = 0;
  {
    MutexLock lock(&mu_);
    call = consumes_++;
  }
  return consume(call, request.open(), stream);
}

Bytes MakeBatch(int64_t base_offset, const std::vector<std::string>& values) {
  record::BatchBuilder builder;
  for (const std::string& value : values) {
    record::Record record;
    record.value = value;
    builder.Add(record);
  }
  record::BatchBuilder::BuildOptions options;
  options.base_offset = Offset(base_offset);
  return *builder.Build(options);
}

}  // namespace falaj::client
