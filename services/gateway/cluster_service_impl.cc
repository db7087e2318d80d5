#include "services/gateway/cluster_service_impl.h"

#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/metadata_command.h"
#include "services/gateway/paging.h"
#include "services/gateway/reassignments.h"
#include "services/gateway/topic_messages.h"

namespace falaj::gateway {
namespace {

constexpr char kNodeList[] = "nodes";

// WatchStream is one client's WatchCluster call. It writes one response at a time and looks up the
// next one when that is done, so it holds an index and no queue.
class WatchStream : public grpc::ServerWriteReactor<v1::WatchClusterResponse>,
                    public rpc::StoppableCall {
 public:
  WatchStream(ClusterHistory* history, rpc::OpenCalls* calls, uint64_t after_index)
      : history_(history), calls_(calls), index_(after_index) {
    // The first write is decided before anybody can wake the stream; what comes in between is found
    // by Pump().
    if (after_index == 0) {
      MutexLock lock(&mu_);
      Write(history_->Snapshot());
    }
    subscription_ = history_->Subscribe([this] { Pump(); });
    Pump();
    calls_->Add(this);
  }

 private:
  void Pump() {
    MutexLock lock(&mu_);
    if (writing_ || finished_) return;
    absl::StatusOr<std::optional<v1::WatchClusterResponse>> next = history_->After(index_);
    if (!next.ok()) {
      End(next.status());
    } else if (next->has_value()) {
      Write(**std::move(next));
    }
  }

  void Write(v1::WatchClusterResponse response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    writing_ = true;
    index_ = response.metadata_index();
    outgoing_ = std::move(response);
    StartWrite(&outgoing_);
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) End(MakeError(Reason::kCancelled, "the client is gone"));
    }
    Pump();
  }

  void OnCancel() override {
    MutexLock lock(&mu_);
    End(MakeError(Reason::kCancelled, "the watch was cancelled"));
  }

  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!std::exchange(finished_, true)) Finish(rpc::ToGrpc(status));
  }

  void Stop() override {
    MutexLock lock(&mu_);
    End(MakeError(Reason::kShuttingDown, "this gateway is stopping"));
  }

  void OnDone() override {
    calls_->Remove(this);
    history_->Unsubscribe(subscription_);
    delete this;
  }

  ClusterHistory* const history_;
  rpc::OpenCalls* const calls_;
  uint64_t subscription_ = 0;
  Mutex mu_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t index_ ABSL_GUARDED_BY(mu_);
  v1::WatchClusterResponse outgoing_;
};

void FillHealth(const cluster::ClusterView& view, v1::GetClusterResponse* response) {
  int32_t partitions = 0;
  int32_t leaderless = 0;
  int32_t under_replicated = 0;
  int32_t reassigning = 0;
  for (const auto& [name, topic] : view.topics()) {
    for (const cluster::PartitionInfo& partition : topic->partitions) {
      ++partitions;
      leaderless += view.FindLeader(partition) == nullptr ? 1 : 0;
      under_replicated += partition.under_replicated() ? 1 : 0;
      reassigning += partition.reassigning() ? 1 : 0;
    }
  }
  response->set_topic_count(static_cast<int32_t>(view.topics().size()));
  response->set_partition_count(partitions);
  response->set_leaderless_partition_count(leaderless);
  response->set_under_replicated_partition_count(under_replicated);
  response->set_reassigning_partition_count(reassigning);
}

