#include "libs/rpc/metadata_channel.h"

#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/rpc/metadata_nodes.h"
#include "libs/rpc/parked_reader.h"
#include "libs/rpc/retry.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::rpc {
namespace {

namespace pb = ::falaj::internal::v1;
using Stub = pb::MetadataService::Stub;
using Call = std::function<grpc::Status(Stub*, grpc::ClientContext*)>;

gpr_timespec After(absl::Duration duration) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(duration), GPR_TIMESPAN));
}

MonotonicTime Now() { return Clock::Real()->MonotonicNow(); }

bool IsRepeatable(const pb::ClusterCommand& command) {
  return command.command_case() != pb::ClusterCommand::kDeleteTopic &&
         command.command_case() != pb::ClusterCommand::kAddPartitions;
}

// False if there is no connection in time or, unless we are to be `patient` because there is nobody
// else to ask, as soon as an attempt has failed.
bool Connect(grpc::Channel* channel, absl::Duration limit, bool patient) {
  if (patient) return channel->WaitForConnected(After(limit));
  const auto deadline = After(limit);
  while (true) {
    const grpc_connectivity_state state = channel->GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN) return false;
    if (!channel->WaitForStateChange(state, deadline)) return false;
  }
}

}  // namespace

// What the channel and its watches share.
class MetadataChannel::Nodes {
 public:
  explicit Nodes(Options options)
      : options_(std::move(options)), nodes_(options_.addresses, 0, options_.metrics) {}

  MetadataNodes::Node Current() { return nodes_.Current(); }
  void MoveOn(const std::string& failed, const std::string& leader) {
    nodes_.MoveOn(failed, leader);
  }
  Backoff MakeBackoff() const {
    return Backoff({.base = options_.backoff_base, .max = options_.backoff_max},
                   Random::FromSystem());
  }

  absl::Duration pause_max() const { return options_.backoff_max; }

  absl::Status CallLeader(absl::Duration deadline, bool repeatable, const Call& call);

 private:
  absl::Status Attempt(const MetadataNodes::Node& node, absl::Duration limit, const Call& call,
                       Outcome* outcome);

  const Options options_;
  MetadataNodes nodes_;
};

absl::Status MetadataChannel::Nodes::Attempt(const MetadataNodes::Node& node, absl::Duration limit,
                                             const Call& call, Outcome* outcome) {
  // Connect first: what fails before there is a connection had no effect for certain.
  const bool alone = nodes_.size() == 1;
  if (!Connect(node.channel.get(), alone ? limit : std::min(limit, absl::Seconds(1)), alone)) {
    *outcome = Outcome::kNoEffect;
    return MakeError(Reason::kMetadataUnavailable,
                     absl::StrCat("cannot connect to metadata node ", node.address),
                     {{"address", node.address}});
  }
  grpc::ClientContext context;
  context.set_deadline(After(limit));
  const grpc::Status wire = call(pb::MetadataService::NewStub(node.channel).get(), &context);
  if (wire.ok()) {
    *outcome = Outcome::kFinal;
    return absl::OkStatus();
  }
  const absl::Status status = FromGrpc(wire);
  *outcome = JudgeOutcome(wire, status);
  if (!wire.error_details().empty()) return status;
  if (*outcome == Outcome::kFinal) return status;
  return MakeError(Reason::kMetadataUnavailable,
                   absl::StrCat("metadata node ", node.address, ": ", wire.error_message()),
                   {{"address", node.address}});
}

absl::Status MetadataChannel::Nodes::CallLeader(absl::Duration deadline, bool repeatable,
                                                const Call& call) {
  const MonotonicTime end = Now() + deadline;
  Backoff backoff = MakeBackoff();
  absl::Status last = MakeError(Reason::kTimedOut, "the deadline passed before the first attempt");
  while (true) {
    const absl::Duration left = end - Now();
    if (left <= absl::ZeroDuration()) return last;
    const MetadataNodes::Node node = nodes_.Current();
    Outcome outcome = Outcome::kUnknown;
    last = Attempt(node, std::min(left, options_.attempt_timeout), call, &outcome);
    if (outcome == Outcome::kFinal) return last;
    if (outcome == Outcome::kUnknown && !repeatable) return last;
    const std::string leader = LeaderHint(last);
    nodes_.MoveOn(node.address, leader);
    if (!leader.empty() && leader != node.address) continue;
    Mutex mu;
    CondVar never;
    MutexLock lock(&mu);
    never.WaitFor(&mu, std::min(backoff.Next(), end - Now()));
  }
}

