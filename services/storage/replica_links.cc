#include "services/storage/replica_links.h"

#include <algorithm>
#include <utility>

#include "libs/base/log.h"
#include "libs/base/status.h"

namespace falaj::storage {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(50);  // While there is something to do.
constexpr absl::Duration kIdleTick = absl::Milliseconds(250);
constexpr absl::Duration kCheckInterval = absl::Milliseconds(500);
constexpr absl::Duration kProposalPause = absl::Milliseconds(20);  // Others of the moment join.
constexpr absl::Duration kProposalPauseIdle = absl::Seconds(10);
constexpr absl::Duration kProposalPatience = absl::Seconds(5);
constexpr size_t kChangesPerCommandMax = 1'000;

// True if the partition is as it was, and the change will not be made.
bool IsRefusal(Reason reason) {
  return reason == Reason::kIneligibleReplica || reason == Reason::kInvalidRequest;
}

}  // namespace

void ReplicaLinks::Start(const Parts& parts) {
  parts_ = parts;
  {
    MutexLock lock(&mu_);
    stopped_ = false;
    ticker_.emplace(kTick, kIdleTick, [this] { Tick(); });
    proposer_.emplace(kProposalPause, kProposalPauseIdle, [this] {
      SendProposals();
      SendDamages();
    });
  }
  parts_.streams->set_on_marks([this] { NudgeTicker(); });
}

// No lock: links and streams, whose threads call this, begin after the ticker and end before it.
void ReplicaLinks::NudgeTicker() { ticker_->Nudge(); }

void ReplicaLinks::NudgeProposer() {
  if (proposer_.has_value()) proposer_->Nudge();
}

void ReplicaLinks::SetNodeEpoch(NodeEpoch epoch) {
  {
    MutexLock lock(&mu_);
    if (node_epoch_ == epoch) return;
    node_epoch_ = epoch;
  }
  for (const LinkPtr& link : Links()) link->Break();
  parts_.shard->ReattachDetached();
}

void ReplicaLinks::Stop() {
  {
    MutexLock lock(&mu_);
    if (std::exchange(stopped_, true)) return;
  }
  parts_.streams->set_on_marks(nullptr);
  proposer_->Stop();
  ticker_->Stop();
  for (const LinkPtr& link : Links()) link->Close();
  std::vector<LinkPtr> retired;  // Closed after the lock: declared before it.
  MutexLock lock(&mu_);
  retired.swap(retired_);
}

std::vector<ReplicaLinks::LinkPtr> ReplicaLinks::Links() {
  MutexLock lock(&mu_);
  std::vector<LinkPtr> links;
  for (const auto& [source, link] : links_) links.push_back(link);
  return links;
}

ReplicaLinks::LinkPtr ReplicaLinks::FindLink(const Source& source) {
  MutexLock lock(&mu_);
  const auto it = links_.find(source);
  return it == links_.end() ? nullptr : it->second;
}

ReplicaLinks::LinkPtr ReplicaLinks::LinkTo(const Source& source, replica::IsrMember* self) {
  const cluster::ClusterView::Ptr view = parts_.assignments->view();
  const cluster::NodeInfo* const node = view->FindNode(source.leader);
  MutexLock lock(&mu_);
  if (stopped_ || node == nullptr || node_epoch_ == NodeEpoch{0}) return nullptr;
  *self = {self_, node_epoch_};
  LinkPtr& link = links_[source];
  if (link != nullptr && link->address() != node->address) {
    retired_.push_back(std::move(link));
    NudgeTicker();
  }
  if (link == nullptr) {
    link = std::make_shared<ReplicaLink>(
        source, node->address, parts_.shard, [this] { NudgeTicker(); }, parts_.metrics);
  }
  return link;
}

bool ReplicaLinks::Attach(const log::PartitionKey& key, const Source& source,
                          const replica::AttachRequest& request) {
  replica::IsrMember self;
  const LinkPtr link = LinkTo(source, &self);
  return link != nullptr && link->Attach(self, key, request);
}

void ReplicaLinks::Acknowledge(const log::PartitionKey& key, const Source& source,
                               const replica::FollowerAck& ack) {
  if (const LinkPtr link = FindLink(source)) link->Acknowledge(key, ack);
}

void ReplicaLinks::Consumed(const Source& source, int64_t bytes) {
  if (const LinkPtr link = FindLink(source)) link->Consumed(bytes);
}

void ReplicaLinks::Flush() {
  for (const LinkPtr& link : Links()) link->Flush();
}

void ReplicaLinks::Propose(const log::PartitionKey& key, const replica::IsrProposal& proposal) {
  MutexLock lock(&mu_);
  proposals_.emplace_back(key, proposal);
  NudgeProposer();
}

void ReplicaLinks::ReportDamage(const log::PartitionKey& key, const DamageReport& report) {
  MutexLock lock(&mu_);
  damages_.emplace_back(key, report);
  NudgeProposer();
}