absl::Status ListPage(const cluster::ClusterView& view, const v1::ListNodesRequest& request,
                      v1::ListNodesResponse* response) {
  FALAJ_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  FALAJ_ASSIGN_OR_RETURN(const std::string after, ParsePageToken(kNodeList, request.page_token()));
  int32_t after_id = 0;
  if (!after.empty() && !absl::SimpleAtoi(after, &after_id)) {
    return MakeError(Reason::kInvalidRequest, "page_token is not one this list gave out",
                     {{"field", "page_token"}});
  }
  for (v1::StorageNode& node : ToNodes(view)) {
    if (node.node_id() <= after_id) continue;
    if (response->nodes_size() == page_size) {
      response->set_next_page_token(
          MakePageToken(kNodeList, absl::StrCat(response->nodes(page_size - 1).node_id())));
      break;
    }
    *response->add_nodes() = std::move(node);
  }
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* ClusterServiceImpl::GetCluster(grpc::CallbackServerContext* context,
                                                         const v1::GetClusterRequest* /*request*/,
                                                         v1::GetClusterResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const cluster::ClusterView::Ptr view = parts_->routes->View();
  if (view->cluster_id().is_nil()) {
    reactor->Finish(rpc::ToGrpc(MakeError(
        Reason::kMetadataUnavailable, "this gateway has not reached the metadata service yet")));
    return reactor;
  }
  response->set_cluster_id(view->cluster_id().ToString());
  response->set_metadata_index(view->index().value());
  for (v1::StorageNode& node : ToNodes(*view)) *response->add_nodes() = std::move(node);
  FillHealth(*view, response);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* ClusterServiceImpl::ListNodes(grpc::CallbackServerContext* context,
                                                        const v1::ListNodesRequest* request,
                                                        v1::ListNodesResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc::ToGrpc(ListPage(*parts_->routes->View(), *request, response)));
  return reactor;
}

grpc::ServerWriteReactor<v1::WatchClusterResponse>* ClusterServiceImpl::WatchCluster(
    grpc::CallbackServerContext* /*context*/, const v1::WatchClusterRequest* request) {
  return new WatchStream(history_, parts_->calls, request->after_metadata_index());
}

grpc::Status ClusterServiceImpl::ReassignPartitions(grpc::ServerContext* context,
                                                    const v1::ReassignPartitionsRequest* request,
                                                    v1::ReassignPartitionsResponse* response) {
  internal::v1::ClusterCommand command;
  internal::v1::ReassignPartitionsCommand* const reassign = command.mutable_reassign_partitions();
  for (const v1::PartitionTarget& wish : request->partitions()) {
    internal::v1::PartitionTarget* const target = reassign->add_partitions();
    target->set_topic(wish.topic());
    target->set_partition(wish.partition());
    *target->mutable_replicas() = wish.replicas();
  }
  const absl::Status status = ExecuteCommand(parts_, metadata_, context, command).status();
  if (!status.ok()) return rpc::ToGrpc(status);
  const cluster::ClusterView::Ptr view = parts_->routes->View();
  for (const v1::PartitionTarget& wish : request->partitions()) {
    const cluster::TopicInfo* const topic = view->FindTopic(wish.topic());
    // Deleted meanwhile, perhaps made anew with fewer partitions.
    const auto number = static_cast<size_t>(wish.partition());
    if (topic == nullptr || number >= topic->partitions.size()) continue;
    const auto& partition = topic->partitions[number];
    if (partition.reassigning()) {
      *response->add_reassignments() = ToReassignment(topic->name, partition);
    }
  }
  return grpc::Status::OK;
}

grpc::Status ClusterServiceImpl::ListReassignments(grpc::ServerContext* /*context*/,
                                                   const v1::ListReassignmentsRequest* request,
                                                   v1::ListReassignmentsResponse* response) {
  return rpc::ToGrpc(ListReassignmentPage(*parts_->routes->View(), *request, response));
}

grpc::Status ClusterServiceImpl::CancelReassignments(grpc::ServerContext* context,
                                                     const v1::CancelReassignmentsRequest* request,
                                                     v1::CancelReassignmentsResponse* response) {
  internal::v1::ClusterCommand command;
  command.mutable_cancel_reassignments()->set_topic(request->topic());
  *command.mutable_cancel_reassignments()->mutable_partitions() = request->partitions();
  const auto executed = ExecuteCommand(parts_, metadata_, context, command);
  if (executed.ok()) response->set_cancelled_count(executed->partitions_reassigned());
  return rpc::ToGrpc(executed.status());
}

absl::Status ClusterServiceImpl::Elect(grpc::ServerContext* context,
                                       const v1::ElectLeadersRequest& request,
                                       v1::ElectLeadersResponse* response) {
  if (request.has_node_id() && request.node_id() < 1) {
    return MakeError(Reason::kInvalidRequest, "node_id must be at least 1", {{"field", "node_id"}});
  }
  internal::v1::ClusterCommand command;
  command.mutable_elect_leaders()->set_topic(request.topic());
  *command.mutable_elect_leaders()->mutable_partitions() = request.partitions();
  command.mutable_elect_leaders()->set_node_id(request.node_id());
  FALAJ_RETURN_IF_ERROR(ExecuteCommand(parts_, metadata_, context, command).status());
  FALAJ_ASSIGN_OR_RETURN(const TopicPtr topic, parts_->routes->FindTopic(request.topic()));
  *response->mutable_topic() = ToTopic(*topic, true);
  return absl::OkStatus();
}

grpc::Status ClusterServiceImpl::ElectLeaders(grpc::ServerContext* context,
                                              const v1::ElectLeadersRequest* request,
                                              v1::ElectLeadersResponse* response) {
  return rpc::ToGrpc(Elect(context, *request, response));
}

absl::StatusOr<int32_t> ClusterServiceImpl::SetDraining(grpc::ServerContext* context,
                                                        int32_t node_id, bool draining,
                                                        v1::StorageNode* node) {
  internal::v1::ClusterCommand command;
  command.mutable_set_node_draining()->set_node_id(node_id);
  command.mutable_set_node_draining()->set_draining(draining);
  FALAJ_ASSIGN_OR_RETURN(const internal::v1::ExecuteResponse executed,
                         ExecuteCommand(parts_, metadata_, context, command));
  for (v1::StorageNode& one : ToNodes(*parts_->routes->View())) {
    if (one.node_id() == node_id) *node = std::move(one);
  }
  return executed.partitions_reassigned();
}

grpc::Status ClusterServiceImpl::DrainNode(grpc::ServerContext* context,
                                           const v1::DrainNodeRequest* request,
                                           v1::DrainNodeResponse* response) {
  const absl::StatusOr<int32_t> moving =
      SetDraining(context, request->node_id(), true, response->mutable_node());
  if (moving.ok()) response->set_reassigned_count(*moving);
  return rpc::ToGrpc(moving.status());
}

grpc::Status ClusterServiceImpl::UndrainNode(grpc::ServerContext* context,
                                             const v1::UndrainNodeRequest* request,
                                             v1::UndrainNodeResponse* response) {
  return rpc::ToGrpc(
      SetDraining(context, request->node_id(), false, response->mutable_node()).status());
}

}  // namespace falaj::gateway
