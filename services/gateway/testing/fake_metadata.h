// FakeMetadata is a metadata service of one node without a log: the real state machine
// (libs/cluster) behind the real protocol, with nothing on disk. For tests and benchmarks of the
// gateway.
//
// Threads: any. Stop() ends the watches and forgets nothing; Start() listens again on the same
// port.
#ifndef SERVICES_GATEWAY_TESTING_FAKE_METADATA_H_
#define SERVICES_GATEWAY_TESTING_FAKE_METADATA_H_

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/cluster/cluster_state.h"
#include "libs/rpc/server.h"

namespace falaj::gateway {

class FakeMetadata final : public internal::v1::MetadataService::CallbackService {
 public:
  FakeMetadata();
  ~FakeMetadata() override;

  void Start();
  void Stop();
  std::string address() const { return address_; }

  // Applies a command, as a client's Execute() would.
  absl::StatusOr<internal::v1::ExecuteResponse> Apply(const internal::v1::ClusterCommand& command);
  // A storage node appears, or comes back. Returns its session.
  int64_t AddNode(int32_t node_id, const std::string& address, const std::string& zone = "");
  void EndSession(int64_t session_id);
  // While held, changes are made and those who watch are told when it is over.
  void HoldWatches(bool held);
  // How often it was asked for its newest change.
  int questions() const { return questions_; }
  // Tells those who watch that it is there, as a metadata node does every second.
  void Keepalive();

  grpc::ServerUnaryReactor* Execute(grpc::CallbackServerContext* context,
                                    const internal::v1::ExecuteRequest* request,
                                    internal::v1::ExecuteResponse* response) override;
  grpc::ServerUnaryReactor* GetNewestChange(
      grpc::CallbackServerContext* context, const internal::v1::GetNewestChangeRequest* request,
      internal::v1::GetNewestChangeResponse* response) override;
  grpc::ServerWriteReactor<internal::v1::WatchClusterResponse>* WatchCluster(
      grpc::CallbackServerContext* context,
      const internal::v1::WatchClusterRequest* request) override;

 private:
  class Watcher;

  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<rpc::ServerHost> host_;

  Mutex mu_;
  cluster::ClusterState state_ ABSL_GUARDED_BY(mu_);
  std::set<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<internal::v1::WatchClusterResponse> kept_ ABSL_GUARDED_BY(mu_);  // Meanwhile.
  std::atomic<int> questions_{0};
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_FAKE_METADATA_H_
