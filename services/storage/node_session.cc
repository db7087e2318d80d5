#include "services/storage/node_session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"

namespace falaj::storage {
namespace {

constexpr absl::Duration kRegisterPatience = absl::Seconds(2);
constexpr absl::Duration kRegisterRetry = absl::Milliseconds(200);
constexpr absl::Duration kMismatchRetry = absl::Seconds(5);
constexpr absl::Duration kTellAgain = absl::Minutes(1);
constexpr absl::Duration kEndPatience = absl::Seconds(2);

void AddReplicas(const std::vector<log::StoredPartition>& stored,
                 internal::v1::RegisterNodeCommand* node) {
  node->clear_replicas();
  for (const log::StoredPartition& one : stored) {
    internal::v1::StoredReplica* const replica = node->add_replicas();
    replica->set_topic_id(one.key.topic.bytes().data(), Uuid::kSize);
    replica->set_partition(one.key.partition.value());
    replica->set_last_epoch(one.epochs.empty() ? 0 : one.epochs.back().epoch.value());
    replica->set_log_end(one.log_end.value());
  }
}

}  // namespace

NodeSession::NodeSession(Options options, NodeIdentity* identity, rpc::MetadataChannel* channel,
                         Clock* clock)
    : options_(std::move(options)),
      identity_(identity),
      channel_(channel),
      clock_(clock),
      thread_([this] { Run(); }) {}

NodeSession::~NodeSession() { StopThread(); }

bool NodeSession::alive() const {
  MutexLock lock(&mu_);
  return session_.value() != 0 && clock_->MonotonicNow() - heard_ <= options_.timeout;
}

NodeEpoch NodeSession::epoch() const {
  MutexLock lock(&mu_);
  return epoch_;
}

absl::StatusOr<NodeSession::Relieved> NodeSession::PrepareStop(int32_t leads_max,
                                                               absl::Duration patience) {
  internal::v1::ClusterCommand command;
  internal::v1::PrepareStopCommand& stop = *command.mutable_prepare_stop();
  stop.set_node_id(identity_->node().value());
  stop.set_node_epoch(epoch().value());
  stop.set_leads_max(leads_max);
  FALAJ_ASSIGN_OR_RETURN(const auto response, channel_->Execute(command, patience));
  return Relieved{LogIndex{response.index()}, response.partitions_led()};
}

void NodeSession::End() {
  StopThread();
  SessionId session;
  {
    MutexLock lock(&mu_);
    session = std::exchange(session_, SessionId{0});
  }
  if (session.value() == 0) return;
  internal::v1::ClusterCommand command;
  command.mutable_end_session()->set_session_id(session.value());
  const absl::Status ended = channel_->Execute(command, kEndPatience).status();
  if (!ended.ok()) log::Warning("the session is left to expire", {{"error", ended}});
}

void NodeSession::StopThread() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  wake_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void NodeSession::Run() {
  while (Register() && KeepAlive()) {
  }
}

bool NodeSession::Register() {
  {
    MutexLock lock(&mu_);
    expired_ = false;
  }
  internal::v1::ClusterCommand command;
  internal::v1::RegisterNodeCommand& node = *command.mutable_register_node();
  node.set_node_id(identity_->node().value());
  node.set_directory_id(identity_->directory_id().bytes().data(), Uuid::kSize);
  node.set_address(options_.address);
  node.set_zone(options_.zone);
  node.set_session_timeout_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(options_.timeout)));
  node.set_clean_node_epoch(identity_->clean_epoch().value());
  node.set_incarnation_id(options_.incarnation.bytes().data(), Uuid::kSize);
  std::optional<absl::Status> told;
  MonotonicTime tell_again;
  while (true) {
    if (!identity_->cluster_id().is_nil()) {
      node.set_cluster_id(identity_->cluster_id().bytes().data(), Uuid::kSize);
    }
    const MonotonicTime asked = clock_->MonotonicNow();
    const auto response = channel_->Execute(command, kRegisterPatience);
    absl::Status status = response.status();
    const uint64_t recoveries = status.ok() ? response->recoveries() : 0;
    if (status.ok() && response->report_wanted() && node.recoveries() != recoveries &&
        options_.tell_stored) {
      log::Warning("the quorum was recovered and asks what this node holds",
                   {{"node", identity_->node()}, {"recoveries", recoveries}});
      const auto stored = options_.tell_stored(recoveries);
      if (!stored.has_value()) return false;
      AddReplicas(*stored, &node);
      node.set_recoveries(recoveries);
      continue;
    }
    if (status.ok()) {
      const absl::StatusOr<Uuid> cluster = Uuid::FromBytes(response->cluster_id());
      status = cluster.ok() ? identity_->JoinCluster(*cluster) : cluster.status();
      if (status.ok()) {
        {
          MutexLock lock(&mu_);
          session_ = SessionId{response->node().session_id()};
          epoch_ = NodeEpoch{response->node().node_epoch()};
          heard_ = asked;
        }
        log::Info("registered", {{"node", identity_->node()},
                                 {"node_epoch", response->node().node_epoch()},
                                 {"cluster_id", cluster->ToString()}});
        options_.on_registered(*cluster, LogIndex{response->index()}, recoveries);
        return !PauseOrStop(absl::ZeroDuration());
      }
    }
    const bool mismatch = ReasonOf(status) == Reason::kClusterMismatch;
    const MonotonicTime now = Clock::Real()->MonotonicNow();
    if (!told.has_value() || ReasonOf(*told) != ReasonOf(status) || now >= tell_again) {
      if (mismatch) {
        log::Error("the metadata service does not take this node in",
                   {{"node", identity_->node()}, {"error", status}});
      } else {
        log::Warning("cannot register yet", {{"error", status}});
      }
      told = status;
      tell_again = now + kTellAgain;
    }
    if (options_.on_refused) options_.on_refused(status);
    if (PauseOrStop(mismatch ? kMismatchRetry : kRegisterRetry)) return false;
  }
}

bool NodeSession::KeepAlive() {
  const absl::Duration interval = options_.timeout / 3;
  SessionId session;
  {
    MutexLock lock(&mu_);
    session = session_;
  }
  const auto hold = channel_->HoldSession(session, [this] { Expired(); });
  while (!WaitOrStop(interval)) {
    const MonotonicTime asked = clock_->MonotonicNow();
    const absl::Status status = channel_->Heartbeat(session, interval);
    MutexLock lock(&mu_);
    if (expired_ || ReasonOf(status) == Reason::kSessionExpired) {
      log::Warning("the session has expired; registering again", {{"node", identity_->node()}});
      return true;
    }
    if (status.ok()) heard_ = asked;
  }
  return false;
}

void NodeSession::Expired() {
  {
    MutexLock lock(&mu_);
    expired_ = true;
  }
  wake_.NotifyAll();
}

bool NodeSession::PauseOrStop(absl::Duration delay) {
  return Sleep(delay, /*session_ends_it=*/false);
}

bool NodeSession::WaitOrStop(absl::Duration delay) {
  return Sleep(delay, /*session_ends_it=*/true);
}

bool NodeSession::Sleep(absl::Duration delay, bool session_ends_it) {
  MutexLock lock(&mu_);
  const MonotonicTime until = Clock::Real()->MonotonicNow() + delay;
  while (!stopping_) {
    const absl::Duration left = until - Clock::Real()->MonotonicNow();
    if (left <= absl::ZeroDuration() || (session_ends_it && expired_)) return false;
    wake_.WaitFor(&mu_, left);
  }
  return true;
}

}  // namespace falaj::storage
