#include "libs/client/admin.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "falaj/v1/cluster_service.grpc.pb.h"
#include "falaj/v1/consumer_service.grpc.pb.h"
#include "falaj/v1/topic_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

constexpr absl::Duration kWatchWorked = absl::Seconds(1);        // Without an event, but so long.
constexpr absl::Duration kWatchRetry = absl::Milliseconds(200);  // If a gateway does not say.
constexpr int kLanesBegin = 1 << 30;
constexpr int32_t kPageSize = 1000;
constexpr size_t kQueriesPerCall = 10'000;

// A gateway that stops may still take a connection, and then cut it off.
bool MayPass(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kCancelled;
}

}  // namespace

class Admin::Impl {
 public:
  explicit Impl(const AdminOptions& options)
      : options_(options),
        channel_(rpc::MakeChannel(options.address, rpc::ChannelOptions())),
        topics_(v1::TopicService::NewStub(channel_)),
        cluster_(v1::ClusterService::NewStub(channel_)),
        consumer_(v1::ConsumerService::NewStub(channel_)) {}

  // A stub with a new connection: the one there is may lead to a gateway that stops until that has
  // closed it, and others share it. Lanes from 0 are producers', those below consumers'.
  std::unique_ptr<v1::ClusterService::Stub> ConnectAnew() const {
    static std::atomic<int> lanes{kLanesBegin};
    rpc::ChannelOptions options;
    options.lane = lanes.fetch_add(1);
    return v1::ClusterService::NewStub(rpc::MakeChannel(options_.address, options));
  }

  // One unary call with the deadline of the options.
  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Call(Stub* stub,
                                grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + options_.timeout));
    Response response;
    const grpc::Status status = (stub->*method)(&context, request, &response);
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }

  const AdminOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::TopicService::Stub> topics_;
  const std::unique_ptr<v1::ClusterService::Stub> cluster_;
  const std::unique_ptr<v1::ConsumerService::Stub> consumer_;
};

Admin::Admin(const AdminOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Admin::~Admin() = default;

absl::StatusOr<v1::Topic> Admin::CreateTopic(const v1::CreateTopicRequest& request) {
  FALAJ_ASSIGN_OR_RETURN(
      v1::CreateTopicResponse response,
      impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::CreateTopic, request));
  return std::move(*response.mutable_topic());
}

absl::StatusOr<v1::Topic> Admin::GetTopic(absl::string_view name) {
  v1::GetTopicRequest request;
  request.set_name(std::string(name));
  FALAJ_ASSIGN_OR_RETURN(
      v1::GetTopicResponse response,
      impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::GetTopic, request));
  return std::move(*response.mutable_topic());
}

absl::StatusOr<std::vector<v1::Topic>> Admin::ListTopics(bool include_internal) {
  std::vector<v1::Topic> topics;
  v1::ListTopicsRequest request;
  request.set_page_size(kPageSize);
  request.set_include_internal(include_internal);
  do {
    FALAJ_ASSIGN_OR_RETURN(
        v1::ListTopicsResponse page,
        impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::ListTopics, request));
    for (v1::Topic& topic : *page.mutable_topics()) topics.push_back(std::move(topic));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return topics;
}

absl::StatusOr<v1::Topic> Admin::UpdateTopic(const v1::UpdateTopicRequest& request) {
  FALAJ_ASSIGN_OR_RETURN(
      v1::UpdateTopicResponse response,
      impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::UpdateTopic, request));
  return std::move(*response.mutable_topic());
}

absl::Status Admin::DeleteTopic(absl::string_view name) {
  v1::DeleteTopicRequest request;
  request.set_name(std::string(name));
  return impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::DeleteTopic, request).status();
}

absl::StatusOr<v1::Topic> Admin::AddPartitions(absl::string_view name, int32_t partition_count) {
  v1::AddPartitionsRequest request;
  request.set_name(std::string(name));
  request.set_partition_count(partition_count);
  FALAJ_ASSIGN_OR_RETURN(
      v1::AddPartitionsResponse response,
      impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::AddPartitions, request));
  return std::move(*response.mutable_topic());
}

absl::StatusOr<v1::TruncateTopicResponse> Admin::TruncateTopic(
    const v1::TruncateTopicRequest& request) {
  return impl_->Call(impl_->topics_.get(), &v1::TopicService::Stub::TruncateTopic, request);
}

absl::StatusOr<v1::GetClusterResponse> Admin::GetCluster() {
  return impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::GetCluster,
                     v1::GetClusterRequest());
}

absl::StatusOr<std::vector<v1::StorageNode>> Admin::ListNodes() {
  std::vector<v1::StorageNode> nodes;
  v1::ListNodesRequest request;
  request.set_page_size(kPageSize);
  do {
    FALAJ_ASSIGN_OR_RETURN(
        v1::ListNodesResponse page,
        impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::ListNodes, request));
    for (v1::StorageNode& node : *page.mutable_nodes()) nodes.push_back(std::move(node));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return nodes;
}

absl::StatusOr<v1::ReassignPartitionsResponse> Admin::ReassignPartitions(
    const v1::ReassignPartitionsRequest& request) {
  return impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::ReassignPartitions, request);
}

