#include "services/gateway/producer_service_impl.h"

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/record/partitioner.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/partition_appender.h"
#include "services/gateway/produce_stream.h"
#include "services/gateway/producer_ids.h"
#include "services/gateway/producer_lane.h"
#include "services/gateway/record_append.h"
#include "services/gateway/route_confirmer.h"

namespace falaj::gateway {
namespace {

// As long as a client may sensibly wait for an id.
constexpr absl::Duration kInitTimeoutMax = absl::Seconds(10);

// What both doors have in common once the request is known to be good.
struct ProduceCall {
  const GatewayParts* parts;
  CallBudget budget;
  grpc::ServerUnaryReactor* reactor;
  v1::ProduceResponse* response;
  TopicPtr topic;
  v1::Acks acks;
  MonotonicTime start;
  MonotonicTime deadline;
  std::shared_ptr<ProducerLane> lane;  // Null: the batches go as they are.

  void Answer(AppendGather::Result result) const {
    parts->metrics->ObserveProduce(acks, parts->clock->MonotonicNow() - start);
    if (!result.any_appended && !result.error.ok()) {
      reactor->Finish(rpc::ToGrpc(result.error));
      return;
    }
    for (v1::PartitionAppend& append : result.appends) {
      if (append.has_error()) parts->metrics->CountError(rpc::FromProto(append.error()));
      *response->add_appends() = std::move(append);
    }
    for (v1::RecordPosition& position : result.positions)
      *response->add_positions() = std::move(position);
    reactor->Finish(grpc::Status::OK);
  }

  void Append(const std::vector<EncodedBatch>& batches, int record_count,
              int64_t size_bytes) const {
    budget.Add(size_bytes);
    const bool blind = acks == v1::ACKS_NONE;
    auto gather = std::make_shared<AppendGather>(
        batches, record_count, [call = *this, size_bytes, blind](AppendGather::Result result) {
          call.budget.Remove(size_bytes);
          if (!blind) call.Answer(std::move(result));
        });
    if (blind) AnswerBlind(batches, record_count);  // The reactor must not be touched after this.
    std::map<PartitionIndex, std::shared_ptr<PartitionAppender>> appenders;
    for (size_t i = 0; i < batches.size(); ++i) {
      const PartitionIndex partition = batches[i].partition;
      std::shared_ptr<PartitionAppender>& appender = appenders[partition];
      if (appender == nullptr) {
        appender = std::make_shared<PartitionAppender>(parts, topic->id, partition, acks);
      }
      appender->Append(
          batches[i].batch, deadline,
          [gather, i](const auto& outcome) { gather->Complete(i, outcome); }, lane);
    }
  }