// Opens one stream after the other, for ever, on a thread of its own.
class MetadataChannel::StreamThread {
 public:
  struct Stream {
    // Reads one stream until it ends and returns why it did. `received` says whether anything came.
    std::function<absl::Status(const MetadataNodes::Node& node, grpc::ClientContext* context,
                               bool* received)>
        read;
    // Told why a stream has ended, before the pause that follows. False: no further one.
    std::function<bool(const absl::Status& why)> ended;
  };

  StreamThread(std::shared_ptr<Nodes> nodes, Stream stream)
      : nodes_(std::move(nodes)), stream_(std::move(stream)), thread_([this] { Run(); }) {}

  ~StreamThread() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      if (context_ != nullptr) context_->TryCancel();
    }
    wake_.NotifyAll();
    thread_.join();
  }

 private:
  void Run() {
    Backoff backoff = nodes_->MakeBackoff();
    while (true) {
      const MetadataNodes::Node node = nodes_->Current();
      grpc::ClientContext context;
      if (!Announce(&context)) return;
      bool received = false;
      const MonotonicTime opened = Now();
      const absl::Status why = stream_.read(node, &context, &received);
      if (received) backoff.Reset();
      if (!Announce(nullptr) || !stream_.ended(why)) return;
      // A connection that worked and broke says nothing against its node: that one is asked first,
      // and at once, for a session is in doubt until it is held again.
      const bool worked = received && Now() - opened >= nodes_->pause_max();
      if (worked && LeaderHint(why).empty()) continue;
      if (!Pause(backoff.Next())) return;
      if (ReasonOf(why) != Reason::kWatchCompacted) nodes_->MoveOn(node.address, LeaderHint(why));
    }
  }

  // False: the stream is being destroyed.
  bool Announce(grpc::ClientContext* context) {
    MutexLock lock(&mu_);
    context_ = context;
    return !stopping_;
  }

  bool Pause(absl::Duration delay) {
    MutexLock lock(&mu_);
    const MonotonicTime end = Now() + delay;
    while (!stopping_ && Now() < end) wake_.WaitFor(&mu_, end - Now());
    return !stopping_;
  }

  const std::shared_ptr<Nodes> nodes_;
  const Stream stream_;

  Mutex mu_;
  CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;  // Of the stream that is open.
  std::thread thread_;                                           // Last.
};

class MetadataChannel::WatchStreams final : public MetadataChannel::Watch {
 public:
  WatchStreams(std::shared_ptr<Nodes> nodes, const Uuid& cluster_id, WatchCallback callback)
      : callback_(std::move(callback)),
        cluster_id_(cluster_id),
        thread_(std::move(nodes),
                {.read = [this](const auto& node, grpc::ClientContext* context,
                                bool* received) { return Read(node, context, received); },
                 .ended = [this](const absl::Status& why) { return Ended(why); }}) {}

  bool connected() const override {
    MutexLock lock(&mu_);
    return connected_;
  }
  MonotonicTime last_message() const override {
    MutexLock lock(&mu_);
    return last_message_;
  }
  absl::Status last_error() const override {
    MutexLock lock(&mu_);
    return last_error_;
  }

 private:
  absl::Status Read(const MetadataNodes::Node& node, grpc::ClientContext* context, bool* received) {
    pb::WatchClusterRequest request;
    request.set_after_index(after_index_);
    request.set_recoveries(recoveries_);
    if (!cluster_id_.is_nil()) request.set_cluster_id(std::string(cluster_id_.bytes()));
    const auto stub = pb::MetadataService::NewStub(node.channel);
    ParkedReader<pb::WatchClusterResponse> reader;
    stub->async()->WatchCluster(context, &request, &reader);
    reader.Begin();
    pb::WatchClusterResponse message;
    absl::Status refused;
    while (refused.ok() && reader.Read(&message)) {
      *received = true;
      refused = Deliver(message);
    }
    if (!refused.ok()) context->TryCancel();
    const grpc::Status wire = reader.Finish();
    return refused.ok() ? FromGrpc(wire) : refused;
  }

  absl::Status Deliver(const pb::WatchClusterResponse& message) {
    if (message.has_snapshot() && cluster_id_.is_nil()) {
      const absl::StatusOr<Uuid> id = Uuid::FromBytes(message.snapshot().cluster_id());
      if (id.ok()) cluster_id_ = *id;
    }
    {
      MutexLock lock(&mu_);
      last_message_ = Now();  // Before the callback, which may ask how old it is.
    }
    absl::Status status = callback_(message);
    after_index_ = status.ok() ? message.index() : 0;
    if (message.has_snapshot()) recoveries_ = message.snapshot().recoveries();
    if (message.delta().recoveries() != 0) recoveries_ = message.delta().recoveries();
    MutexLock lock(&mu_);
    connected_ = status.ok();
    if (status.ok()) last_error_ = absl::OkStatus();
    return status;
  }