absl::StatusOr<std::vector<v1::Reassignment>> Admin::ListReassignments(absl::string_view topic) {
  std::vector<v1::Reassignment> reassignments;
  v1::ListReassignmentsRequest request;
  request.set_topic(std::string(topic));
  request.set_page_size(kPageSize);
  do {
    FALAJ_ASSIGN_OR_RETURN(
        v1::ListReassignmentsResponse page,
        impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::ListReassignments, request));
    for (v1::Reassignment& one : *page.mutable_reassignments()) {
      reassignments.push_back(std::move(one));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return reassignments;
}

absl::StatusOr<int32_t> Admin::CancelReassignments(absl::string_view topic,
                                                   const std::vector<int32_t>& partitions) {
  v1::CancelReassignmentsRequest request;
  request.set_topic(std::string(topic));
  request.mutable_partitions()->Add(partitions.begin(), partitions.end());
  FALAJ_ASSIGN_OR_RETURN(
      const v1::CancelReassignmentsResponse response,
      impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::CancelReassignments, request));
  return response.cancelled_count();
}

absl::StatusOr<v1::Topic> Admin::ElectLeaders(const v1::ElectLeadersRequest& request) {
  FALAJ_ASSIGN_OR_RETURN(
      v1::ElectLeadersResponse response,
      impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::ElectLeaders, request));
  return std::move(*response.mutable_topic());
}

absl::StatusOr<v1::DrainNodeResponse> Admin::DrainNode(int32_t node_id) {
  v1::DrainNodeRequest request;
  request.set_node_id(node_id);
  return impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::DrainNode, request);
}

absl::StatusOr<v1::StorageNode> Admin::UndrainNode(int32_t node_id) {
  v1::UndrainNodeRequest request;
  request.set_node_id(node_id);
  FALAJ_ASSIGN_OR_RETURN(
      v1::UndrainNodeResponse response,
      impl_->Call(impl_->cluster_.get(), &v1::ClusterService::Stub::UndrainNode, request));
  return std::move(*response.mutable_node());
}

absl::Status Admin::WatchCluster(
    uint64_t after_metadata_index,
    const std::function<bool(const v1::WatchClusterResponse&)>& event) {
  uint64_t after = after_metadata_index;
  bool resumed = false;
  std::unique_ptr<v1::ClusterService::Stub> anew;  // Once a gateway has said that it stops.
  bool leaving = false;                            // It has, and no other one has worked yet.
  MonotonicTime worked_at = Clock::Real()->MonotonicNow();
  while (true) {
    grpc::ClientContext context;
    v1::WatchClusterRequest request;
    request.set_after_metadata_index(after);
    const MonotonicTime opened = Clock::Real()->MonotonicNow();
    const auto reader = (anew ? anew : impl_->cluster_)->WatchCluster(&context, request);
    v1::WatchClusterResponse response;
    bool worked = false;
    while (reader->Read(&response)) {
      worked = true;
      after = response.metadata_index();
      if (event(response)) continue;
      context.TryCancel();
      while (reader->Read(&response)) continue;
      IgnoreError(rpc::FromGrpc(reader->Finish()), "ended by the caller");
      return absl::OkStatus();
    }
    const absl::Status ended = rpc::FromGrpc(reader->Finish());
    const MonotonicTime now = Clock::Real()->MonotonicNow();
    worked |= now - opened >= kWatchWorked;
    const bool stops = ReasonOf(ended) == Reason::kShuttingDown;
    if (worked || (stops && !leaving)) worked_at = now;  // Until it said so it did.
    leaving = stops || (leaving && !worked);
    if (resumed && ReasonOf(ended) == Reason::kWatchCompacted) {
      after = 0;  // A snapshot replaces what has come.
    } else if (leaving && MayPass(ended) && now - worked_at < impl_->options_.timeout) {
      if (!worked) absl::SleepFor(RetryAfterOf(ended).value_or(kWatchRetry));
      anew = impl_->ConnectAnew();
    } else if (!worked || ended.code() != absl::StatusCode::kUnavailable) {
      return ended;
    }
    resumed = true;  // Gateways close connections that are old, or restart.
  }
}

absl::StatusOr<std::vector<v1::OffsetResult>> Admin::ListOffsets(
    const std::vector<v1::OffsetQuery>& queries) {
  std::vector<v1::OffsetResult> results;
  for (size_t begin = 0; begin < queries.size(); begin += kQueriesPerCall) {
    v1::ListOffsetsRequest request;
    const size_t end = std::min(queries.size(), begin + kQueriesPerCall);
    for (size_t i = begin; i < end; ++i) *request.add_queries() = queries[i];
    FALAJ_ASSIGN_OR_RETURN(
        v1::ListOffsetsResponse response,
        impl_->Call(impl_->consumer_.get(), &v1::ConsumerService::Stub::ListOffsets, request));
    if (response.results_size() != request.queries_size()) {
      return MakeError(Reason::kInternal, "the gateway did not answer every query");
    }
    for (v1::OffsetResult& result : *response.mutable_results()) {
      results.push_back(std::move(result));
    }
  }
  return results;
}

}  // namespace falaj::client
