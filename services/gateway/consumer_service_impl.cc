#include "services/gateway/consumer_service_impl.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/consume_stream.h"
#include "services/gateway/fetch_call.h"
#include "services/gateway/offset_lookup.h"

namespace falaj::gateway {
namespace {

constexpr int kQueriesMax = 10'000;
constexpr absl::Duration kLookupTimeoutMax = absl::Seconds(30);

absl::Status CheckQueries(const v1::ListOffsetsRequest& request) {
  if (request.queries().empty() || request.queries_size() > kQueriesMax) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("a request has 1 to ", kQueriesMax, " queries, this one has ",
                                  request.queries_size()),
                     {{"field", "queries"}});
  }
  for (const v1::OffsetQuery& query : request.queries())
    FALAJ_RETURN_IF_ERROR(CheckTarget(query.target()));
  return absl::OkStatus();
}

void FillResult(const v1::OffsetQuery& query,
                const absl::StatusOr<internal::v1::FoundOffset>& answer, v1::OffsetResult* result) {
  result->set_topic(query.topic());
  result->set_partition(query.partition());
  if (!answer.ok()) {
    result->set_offset(-1);
    rpc::ToProto(answer.status(), result->mutable_error());
    return;
  }
  result->set_offset(answer->offset());
  if (answer->timestamp_ms() >= 0) {
    *result->mutable_timestamp() =
        google::protobuf::util::TimeUtil::MillisecondsToTimestamp(answer->timestamp_ms());
  }
  result->set_log_start_offset(answer->log_start_offset());
  result->set_high_watermark(answer->high_watermark());
}

}  // namespace

grpc::ServerUnaryReactor* ConsumerServiceImpl::Fetch(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return StartFetch(parts_, context, request, response);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ConsumerServiceImpl::Consume(
    grpc::CallbackServerContext* context) {
  return ConsumeStream::Start(parts_, context->peer());
}

grpc::ServerUnaryReactor* ConsumerServiceImpl::ListOffsets(grpc::CallbackServerContext* context,
                                                           const v1::ListOffsetsRequest* request,
                                                           v1::ListOffsetsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (absl::Status status = CheckQueries(*request); !status.ok()) {
    reactor->Finish(rpc::ToGrpc(status));
    return reactor;
  }
  std::vector<OffsetQuestion> questions;
  for (const v1::OffsetQuery& query : request->queries()) {
    questions.push_back({query.topic(), PartitionIndex(query.partition()), query.target()});
  }
  const absl::Duration left = absl::FromChrono(context->deadline()) - parts_->clock->Now();
  LookUpOffsets(parts_, std::move(questions),
                parts_->clock->MonotonicNow() + std::min(left, kLookupTimeoutMax),
                [reactor, request, response](const OffsetAnswers& answers) {
                  for (int i = 0; i < request->queries_size(); ++i) {
                    FillResult(request->queries(i), answers[static_cast<size_t>(i)],
                               response->add_results());
                  }
                  reactor->Finish(grpc::Status::OK);
                });
  return reactor;
}

}  // namespace falaj::gateway
