#include "tests/simulation/nemesis.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace falaj::simulation {

Nemesis::Nemesis(Cluster* cluster, uint64_t seed, Weather weather)
    : cluster_(cluster), random_(seed), weather_(weather) {
  cluster_->invariants().set_on_vote([this](NodeId voter) { OnVote(voter); });
  const std::vector<Fault> all = {&Nemesis::BadWeather,
                                  &Nemesis::SlowNetwork,
                                  &Nemesis::OneWayCuts,
                                  &Nemesis::Partition,
                                  &Nemesis::CutLeader,
                                  &Nemesis::SwizzleClog,
                                  &Nemesis::KillSome,
                                  &Nemesis::KillLeader,
                                  &Nemesis::BounceVoters,
                                  &Nemesis::PowerLoss,
                                  &Nemesis::PauseSome,
                                  &Nemesis::PauseLeader,
                                  &Nemesis::SlowDisk,
                                  &Nemesis::FailDisk,
                                  &Nemesis::FillDisk,
                                  &Nemesis::ChangeMembers,
                                  &Nemesis::TransferLead,
                                  &Nemesis::LoseDisk,
                                  &Nemesis::BreakSomeConnections};
  while (faults_.empty()) {
    for (Fault fault : all) {
      if (Chance(50)) faults_.push_back(fault);
    }
    if (weather_ == Weather::kOwn) continue;
    std::erase_if(faults_, [](Fault fault) {
      return fault == &Nemesis::BadWeather || fault == &Nemesis::SlowNetwork;
    });
  }
}

void Nemesis::After(SimTime delay, EventQueue::Action action) {
  cluster_->queue().After(delay, EventKind::kFault, [this, action = std::move(action)]() mutable {
    if (!stopped_) action();
  });
}

void Nemesis::NextPeriod() {
  After(Span(200 * kMillisecond, 2500 * kMillisecond), [this] { NextPeriod(); });
  if (Chance(25)) return Calm();
  if (Chance(30)) cluster_->network().Heal();
  for (uint64_t i = 1 + random_.Below(3); i > 0; --i) BreakSomething();
}

void Nemesis::BreakSomething() { (this->*faults_[random_.Below(faults_.size())])(); }

void Nemesis::Calm() {
  (*cluster_->world().trace)("calm");
  cluster_->network().Heal();
  cluster_->network().weather() = {};
  for (const auto& [id, node] : cluster_->nodes()) {
    node->disk_weather() = {};
    Resume(node.get());
    if (node->storage_failed()) node->Kill();
    Revive(node.get());
  }
}

void Nemesis::HealAll() {
  stopped_ = true;
  Calm();
}

void Nemesis::HealCore() {
  stopped_ = true;
  std::set<NodeId> broken;
  std::vector<NodeId> voters = cluster_->invariants().membership().voters;
  while (!voters.empty()) {
    const auto at = voters.begin() + static_cast<std::ptrdiff_t>(random_.Below(voters.size()));
    broken.insert(*at);
    if (!cluster_->CanSpare(broken)) broken.erase(*at);
    voters.erase(at);
  }
  (*cluster_->world().trace)("healed without voters [", absl::StrJoin(broken, ", "), "]");
  if (!broken.empty()) cluster_->findings().Reach(Mark::kMinorityLeftBroken);
  SimNetwork& network = cluster_->network();
  network.Heal();
  network.weather() = {};
  for (const auto& [id, node] : cluster_->nodes()) {
    if (broken.contains(id)) {
      if (Chance(30)) node->Kill();
      if (Chance(30)) node->Pause();
      for (const auto& [other, unused] : cluster_->nodes()) {
        network.Block(id.value(), other.value(), Chance(70));
        network.Block(other.value(), id.value(), Chance(70));
      }
      continue;
    }
    node->disk_weather() = {};
    Resume(node.get());
    if (node->storage_failed()) node->Kill();
    Revive(node.get());
  }
}

SimNode* Nemesis::AnyRunning() {
  std::vector<SimNode*> running;
  for (const auto& [id, node] : cluster_->nodes()) {
    if (node->running()) running.push_back(node.get());
  }
  return running.empty() ? nullptr : running[random_.Below(running.size())];
}

void Nemesis::Revive(SimNode* node) {
  if (!node->running() && !cluster_->is_wiped(node->id())) node->Start();
}

void Nemesis::KillAndRestart(SimNode* node, SimTime down_min, SimTime down_max) {
  node->Kill();
  // Mostly the others' systems tell them; a machine that vanishes nobody tells of.
  if (Chance(70)) BreakConnections(node->id());
  if (Chance(10)) return;  // Until it is calm.
  After(Span(down_min, down_max), [this, node] { Revive(node); });
}

