#include "services/gateway/testing/fake_metadata.h"

#include <cstdlib>
#include <deque>
#include <utility>

#include "libs/base/clock.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {

using internal::v1::ClusterCommand;
using internal::v1::ExecuteResponse;
using internal::v1::WatchClusterResponse;

// Watcher is one watch; the service's lock guards it.
class FakeMetadata::Watcher final : public grpc::ServerWriteReactor<WatchClusterResponse> {
 public:
  explicit Watcher(FakeMetadata* service) : service_(service) {}

  void Push(WatchClusterResponse event) {
    queue_.push_back(std::move(event));
    if (queue_.size() == 1 && !finished_) StartWrite(&queue_.front());
  }

 private:
  void OnWriteDone(bool ok) override {
    MutexLock lock(&service_->mu_);
    queue_.pop_front();
    if (ok && !queue_.empty() && !finished_) StartWrite(&queue_.front());
  }
  void OnCancel() override {
    MutexLock lock(&service_->mu_);
    if (!std::exchange(finished_, true)) Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      MutexLock lock(&service_->mu_);
      service_->watchers_.erase(this);
    }
    delete this;
  }

  FakeMetadata* const service_;
  std::deque<WatchClusterResponse> queue_;  // The front is being written.
  bool finished_ = false;
};

FakeMetadata::FakeMetadata() {
  ClusterCommand command;
  command.mutable_init_cluster()->set_cluster_id(std::string(Uuid::FromRandomBits(1, 2).bytes()));
  IgnoreError(Apply(command).status(), "a fresh state takes its first command");
  Start();
}

FakeMetadata::~FakeMetadata() { Stop(); }

void FakeMetadata::Start() {
  auto host = rpc::ServerHost::Start({.listen_address = address_}, {this}, nullptr);
  if (!host.ok()) std::abort();
  host_ = *std::move(host);
  address_ = host_->address();
}

void FakeMetadata::Stop() {
  if (host_ != nullptr) host_->Stop(absl::ZeroDuration());
  host_.reset();
}

absl::StatusOr<ExecuteResponse> FakeMetadata::Apply(const ClusterCommand& command) {
  MutexLock lock(&mu_);
  const LogIndex index = state_.index() + 1;
  ClusterCommand filled = command;
  filled.set_time_ms(Clock::Real()->NowMs());
  if (filled.has_create_topic()) {
    filled.mutable_create_topic()->set_topic_id(
        std::string(Uuid::FromRandomBits(3, index.value()).bytes()));
  }
  cluster::ClusterState::Applied applied = state_.Apply(index, filled);
  WatchClusterResponse event;
  event.set_index(index.value());
  *event.mutable_delta() = applied.delta;
  if (held_) {
    kept_.push_back(std::move(event));
  } else {
    for (Watcher* watcher : watchers_) watcher->Push(event);
  }
  if (applied.response.ok()) applied.response->set_index(index.value());
  return std::move(applied.response);
}

int64_t FakeMetadata::AddNode(int32_t node_id, const std::string& address,
                              const std::string& zone) {
  ClusterCommand command;
  internal::v1::RegisterNodeCommand* node = command.mutable_register_node();
  node->set_node_id(node_id);
  node->set_directory_id(
      std::string(Uuid::FromRandomBits(4, static_cast<uint64_t>(node_id)).bytes()));
  node->set_address(address);
  node->set_zone(zone);
  node->set_session_timeout_ms(10'000);
  const auto response = Apply(command);
  return response.ok() ? response->node().session_id() : 0;
}

void FakeMetadata::EndSession(int64_t session_id) {
  ClusterCommand command;
  command.mutable_end_session()->set_session_id(session_id);
  IgnoreError(Apply(command).status(), "ending a session that has ended does nothing");
}

void FakeMetadata::HoldWatches(bool held) {
  MutexLock lock(&mu_);
  held_ = held;
  if (held) return;
  for (const WatchClusterResponse& event : std::exchange(kept_, {})) {
    for (Watcher* watcher : watchers_) watcher->Push(event);
  }
}

void FakeMetadata::Keepalive() {
  MutexLock lock(&mu_);
  WatchClusterResponse event;
  event.set_index(state_.index().value());
  for (Watcher* watcher : watchers_) watcher->Push(event);
}

grpc::ServerUnaryReactor* FakeMetadata::Execute(grpc::CallbackServerContext* context,
                                                const internal::v1::ExecuteRequest* request,
                                                ExecuteResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<ExecuteResponse> result = Apply(request->command());
  if (result.ok()) *response = *std::move(result);
  reactor->Finish(rpc::ToGrpc(result.status()));
  return reactor;
}

grpc::ServerUnaryReactor* FakeMetadata::GetNewestChange(
    grpc::CallbackServerContext* context, const internal::v1::GetNewestChangeRequest* /*request*/,
    internal::v1::GetNewestChangeResponse* response) {
  ++questions_;
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  {
    MutexLock lock(&mu_);
    response->set_index(state_.index().value());
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<WatchClusterResponse>* FakeMetadata::WatchCluster(
    grpc::CallbackServerContext* /*context*/,
    const internal::v1::WatchClusterRequest* /*request*/) {
  auto* const watcher = new Watcher(this);
  MutexLock lock(&mu_);
  watchers_.insert(watcher);
  WatchClusterResponse event;
  event.set_index(state_.index().value());
  *event.mutable_snapshot() = state_.Snapshot();
  watcher->Push(std::move(event));
  return watcher;
}

}  // namespace falaj::gateway
