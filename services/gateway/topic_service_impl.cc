#include "services/gateway/topic_service_impl.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/cluster/topic_rules.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/metadata_command.h"
#include "services/gateway/offset_lookup.h"
#include "services/gateway/paging.h"
#include "services/gateway/route_confirmer.h"
#include "services/gateway/storage_link.h"
#include "services/gateway/topic_messages.h"

namespace falaj::gateway {
namespace {

constexpr char kTopicList[] = "topics";

absl::Status CheckNameGiven(const std::string& name) {
  if (!name.empty()) return absl::OkStatus();
  return MakeError(Reason::kInvalidName, "the topic's name is missing", {{"field", "name"}});
}

// Fills the response's topic, or returns the error.
template <typename Response>
grpc::Status Answer(absl::StatusOr<v1::Topic> topic, Response* response) {
  if (!topic.ok()) return rpc::ToGrpc(topic.status());
  *response->mutable_topic() = *std::move(topic);
  return grpc::Status::OK;
}

// Collects the answers of parallel TruncatePrefix calls.
class TruncateGather {
 public:
  explicit TruncateGather(int calls) : left_(calls) {}

  void Complete() {
    MutexLock lock(&mu_);
    if (--left_ == 0) done_.NotifyAll();
  }
  void Wait() {
    MutexLock lock(&mu_);
    while (left_ > 0) done_.Wait(&mu_);
  }