void Nemesis::Resume(SimNode* node) {
  if (!node->paused()) return;
  const raft::RaftCore& core = node->node().core();
  if (core.is_leader() && core.term() < cluster_->invariants().leader_term()) {
    cluster_->findings().Reach(Mark::kPausedLeaderReplaced);
  }
  (*cluster_->world().trace)("node ", node->id(), " goes on");
  node->Resume();
}

void Nemesis::PauseFor(SimNode* node, SimTime span) {
  (*cluster_->world().trace)("node ", node->id(), " pauses for ", FormatTime(span));
  node->Pause();
  After(span, [this, node] { Resume(node); });
}

void Nemesis::BreakConnections(NodeId from) {
  for (const auto& [id, node] : cluster_->nodes()) {
    if (id == from) continue;
    After(Span(0, 2 * kMillisecond), [node = node.get(), from] { node->BreakPeer(from); });
  }
}

// Of nodes that are alive.
void Nemesis::BreakSomeConnections() {
  for (const auto& [id, unused] : cluster_->nodes()) {
    if (Chance(40)) BreakConnections(id);
  }
}

void Nemesis::BadWeather() {
  NetworkWeather& weather = cluster_->network().weather();
  weather.loss = random_.Below(200);
  weather.duplication = random_.Below(100);
  weather.reordering = random_.Below(200);
}

void Nemesis::SlowNetwork() {
  NetworkWeather& weather = cluster_->network().weather();
  weather.latency_min = Span(100 * kMicrosecond, 20 * kMillisecond);
  weather.latency_mean = weather.latency_min + Span(100 * kMicrosecond, 60 * kMillisecond);
}

void Nemesis::OneWayCuts() {
  for (const auto& [from, unused] : cluster_->nodes()) {
    for (const auto& [to, unused_too] : cluster_->nodes()) {
      if (Chance(20)) cluster_->network().Block(from.value(), to.value(), true);
    }
  }
}

void Nemesis::Partition() {
  std::set<NodeId> side;
  for (const auto& [id, node] : cluster_->nodes()) {
    if (Chance(50)) side.insert(id);
  }
  for (const auto& [from, unused] : cluster_->nodes()) {
    for (const auto& [to, unused_too] : cluster_->nodes()) {
      if (side.contains(from) != side.contains(to)) {
        cluster_->network().Block(from.value(), to.value(), true);
      }
    }
  }
}

// In one direction, or both.
void Nemesis::CutLeader() {
  const SimNode* const leader = cluster_->Leader();
  if (leader == nullptr) return;
  const uint64_t how = random_.Below(3);
  (*cluster_->world().trace)("leader ", leader->id(), " is cut off, way ", how);
  for (const auto& [id, node] : cluster_->nodes()) {
    if (how != 0) cluster_->network().Block(leader->id().value(), id.value(), true);
    if (how != 1) cluster_->network().Block(id.value(), leader->id().value(), true);
  }
}

// Links clog one after the other, and open in another order (FoundationDB).
void Nemesis::SwizzleClog() {
  const SimTime now = cluster_->queue().now();
  for (const auto& [from, unused] : cluster_->nodes()) {
    if (Chance(50)) continue;
    After(Span(0, kSecond), [this, from = from, until = now + Span(0, 3 * kSecond)] {
      for (const auto& [to, unused_too] : cluster_->nodes()) {
        cluster_->network().Clog(from.value(), to.value(), until);
        cluster_->network().Clog(to.value(), from.value(), until);
      }
    });
  }
}

void Nemesis::KillSome() {
  for (const auto& [id, node] : cluster_->nodes()) {
    if (node->running() && Chance(40)) KillAndRestart(node.get(), kMillisecond, 2 * kSecond);
  }
}

void Nemesis::KillLeader() {
  SimNode* const leader = cluster_->Leader();
  if (leader != nullptr) KillAndRestart(leader, kMillisecond, 2 * kSecond);
}

// An election over a network so slow that several stand at once; and whoever has just voted dies,
// and may be asked again at once.
void Nemesis::BounceVoters() {
  if (weather_ == Weather::kOwn) {
    NetworkWeather& weather = cluster_->network().weather();
    weather.latency_min = Span(kMillisecond, 30 * kMillisecond);
    weather.latency_mean = weather.latency_min + Span(10 * kMillisecond, 80 * kMillisecond);
  }
  bounces_until_ = cluster_->queue().now() + kSecond;
  KillLeader();
}

void Nemesis::OnVote(NodeId voter) {
  if (stopped_ || cluster_->queue().now() >= bounces_until_ || Chance(30)) return;
  After(Span(0, 200 * kMicrosecond), [this, voter] {
    KillAndRestart(cluster_->node(voter), 10 * kMicrosecond, 3 * kMillisecond);
  });
}

void Nemesis::PowerLoss() {
  for (const auto& [id, node] : cluster_->nodes()) {
    if (node->running()) KillAndRestart(node.get(), kMillisecond, 300 * kMillisecond);
  }
}

