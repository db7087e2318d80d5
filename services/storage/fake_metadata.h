// FakeMetadata is a metadata service for tests of the storage node: the real cluster state machine
// behind a gRPC server, without a log. It can be stopped and started again on the same port, and
// sessions end only when a test says so.
#ifndef SERVICES_STORAGE_FAKE_METADATA_H_
#define SERVICES_STORAGE_FAKE_METADATA_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/cluster/cluster_state.h"
#include "libs/rpc/server.h"

namespace falaj::storage {

class FakeMetadata final : public internal::v1::MetadataService::Service {
 public:
  explicit FakeMetadata(uint64_t seed = 1) : random_(seed) {
    internal::v1::ClusterCommand init;
    init.mutable_init_cluster()->set_cluster_id(std::string(random_.NextUuid().bytes()));
    Apply(init).IgnoreError();
  }
  ~FakeMetadata() override { StopServing(); }

  void StartServing() {
    {
      MutexLock lock(&mu_);
      stopping_ = false;
    }
    auto host = rpc::ServerHost::Start({.listen_address = address_}, {this}, nullptr);
    host_ = std::move(host).value();
    address_ = host_->address();
  }
  void StopServing() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
    }
    changed_.NotifyAll();
    if (host_ != nullptr) host_->Stop(absl::ZeroDuration());
    host_.reset();
  }
  const std::string& address() const { return address_; }

  absl::StatusOr<internal::v1::ExecuteResponse> Apply(const internal::v1::ClusterCommand& command) {
    MutexLock lock(&mu_);
    const LogIndex index = state_.index() + 1;
    cluster::ClusterState::Applied applied = state_.Apply(index, command);
    deltas_.push_back(applied.delta);
    changed_.NotifyAll();
    if (applied.response.ok()) applied.response->set_index(index.value());
    return applied.response;
  }
  // Makes a topic and returns it as it is afterwards.
  internal::v1::TopicState CreateTopic(const std::string& name, int partitions,
                                       const internal::v1::TopicSettings& settings,
                                       int replicas = 1) {
    internal::v1::ClusterCommand command;
    command.set_time_ms(1'700'000'000'000);
    internal::v1::CreateTopicCommand& create = *command.mutable_create_topic();
    {
      MutexLock lock(&mu_);
      create.set_topic_id(std::string(random_.NextUuid().bytes()));
    }
    create.set_name(name);
    create.set_partition_count(partitions);
    create.set_replication_factor(replicas);
    *create.mutable_settings() = settings;
    return Apply(command).value().topic();
  }
  void DeleteTopic(const std::string& name) {
    internal::v1::ClusterCommand command;
    command.mutable_delete_topic()->set_name(name);
    Apply(command).value();
  }
  internal::v1::TopicState Topic(const std::string& name) {
    MutexLock lock(&mu_);
    return state_.topics().at(name);
  }
  // Rises with every command, refused ones too.
  uint64_t index() {
    MutexLock lock(&mu_);
    return state_.index().value();
  }
  internal::v1::NodeState Node(int32_t id) {
    MutexLock lock(&mu_);
    const auto it = state_.nodes().find(id);
    return it == state_.nodes().end() ? internal::v1::NodeState() : it->second;
  }

  grpc::Status Execute(grpc::ServerContext* /*context*/,
                       const internal::v1::ExecuteRequest* request,
                       internal::v1::ExecuteResponse* response) override;
  grpc::Status Heartbeat(grpc::ServerContext* /*context*/,
                         const internal::v1::HeartbeatRequest* request,
                         internal::v1::HeartbeatResponse* /*response*/) override;
  grpc::Status HoldSession(grpc::ServerContext* context,
                           const internal::v1::HoldSessionRequest* request,
                           grpc::ServerWriter<internal::v1::HoldSessionResponse>* writer) override;
  grpc::Status WatchCluster(
      grpc::ServerContext* context, const internal::v1::WatchClusterRequest* request,
      grpc::ServerWriter<internal::v1::WatchClusterResponse>* writer) override;

 private:
  bool IsOpen(int64_t session_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  Random random_ ABSL_GUARDED_BY(mu_);
  cluster::ClusterState state_ ABSL_GUARDED_BY(mu_);
  std::vector<internal::v1::ClusterDelta> deltas_ ABSL_GUARDED_BY(mu_);  // [i] has index i + 1.
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<rpc::ServerHost> host_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_FAKE_METADATA_H_