  void AnswerBlind(const std::vector<EncodedBatch>& batches, int record_count) const {
    AppendGather gather(batches, record_count,
                        [this](AppendGather::Result result) { Answer(std::move(result)); });
    for (size_t i = 0; i < batches.size(); ++i) gather.Complete(i, UnknownOutcome());
  }
};

absl::StatusOr<std::vector<EncodedBatch>> TakeEncoded(const v1::ProduceRequest& request,
                                                      const cluster::TopicInfo& topic) {
  if (!request.records().empty()) {
    return MakeError(Reason::kInvalidRequest, "records and batch exclude each other",
                     {{"field", "batch"}});
  }
  if (!request.has_partition()) {
    return MakeError(Reason::kInvalidRequest, "an encoded batch needs a partition",
                     {{"field", "partition"}});
  }
  const PartitionIndex partition(request.partition());
  FALAJ_RETURN_IF_ERROR(CheckBatch(topic, partition, request.batch().size()));
  return std::vector<EncodedBatch>{{partition, Bytes::Copy(request.batch()), {}}};
}

}  // namespace

ProducerServiceImpl::ProducerServiceImpl(const GatewayParts* parts)
    : parts_(parts), random_(Random::FromSystem()) {}

grpc::Status ProducerServiceImpl::InitProducer(grpc::ServerContext* context,
                                               const v1::InitProducerRequest* request,
                                               v1::InitProducerResponse* response) {
  if (absl::Status status = CheckClientId(request->client_id(), "client_id"); !status.ok()) {
    return rpc::ToGrpc(status);
  }
  const absl::Duration left = absl::FromChrono(context->deadline()) - parts_->clock->Now();
  const absl::StatusOr<ProducerId> id =
      parts_->producer_ids->Take(std::min(left - left / 10, kInitTimeoutMax));
  if (!id.ok()) {
    parts_->metrics->CountError(id.status());
    return rpc::ToGrpc(id.status());
  }
  response->set_producer_id(id->value());
  response->set_producer_epoch(0);
  return grpc::Status::OK;
}

grpc::ServerUnaryReactor* ProducerServiceImpl::Produce(grpc::CallbackServerContext* context,
                                                       const v1::ProduceRequest* request,
                                                       v1::ProduceResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const absl::StatusOr<TopicPtr> topic = parts_->routes->FindTopic(request->topic());
  const absl::Status found = topic.ok() && request->has_partition()
                                 ? CheckPartition(**topic, PartitionIndex(request->partition()))
                                 : topic.status();
  const CallBudget budget = parts_->budgets->Open(context->peer());
  const std::optional<BudgetScope> full = budget.Full();
  if (!IsMissing(found) || full.has_value()) {
    const absl::Status confirmed = full.has_value() ? BudgetExceeded(*full) : absl::OkStatus();
    Append(context, *request, confirmed, response, reactor);
    return reactor;
  }
  const auto size_bytes = static_cast<int64_t>(request->ByteSizeLong());
  budget.Add(size_bytes);
  parts_->confirmer->Confirm([this, context, request, response, reactor, budget,
                              size_bytes](const absl::Status& confirmed) {
    budget.Remove(size_bytes);
    Append(context, *request, confirmed, response, reactor);
  });
  return reactor;
}

void ProducerServiceImpl::Append(grpc::CallbackServerContext* context,
                                 const v1::ProduceRequest& request, const absl::Status& confirmed,
                                 v1::ProduceResponse* response, grpc::ServerUnaryReactor* reactor) {
  absl::Status status = CheckAcks(request.acks());
  const CallBudget budget = parts_->budgets->Open(context->peer());
  if (const std::optional<BudgetScope> full = budget.Full(); status.ok() && full.has_value()) {
    parts_->metrics->CountThrottled(*full);
    status = BudgetExceeded(*full);
  }
  const absl::StatusOr<TopicPtr> topic = parts_->routes->FindTopic(request.topic());
  if (status.ok()) status = AsConfirmed(topic.status(), confirmed);
  // Nothing is appended for a caller who has given up while he waited.
  if (status.ok() && absl::FromChrono(context->deadline()) <= parts_->clock->Now()) {
    status = MakeError(Reason::kTimedOut, "the deadline passed before the topic was found");
  }
  if (!status.ok()) return reactor->Finish(rpc::ToGrpc(status));
  absl::StatusOr<std::vector<EncodedBatch>> batches;
  if (!request.batch().empty()) {
    batches = TakeEncoded(request, **topic);
  } else {
    const auto partition =
        request.has_partition() ? std::optional<int32_t>(request.partition()) : std::nullopt;
    record::StickyPartitioner sticky(NewRandom(), {});
    sticky.SetPartitions(LedPartitions(**topic));
    batches = EncodeRecords(request.records(), partition, **topic, &sticky, parts_->clock->NowMs());
  }
  if (!batches.ok()) {
    return reactor->Finish(rpc::ToGrpc(AsConfirmed(batches.status(), confirmed)));
  }
  const MonotonicTime start = parts_->clock->MonotonicNow();
  // Until shortly before the caller's deadline, so that the caller still hears what went wrong.
  absl::Duration left = absl::FromChrono(context->deadline()) - parts_->clock->Now();
  left -= std::min(left / 10, absl::Milliseconds(200));
  const bool number = request.batch().empty() && request.acks() == v1::ACKS_ALL;
  const ProduceCall call{.parts = parts_,
                         .budget = budget,
                         .reactor = reactor,
                         .response = response,
                         .topic = *topic,
                         .acks = request.acks(),
                         .start = start,
                         .deadline = start + std::min(left, parts_->limits.append_timeout),
                         .lane = number ? parts_->lanes->Take() : nullptr};
  call.Append(*batches, request.records_size(), static_cast<int64_t>(request.ByteSizeLong()));
}

Random ProducerServiceImpl::NewRandom() {
  MutexLock lock(&mu_);
  return Random(random_.Next());
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ProducerServiceImpl::StreamProduce(
    grpc::CallbackServerContext* context) {
  return ProduceStream::Start(parts_, context->peer());
}

}  // namespace falaj::gateway