void ReplicaLinks::Tick() {
  std::vector<LinkPtr> retired;
  {
    MutexLock lock(&mu_);
    retired.swap(retired_);
  }
  for (const LinkPtr& link : retired) {
    link->Close();  // It waits for gRPC, which whoever works the shard off must not.
    parts_.shard->ReattachTo(link->source().leader);
  }
  for (const LinkPtr& link : Links()) {
    if (link->Tick()) NudgeTicker();
  }
  parts_.streams->SendMarks();
  const MonotonicTime now = Clock::Real()->MonotonicNow();
  if (now - checked_ < kCheckInterval) return;
  checked_ = now;
  parts_.shard->CheckIsrs();
  parts_.shard->ExpireHeld();
}

void ReplicaLinks::SendProposals() {
  Proposals proposals;
  internal::v1::ClusterCommand command;
  {
    MutexLock lock(&mu_);
    if (proposals_.empty()) return;
    const size_t count = std::min(proposals_.size(), kChangesPerCommandMax);
    const auto end = proposals_.begin() + static_cast<std::ptrdiff_t>(count);
    proposals.assign(proposals_.begin(), end);
    proposals_.erase(proposals_.begin(), end);
    if (!proposals_.empty()) NudgeProposer();
    command.mutable_alter_isr()->set_node_epoch(node_epoch_.value());
  }
  command.mutable_alter_isr()->set_node_id(self_.value());
  for (const auto& [key, proposal] : proposals) {
    internal::v1::IsrChange& change = *command.mutable_alter_isr()->add_changes();
    change.set_topic_id(std::string(key.topic.bytes()));
    change.set_partition(key.partition.value());
    change.set_leader_epoch(proposal.epoch.value());
    change.set_partition_epoch(proposal.partition_epoch.value());
    for (const replica::IsrMember& member : proposal.isr) {
      internal::v1::IsrMember& out = *change.add_isr();
      out.set_node_id(member.node.value());
      out.set_node_epoch(member.node_epoch.value());
    }
  }
  AnswerProposals(proposals, parts_.channel->Execute(command, kProposalPatience));
}

void ReplicaLinks::SendDamages() {
  Damages damages;
  NodeEpoch node_epoch;
  {
    MutexLock lock(&mu_);
    if (damages_.empty()) return;
    damages.swap(damages_);
    node_epoch = node_epoch_;
  }
  internal::v1::ClusterCommand command;
  internal::v1::ReportDamageCommand& report = *command.mutable_report_damage();
  report.set_node_epoch(node_epoch.value());
  // The rest is reported again.
  damages.resize(std::min(damages.size(), kChangesPerCommandMax));
  report.set_node_id(self_.value());
  for (const auto& [key, known] : damages) {
    internal::v1::DamagedReplica& damaged = *report.add_replicas();
    damaged.set_topic_id(std::string(key.topic.bytes()));
    damaged.set_partition(key.partition.value());
    damaged.set_leader_epoch(known.epoch.value());
    damaged.set_partition_epoch(known.partition_epoch.value());
  }
  const auto response = parts_.channel->Execute(command, kProposalPatience);
  if (!response.ok()) {
    log::Warning(
        "cannot report damaged partitions; will try again",
        {{"partitions", static_cast<int64_t>(damages.size())}, {"error", response.status()}});
    return;
  }
  for (size_t i = 0; i < damages.size(); ++i) {
    if (static_cast<int>(i) >= response->damage_results_size()) return;
    const std::string& reason = response->damage_results(static_cast<int>(i)).error_reason();
    if (ReasonFromName(reason) != Reason::kNotEnoughReplicas) continue;
    log::Error("a damaged copy is the best there is; it stays",
               {{"topic_id", damages[i].first.topic.ToString()},
                {"partition", damages[i].first.partition}});
  }
}

void ReplicaLinks::AnswerProposals(const Proposals& proposals,
                                   const absl::StatusOr<internal::v1::ExecuteResponse>& response) {
  if (!response.ok()) {
    log::Warning(
        "cannot change in-sync replicas; will ask again",
        {{"partitions", static_cast<int64_t>(proposals.size())}, {"error", response.status()}});
  }
  for (size_t i = 0; i < proposals.size(); ++i) {
    const auto& [key, proposal] = proposals[i];
    replica::IsrAnswered answer{.epoch = proposal.epoch,
                                .partition_epoch = proposal.partition_epoch,
                                .outcome = replica::IsrAnswered::Outcome::kUnknown};
    if (response.ok() && static_cast<int>(i) < response->isr_results_size()) {
      const std::string& reason = response->isr_results(static_cast<int>(i)).error_reason();
      // Done, or changed by others meanwhile: the watch tells.
      if (reason.empty() || !IsRefusal(ReasonFromName(reason))) continue;
      answer.outcome = replica::IsrAnswered::Outcome::kRefused;
    }
    parts_.shard->IsrAnswered(key, answer);
  }
}

}  // namespace falaj::storage