  bool Ended(const absl::Status& why) {
    if (ReasonOf(why) == Reason::kWatchCompacted) after_index_ = 0;
    MutexLock lock(&mu_);
    if (connected_ || last_error_.ok()) {
      log::Warning("the watch on the metadata service ended, trying again", {{"error", why}});
    }
    connected_ = false;
    last_error_ = why.ok() ? MakeError(Reason::kMetadataUnavailable, "the stream ended") : why;
    return true;
  }

  const WatchCallback callback_;

  // Of the thread.
  Uuid cluster_id_;
  uint64_t after_index_ = 0;
  uint64_t recoveries_ = 0;  // Of the quorum, as of after_index_.

  mutable Mutex mu_;
  bool connected_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);
  MonotonicTime last_message_ ABSL_GUARDED_BY(mu_);
  StreamThread thread_;  // Last.
};

class MetadataChannel::HoldStreams final : public MetadataChannel::Hold {
 public:
  HoldStreams(std::shared_ptr<Nodes> nodes, SessionId session, std::function<void()> on_expired)
      : session_(session),
        on_expired_(std::move(on_expired)),
        thread_(std::move(nodes),
                {.read = [this](const auto& node, grpc::ClientContext* context,
                                bool* received) { return Read(node, context, received); },
                 .ended = [this](const absl::Status& why) { return Ended(why); }}) {}

 private:
  absl::Status Read(const MetadataNodes::Node& node, grpc::ClientContext* context,
                    bool* received) const {
    pb::HoldSessionRequest request;
    request.set_session_id(session_.value());
    const auto stub = pb::MetadataService::NewStub(node.channel);
    ParkedReader<pb::HoldSessionResponse> reader;
    stub->async()->HoldSession(context, &request, &reader);
    reader.Begin();
    pb::HoldSessionResponse held;
    while (reader.Read(&held)) *received = true;
    return FromGrpc(reader.Finish());
  }

  bool Ended(const absl::Status& why) const {
    if (ReasonOf(why) != Reason::kSessionExpired) return true;
    on_expired_();
    return false;
  }

  const SessionId session_;
  const std::function<void()> on_expired_;
  StreamThread thread_;  // Last.
};

MetadataChannel::MetadataChannel(Options options)
    : nodes_(std::make_shared<Nodes>(std::move(options))) {}

MetadataChannel::~MetadataChannel() = default;

absl::StatusOr<pb::ExecuteResponse> MetadataChannel::Execute(const pb::ClusterCommand& command,
                                                             absl::Duration deadline) {
  pb::ExecuteRequest request;
  *request.mutable_command() = command;
  pb::ExecuteResponse response;
  FALAJ_RETURN_IF_ERROR(nodes_->CallLeader(deadline, IsRepeatable(command),
                                           [&](Stub* stub, grpc::ClientContext* context) {
                                             return stub->Execute(context, request, &response);
                                           }));
  return response;
}

absl::Status MetadataChannel::Heartbeat(SessionId session, absl::Duration deadline) {
  pb::HeartbeatRequest request;
  request.set_session_id(session.value());
  pb::HeartbeatResponse response;
  return nodes_->CallLeader(deadline, true, [&](Stub* stub, grpc::ClientContext* context) {
    return stub->Heartbeat(context, request, &response);
  });
}

absl::StatusOr<LogIndex> MetadataChannel::GetNewestChange(absl::Duration deadline) {
  pb::GetNewestChangeResponse response;
  FALAJ_RETURN_IF_ERROR(
      nodes_->CallLeader(deadline, true, [&](Stub* stub, grpc::ClientContext* context) {
        return stub->GetNewestChange(context, pb::GetNewestChangeRequest(), &response);
      }));
  return LogIndex(response.index());
}

absl::StatusOr<pb::GetStatusResponse> MetadataChannel::GetStatus(absl::Duration deadline) {
  pb::GetStatusResponse response;
  FALAJ_RETURN_IF_ERROR(
      nodes_->CallLeader(deadline, true, [&](Stub* stub, grpc::ClientContext* context) {
        return stub->GetStatus(context, pb::GetStatusRequest(), &response);
      }));
  return response;
}

std::unique_ptr<MetadataChannel::Watch> MetadataChannel::WatchCluster(const Uuid& cluster_id,
                                                                      WatchCallback callback) {
  return std::make_unique<WatchStreams>(nodes_, cluster_id, std::move(callback));
}

std::unique_ptr<MetadataChannel::Hold> MetadataChannel::HoldSession(
    SessionId session, std::function<void()> on_expired) {
  return std::make_unique<HoldStreams>(nodes_, session, std::move(on_expired));
}

}  // namespace falaj::rpc