 private:
  Mutex mu_;
  CondVar done_;
  int left_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

absl::Status TopicServiceImpl::Execute(grpc::ServerContext* context,
                                       const internal::v1::ClusterCommand& command) {
  return ExecuteCommand(parts_, metadata_, context, command).status();
}

absl::Status TopicServiceImpl::MakeSureOf(const std::string& name, int32_t partition) const {
  const PartitionIndex index(partition);
  if (!IsMissing(parts_->routes->Exists(name, index))) return absl::OkStatus();
  const absl::Status confirmed = parts_->confirmer->ConfirmNow();
  return AsConfirmed(parts_->routes->Exists(name, index), confirmed);
}

absl::StatusOr<v1::Topic> TopicServiceImpl::Describe(const std::string& name) const {
  FALAJ_ASSIGN_OR_RETURN(const TopicPtr topic, parts_->routes->FindTopic(name));
  return ToTopic(*topic, true);
}

absl::StatusOr<v1::Topic> TopicServiceImpl::Create(grpc::ServerContext* context,
                                                   const v1::CreateTopicRequest& request) {
  FALAJ_RETURN_IF_ERROR(cluster::ValidateUserTopicName(request.name()));
  const int32_t partitions = request.has_partition_count() ? request.partition_count() : 1;
  const int32_t replicas = request.has_replication_factor() ? request.replication_factor() : 1;
  FALAJ_RETURN_IF_ERROR(cluster::ValidatePartitionCount(partitions));
  FALAJ_RETURN_IF_ERROR(cluster::ValidateReplicationFactor(replicas));
  FALAJ_ASSIGN_OR_RETURN(const internal::v1::TopicSettings settings, ToSettings(request.config()));
  FALAJ_RETURN_IF_ERROR(cluster::ValidateTopicSettings(settings, replicas));
  internal::v1::ClusterCommand command;
  internal::v1::CreateTopicCommand* create = command.mutable_create_topic();
  create->set_name(request.name());
  create->set_partition_count(partitions);
  create->set_replication_factor(replicas);
  *create->mutable_settings() = settings;
  create->set_validate_only(request.validate_only());
  FALAJ_RETURN_IF_ERROR(Execute(context, command));
  if (!request.validate_only()) return Describe(request.name());
  v1::Topic topic;
  topic.set_name(request.name());
  topic.set_partition_count(partitions);
  topic.set_replication_factor(replicas);
  *topic.mutable_config() = ToConfig(settings);
  return topic;
}

grpc::Status TopicServiceImpl::CreateTopic(grpc::ServerContext* context,
                                           const v1::CreateTopicRequest* request,
                                           v1::CreateTopicResponse* response) {
  return Answer(Create(context, *request), response);
}

grpc::Status TopicServiceImpl::GetTopic(grpc::ServerContext* /*context*/,
                                        const v1::GetTopicRequest* request,
                                        v1::GetTopicResponse* response) {
  if (absl::Status status = CheckNameGiven(request->name()); !status.ok())
    return rpc::ToGrpc(status);
  if (absl::Status status = MakeSureOf(request->name()); !status.ok()) return rpc::ToGrpc(status);
  return Answer(Describe(request->name()), response);
}

absl::Status TopicServiceImpl::List(const v1::ListTopicsRequest& request,
                                    v1::ListTopicsResponse* response) const {
  FALAJ_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  FALAJ_ASSIGN_OR_RETURN(const std::string after, ParsePageToken(kTopicList, request.page_token()));
  const cluster::ClusterView::Ptr view = parts_->routes->View();
  for (auto it = view->topics().upper_bound(after); it != view->topics().end(); ++it) {
    if (!request.include_internal() && cluster::IsInternalTopic(it->first)) continue;
    if (response->topics_size() == page_size) {
      response->set_next_page_token(
          MakePageToken(kTopicList, response->topics(page_size - 1).name()));
      break;
    }
    *response->add_topics() = ToTopic(*it->second, false);
  }
  return absl::OkStatus();
}

grpc::Status TopicServiceImpl::ListTopics(grpc::ServerContext* /*context*/,
                                          const v1::ListTopicsRequest* request,
                                          v1::ListTopicsResponse* response) {
  return rpc::ToGrpc(List(*request, response));
}

absl::StatusOr<v1::Topic> TopicServiceImpl::Update(grpc::ServerContext* context,
                                                   const v1::UpdateTopicRequest& request) {
  FALAJ_RETURN_IF_ERROR(CheckNameGiven(request.name()));
  std::vector<std::string> fields;
  if (!request.update_mask().paths().empty() || !request.has_replication_factor()) {
    FALAJ_ASSIGN_OR_RETURN(fields, SettingsOfMask(request.update_mask()));
  }
  FALAJ_ASSIGN_OR_RETURN(const internal::v1::TopicSettings settings, ToSettings(request.config()));
  internal::v1::ClusterCommand command;
  internal::v1::UpdateTopicCommand* update = command.mutable_update_topic();
  update->set_name(request.name());
  *update->mutable_settings() = settings;
  for (const std::string& field : fields) update->add_fields(field);
  if (request.has_replication_factor()) {
    FALAJ_RETURN_IF_ERROR(cluster::ValidateReplicationFactor(request.replication_factor()));
    update->set_replication_factor(request.replication_factor());
  }
  FALAJ_RETURN_IF_ERROR(Execute(context, command));
  return Describe(request.name());
}

grpc::Status TopicServiceImpl::UpdateTopic(grpc::ServerContext* context,
                                           const v1::UpdateTopicRequest* request,
                                           v1::UpdateTopicResponse* response) {
  return Answer(Update(context, *request), response);
}

grpc::Status TopicServiceImpl::DeleteTopic(grpc::ServerContext* context,
                                           const v1::DeleteTopicRequest* request,
                                           v1::DeleteTopicResponse* /*response*/) {
  if (absl::Status status = CheckNameGiven(request->name()); !status.ok())
    return rpc::ToGrpc(status);
  internal::v1::ClusterCommand command;
  command.mutable_delete_topic()->set_name(request->name());
  return rpc::ToGrpc(Execute(context, command));
}

grpc::Status TopicServiceImpl::AddPartitions(grpc::ServerContext* context,
                                             const v1::AddPartitionsRequest* request,
                                             v1::AddPartitionsResponse* response) {
  absl::Status status = CheckNameGiven(request->name());
  if (status.ok()) status = cluster::ValidatePartitionCount(request->partition_count());
  if (!status.ok()) return rpc::ToGrpc(status);
  internal::v1::ClusterCommand command;
  command.mutable_add_partitions()->set_name(request->name());
  command.mutable_add_partitions()->set_partition_count(request->partition_count());
  status = Execute(context, command);
  if (!status.ok()) return rpc::ToGrpc(status);
  return Answer(Describe(request->name()), response);
}

absl::Status TopicServiceImpl::Truncate(grpc::ServerContext* context,
                                        const v1::TruncateTopicRequest& request,
                                        v1::TruncateTopicResponse* response) {
  FALAJ_RETURN_IF_ERROR(CheckNameGiven(request.name()));
  int32_t last = 0;
  for (const v1::PartitionTruncation& truncation : request.truncations()) {
    last = std::max(last, truncation.partition());
  }
  // One that does not exist is told of by itself, below.
  if (absl::Status status = MakeSureOf(request.name(), last);
      !status.ok() && ReasonOf(status) != Reason::kPartitionNotFound) {
    return status;
  }
  const int count = request.truncations_size();
  if (count == 0) {
    return MakeError(Reason::kInvalidRequest, "there are no partitions to truncate",
                     {{"field", "truncations"}});
  }
  for (const v1::PartitionTruncation& truncation : request.truncations()) {
    FALAJ_RETURN_IF_ERROR(CheckTarget(truncation.before()));
  }
  for (int i = 0; i < count; ++i)
    response->add_starts()->set_partition(request.truncations(i).partition());
  auto gather = std::make_shared<TruncateGather>(count);
  const absl::Duration left = TimeLeft(parts_, context);
  for (int i = 0; i < count; ++i) {
    const v1::PartitionTruncation& truncation = request.truncations(i);
    v1::PartitionStart* start = response->mutable_starts(i);
    absl::StatusOr<Route> route =
        parts_->routes->Find(request.name(), PartitionIndex(truncation.partition()));
    if (!route.ok()) {
      rpc::ToProto(route.status(), start->mutable_error());
      gather->Complete();
      continue;
    }
    internal::v1::TruncatePrefixRequest call;
    call.set_topic_id(std::string(route->topic.bytes()));
    call.set_partition(truncation.partition());
    call.set_leader_epoch(route->epoch.value());
    *call.mutable_before() = truncation.before();
    parts_->links->Get(route->address)
        ->Call("TruncatePrefix", call, left, [gather, start](auto answer) {
          internal::v1::TruncatePrefixResponse parsed;
          if (answer.ok() && rpc::ParseProto(*answer, &parsed)) {
            start->set_log_start_offset(parsed.log_start_offset());
          } else {
            rpc::ToProto(answer.ok() ? MakeError(Reason::kInternal, "malformed answer")
                                     : OfNode(answer.status()),
                         start->mutable_error());
          }
          gather->Complete();
        });
  }
  gather->Wait();
  return absl::OkStatus();
}

grpc::Status TopicServiceImpl::TruncateTopic(grpc::ServerContext* context,
                                             const v1::TruncateTopicRequest* request,
                                             v1::TruncateTopicResponse* response) {
  return rpc::ToGrpc(Truncate(context, *request, response));
}

}  // namespace falaj::gateway