void Nemesis::PauseSome() {
  for (const auto& [id, node] : cluster_->nodes()) {
    if (node->running() && Chance(40)) PauseFor(node.get(), Span(50 * kMillisecond, 3 * kSecond));
  }
}

void Nemesis::PauseLeader() {
  SimNode* const leader = cluster_->Leader();
  if (leader != nullptr) PauseFor(leader, Span(100 * kMillisecond, 2 * kSecond));
}

void Nemesis::SlowDisk() {
  SimNode* const node = AnyRunning();
  if (node == nullptr) return;
  node->disk_weather().sync_min = Span(kMillisecond, 20 * kMillisecond);
  node->disk_weather().sync_max = node->disk_weather().sync_min + Span(0, 200 * kMillisecond);
}

void Nemesis::FailDisk() {
  SimNode* const node = AnyRunning();
  if (node == nullptr) return;
  node->disk_weather().fails_next_sync = true;
  After(Span(100 * kMillisecond, 2 * kSecond),
        [this, node] { KillAndRestart(node, kMillisecond, kSecond); });
}

void Nemesis::FillDisk() {
  SimNode* const node = AnyRunning();
  if (node == nullptr) return;
  node->disk_weather().full = true;
  After(Span(100 * kMillisecond, 2 * kSecond), [this, node] {
    node->disk_weather().full = false;
    KillAndRestart(node, kMillisecond, kSecond);
  });
}

// Somebody asks the leader, who may be about to be one no longer.
void Nemesis::Change(raft::MembershipChange::Kind kind, NodeId target) {
  SimNode* const leader = cluster_->Leader();
  if (leader == nullptr) return;
  raft::MembershipChange change;
  change.kind = kind;
  change.node = target;
  if (kind == raft::MembershipChange::Kind::kAddLearner) change.address = AddressOf(target);
  leader->Give([this, change](metadata::MetadataNode* node) {
    if (stopped_) return;  // It was paused when it was asked, and the core that is well is chosen.
    const auto after = node->core().membership().With(change);
    if (!after.ok() || !cluster_->CanSpare({*after}, {})) return;
    (*cluster_->world().trace)("member ", change.node, ", change ", static_cast<int>(change.kind));
    node->ChangeMembership(change, [](const auto&) {});
  });
}

void Nemesis::AddThenPromote(NodeId node) {
  Change(raft::MembershipChange::Kind::kAddLearner, node);
  for (int i = 0; i < 3; ++i) {
    After(Span(100 * kMillisecond, 2 * kSecond), [this, node] {
      const raft::Membership& members = cluster_->invariants().membership();
      if (members.IsLearner(node)) Change(raft::MembershipChange::Kind::kPromote, node);
    });
  }
}

void Nemesis::ChangeMembers() {
  using Kind = raft::MembershipChange::Kind;
  const raft::Membership& members = cluster_->invariants().membership();
  std::vector<NodeId> all = members.All();
  const NodeId any = all[random_.Below(all.size())];
  for (NodeId member : all) {
    if (cluster_->is_wiped(member)) return Change(Kind::kRemove, member);
  }
  if (!members.learners.empty() && Chance(60)) return Change(Kind::kPromote, members.learners[0]);
  if (members.voters.size() > 2 && Chance(60)) {
    const bool leader = Chance(40) && cluster_->Leader() != nullptr;
    return Change(Kind::kRemove, leader ? cluster_->Leader()->id() : any);
  }
  const SimNode* const added = members.voters.size() < 6 ? cluster_->AddNode() : nullptr;
  if (added != nullptr) AddThenPromote(added->id());
}

void Nemesis::TransferLead() {
  SimNode* const leader = cluster_->Leader();
  const std::vector<NodeId>& voters = cluster_->invariants().membership().voters;
  const NodeId target = voters[random_.Below(voters.size())];
  if (leader == nullptr) return;
  leader->Give([this, target](metadata::MetadataNode* node) {
    node->Transfer(target, [this, target](const absl::Status& status) {
      if (status.ok() && cluster_->invariants().leader() == target) {
        cluster_->findings().Reach(Mark::kTransferred);
      }
    });
  });
}

// For good: a new machine takes the place, under a new id, as a learner that is promoted later.
void Nemesis::LoseDisk() {
  const std::vector<NodeId>& voters = cluster_->invariants().membership().voters;
  const NodeId victim = voters[random_.Below(voters.size())];
  if (cluster_->is_wiped(victim) || !cluster_->CanSpare({victim})) return;
  cluster_->Wipe(victim);
  if (cluster_->lost_disks_return()) {
    After(Span(kMillisecond, kSecond), [this, victim] { cluster_->ReturnEmpty(victim); });
  }
  const SimNode* const added = cluster_->AddNode();
  if (added == nullptr) return;
  After(Span(kMillisecond, kSecond / 2), [this, added] { AddThenPromote(added->id()); });
}

}  // namespace falaj::simulation
