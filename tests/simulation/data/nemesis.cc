#include "tests/simulation/data/nemesis.h"

#include <algorithm>
#include <utility>

#include "libs/base/status.h"
#include "libs/cluster/election.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/storage_node.h"
#include "tests/simulation/data/storage_process.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kDownMax = 900 * kMillisecond;
constexpr SimTime kPauseMax = 900 * kMillisecond;
constexpr SimTime kTryAgain = 25 * kMillisecond;
constexpr int kTries = 80;

}  // namespace

Nemesis::Nemesis(World* world, uint64_t seed) : world_(world), random_(seed) {
  const std::vector<Fault> all = {
      &Nemesis::BadWeather, &Nemesis::SlowNetwork,     &Nemesis::OneWayCuts,
      &Nemesis::CutPair,    &Nemesis::CutFromMetadata, &Nemesis::IsolateSome,
      &Nemesis::Clog,       &Nemesis::KillSome,        &Nemesis::KillLeader,
      &Nemesis::PowerLoss,  &Nemesis::PauseSome,       &Nemesis::PauseLeader,
      &Nemesis::SlowDisk,   &Nemesis::FillDisk,        &Nemesis::StopSome,
      &Nemesis::MoveLead,   &Nemesis::EndSession,      &Nemesis::DisturbMetadata,
      &Nemesis::LoseDisk,   &Nemesis::TakeDiskBack,    &Nemesis::FlipBits,
      &Nemesis::TrimLog,    &Nemesis::Bounce,          &Nemesis::LeadThereAndBack};
  while (faults_.empty()) {
    for (const Fault fault : all) {
      if (Chance(40)) faults_.push_back(fault);
    }
  }
  if (world->laws.unclean) faults_.insert(faults_.end(), 3, &Nemesis::LoseWhoHoldsAll);
  if (world->laws.quorum) faults_.insert(faults_.end(), 4, &Nemesis::DisturbMetadata);
  if (world->laws.moving) {
    faults_.insert(faults_.end(), 3, &Nemesis::MoveReplicas);
    faults_.push_back(&Nemesis::ChangeMinimum);
  }
}

void Nemesis::After(SimTime delay, std::function<void()> action) {
  world_->queue->After(delay, EventKind::kFault, [this, action = std::move(action)] {
    if (!stopped_) action();
  });
}

void Nemesis::NextPeriod() {
  After(Span(100 * kMillisecond, 800 * kMillisecond), [this] { NextPeriod(); });
  if (playing_ || damaged_ != NodeId{0}) return;
  if (Chance(25)) return Calm();
  if (Chance(30)) world_->network->Heal();
  for (uint64_t i = 1 + random_.Below(3); i > 0 && damaged_ == NodeId{0}; --i) {
    (this->*faults_[random_.Below(faults_.size())])();
  }
}

void Nemesis::Calm() {
  (*world_->trace)("calm");
  world_->network->Heal();
  world_->network->weather() = {};
  for (const auto& [id, node] : world_->nodes) {
    node->disk_weather() = {};
    node->store().set_full(false);
    node->Resume();
    Revive(node.get());
  }
  world_->metadata->Calm();
}

void Nemesis::HealAllBut(NodeId absent) {
  absent_ = absent;
  if (absent != NodeId{0}) {
    StorageNode* const node = world_->nodes.at(absent).get();
    node->Resume();
    if (node->running()) Kill(node, /*power_loss=*/true);
  }
  Calm();
  world_->metadata->Heal(/*all=*/absent == NodeId{0});
  if (!std::exchange(stopped_, true)) KeepRunning();
}

// Some are on their way down, or wait for a repair.
void Nemesis::KeepRunning() {
  for (const auto& [id, node] : world_->nodes) Revive(node.get());
  world_->queue->After(kTryAgain, EventKind::kFault, [this] { KeepRunning(); });
}

// ---- Whom ----

StorageNode* Nemesis::AnyNode() {
  auto it = world_->nodes.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(random_.Below(world_->nodes.size())));
  return it->second.get();
}

Endpoint Nemesis::AnyMetadata() {
  const std::vector<Endpoint> all = world_->metadata->endpoints();
  return all.size() == 1 ? all.front() : all[random_.Below(all.size())];
}

StorageNode* Nemesis::AnyRunning() {
  StorageNode* const node = AnyNode();
  return node->running() ? node : nullptr;
}

StorageNode* Nemesis::AnyLeader() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  const int32_t leader = world_->metadata->partition(partition).leader();
  if (leader == 0) return nullptr;
  StorageNode* const node = world_->nodes.at(NodeId{leader}).get();
  return node->running() ? node : nullptr;
}

StorageNode* Nemesis::AnyFollower() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  const pb::PartitionState& state = world_->metadata->partition(partition);
  const int32_t one =
      state.replicas(static_cast<int>(random_.Below(static_cast<uint64_t>(state.replicas_size()))));
  if (one == state.leader()) return nullptr;
  StorageNode* const node = world_->nodes.at(NodeId{one}).get();
  return node->running() ? node : nullptr;
}

// ---- How ----

bool Nemesis::CanLoseDisk(const StorageNode& node) const {
  if (node.running() || world_->metadata->IsAlive(node.id())) return false;
  if (!world_->metadata->IsSettled(node.id())) return false;
  for (size_t i = 0; i < world_->partitions.size(); ++i) {
    const pb::PartitionState& state = world_->metadata->partition(static_cast<PartitionNumber>(i));
    if (state.leader() == node.id().value() || state.last_leader() == node.id().value()) {
      return false;
    }
  }
  return true;
}

void Nemesis::Revive(StorageNode* node) {
  if (!node->running() && node->id() != absent_) node->Start();
}

void Nemesis::Kill(StorageNode* node, bool power_loss) {
  node->Kill(power_loss && world_->laws.fsync);
}

void Nemesis::KillAndRestart(StorageNode* node, bool power_loss) {
  Kill(node, power_loss);
  if (Chance(10)) return;  // Until it is calm.
  const SimTime down = Chance(40) ? Span(1, 20 * kMillisecond) : Span(1, kDownMax);
  After(down, [this, node] { Revive(node); });
}

void Nemesis::PauseFor(StorageNode* node, SimTime span) {
  node->Pause();
  After(span, [this, node] {
    if (!node->paused()) return;
    for (const PartitionNumber partition : node->process()->shard().List()) {
      const replica::Replica& core = *node->process()->shard().Find(partition);
      if (core.role() == replica::Role::kLeader &&
          core.epoch().value() < world_->metadata->partition(partition).leader_epoch()) {
        world_->findings->Reach(Mark::kPausedLeaderReplaced);
      }
    }
    node->Resume();
  });
}

void Nemesis::Isolate(StorageNode* node, bool isolated) {
  for (const auto& [other, unused] : world_->nodes) {
    if (other == node->id()) continue;
    world_->network->Block(At(node->id()), At(other), isolated);
    world_->network->Block(At(other), At(node->id()), isolated);
  }
  for (const Endpoint metadata : world_->metadata->endpoints()) {
    world_->network->Block(At(node->id()), metadata, isolated);
    world_->network->Block(metadata, At(node->id()), isolated);
  }
}

void Nemesis::BreakDisk(StorageNode* node, std::function<void()> how, int tries_left) {
  if (!node->running() && CanLoseDisk(*node)) {
    how();
    node->OnDiskChanged();
    world_->invariants->OnDamaged(node->id());
    return After(Span(1, 300 * kMillisecond), [this, node] { Revive(node); });
  }
  if (tries_left == 0) return Revive(node);
  if (node->running()) {
    if (tries_left != kTries) return;  // Somebody has started it again.
    node->Kill(/*power_loss=*/false);
  }
  After(kTryAgain,
        [this, node, how = std::move(how), tries_left] { BreakDisk(node, how, tries_left - 1); });
}

// ---- The network ----

void Nemesis::BadWeather() {
  NetworkWeather& weather = world_->network->weather();
  weather.loss = random_.Below(30);
}

void Nemesis::SlowNetwork() {
  NetworkWeather& weather = world_->network->weather();
  weather.latency_mean = Span(kMillisecond, 40 * kMillisecond);
}

void Nemesis::OneWayCuts() {
  for (uint64_t i = 1 + random_.Below(3); i > 0; --i) {
    world_->network->Block(At(AnyNode()->id()), At(AnyNode()->id()), true);
  }
}

void Nemesis::CutPair() {
  const NodeId one = AnyNode()->id();
  const NodeId other = AnyNode()->id();
  world_->network->Block(At(one), At(other), true);
  world_->network->Block(At(other), At(one), true);
}

void Nemesis::CutFromMetadata() {
  StorageNode* const node = Chance(60) ? AnyLeader() : AnyRunning();
  if (node == nullptr) return;
  for (const Endpoint metadata : world_->metadata->endpoints()) {
    if (Chance(70)) world_->network->Block(At(node->id()), metadata, true);
    if (Chance(70)) world_->network->Block(metadata, At(node->id()), true);
  }
}

void Nemesis::IsolateSome() { Isolate(AnyNode(), true); }

void Nemesis::Clog() {
  for (uint64_t i = 1 + random_.Below(4); i > 0; --i) {
    const Endpoint from = Chance(20) ? AnyMetadata() : At(AnyNode()->id());
    world_->network->Clog(from, At(AnyNode()->id()),
                          world_->now() + Span(10 * kMillisecond, 900 * kMillisecond));
  }
}

// ---- Machines ----

void Nemesis::KillSome() {
  if (StorageNode* const node = AnyRunning()) KillAndRestart(node, Chance(50));
}

void Nemesis::KillLeader() {
  if (StorageNode* const node = AnyLeader()) KillAndRestart(node, Chance(50));
}

void Nemesis::PowerLoss() {
  for (const auto& [id, node] : world_->nodes) {
    if (node->running() && Chance(80)) KillAndRestart(node.get(), true);
  }
}

void Nemesis::PauseSome() {
  if (StorageNode* const node = AnyRunning()) PauseFor(node, Span(kMillisecond, kPauseMax));
}

void Nemesis::PauseLeader() {
  if (StorageNode* const node = AnyLeader()) PauseFor(node, Span(kMillisecond, kPauseMax));
}

void Nemesis::SlowDisk() {
  DiskWeather& disk = AnyNode()->disk_weather();
  disk.sync_max = Span(5 * kMillisecond, 150 * kMillisecond);
  disk.write_max = Span(kMillisecond, 30 * kMillisecond);
}

void Nemesis::FillDisk() {
  StorageNode* const node = AnyNode();
  if (Chance(50)) {
    node->store().set_full(true);
  } else {
    node->store().FillAtSync();
  }
  After(Span(20 * kMillisecond, 600 * kMillisecond), [node] { node->store().set_full(false); });
}

void Nemesis::StopSome() {
  StorageNode* const node = AnyRunning();
  if (node == nullptr) return;
  node->StopCleanly();
  After(Span(300 * kMillisecond, 900 * kMillisecond), [this, node] { Revive(node); });
}

// Two quick restarts, one behind the other.
void Nemesis::Bounce() {
  StorageNode* const node = AnyFollower();
  if (node == nullptr) return;
  Kill(node, Chance(50));
  After(Span(1, 40 * kMillisecond), [this, node] {
    Revive(node);
    if (StorageNode* const leader = AnyLeader()) KillAndRestart(leader, Chance(50));
  });
}

// ---- Metadata ----

void Nemesis::MoveLead() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  // Some moves run close behind each other: a leader that leads again.
  for (uint64_t i = 1 + random_.Below(4); i > 0; --i) {
    After(Span(1, 60 * kMillisecond), [this, partition] {
      const pb::PartitionState& state = world_->metadata->partition(partition);
      Elect(partition, NodeId{state.replicas(static_cast<int>(
                           random_.Below(static_cast<uint64_t>(state.replicas_size()))))});
    });
  }
}

void Nemesis::Elect(PartitionNumber partition, NodeId leader) {
  const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
  pb::ClusterCommand command;
  command.mutable_elect_leaders()->set_topic(name.topic);
  command.mutable_elect_leaders()->add_partitions(name.index.value());
  command.mutable_elect_leaders()->set_node_id(leader.value());
  world_->metadata->Order(command);
}

// A leader is led by another for a moment and then leads again, while a follower has heard of
// neither and what it said to the first reign is still on its way. The other has not got what the
// two of them have.
void Nemesis::LeadThereAndBack() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  const pb::PartitionState state = world_->metadata->partition(partition);
  if (state.isr_size() < 3) return;
  const NodeId leader{state.leader()};
  std::vector<NodeId> others;
  for (const int32_t one : state.isr()) {
    if (one != state.leader()) others.emplace_back(one);
  }
  if (Chance(50)) std::swap(others[0], others[1]);
  const SimTime there = Span(10 * kMillisecond, 60 * kMillisecond);
  const SimTime back = there + Span(20 * kMillisecond, 120 * kMillisecond);
  const SimTime heard = world_->now() + back + Span(10 * kMillisecond, 100 * kMillisecond);
  world_->network->Clog(At(others[0]), At(leader), heard);
  const SimTime deaf_until = heard + Span(1, 50 * kMillisecond);
  for (const Endpoint metadata : world_->metadata->endpoints()) {
    world_->network->Clog(metadata, At(others[0]), deaf_until);
  }
  world_->network->Clog(At(leader), At(others[1]), world_->now() + there);
  After(there, [this, partition, to = others[1]] { Elect(partition, to); });
  After(back, [this, partition, leader] { Elect(partition, leader); });
}

void Nemesis::ElectUncleanly(PartitionNumber partition) {
  const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
  pb::ClusterCommand command;
  pb::UncleanElection& election = *command.mutable_elect_uncleanly()->add_elections();
  election.set_topic_id(std::string(name.topic_id.bytes()));
  election.set_partition(name.index.value());
  election.set_partition_epoch(world_->metadata->partition(partition).partition_epoch());
  world_->metadata->Order(command);
}

// A leader goes on alone, so that nobody else has it all, and dies. The others do not wait for it.
void Nemesis::LoseWhoHoldsAll() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  const pb::PartitionState& state = world_->metadata->partition(partition);
  if (state.leader() == 0 || !world_->metadata->AllowsUncleanElections(partition)) return;
  StorageNode* const leader = world_->nodes.at(NodeId{state.leader()}).get();
  for (const auto& [other, unused] : world_->nodes) {
    world_->network->Block(At(other), At(leader->id()), other != leader->id());
  }
  const SimTime alone = 2 * world_->laws.replica_lag_max + Span(0, 300 * kMillisecond);
  const SimTime dead = alone + world_->laws.session_timeout + Span(0, 200 * kMillisecond);
  After(alone, [this, leader] {
    if (leader->running()) Kill(leader, Chance(50));
  });
  After(dead, [this, partition, leader] {
    ElectUncleanly(partition);
    world_->network->Heal();
    After(Span(1, kDownMax), [this, leader] { Revive(leader); });
  });
}

// Some targets replace the one before, or lead back, before they are reached.
void Nemesis::MoveReplicas() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  for (uint64_t i = 1 + random_.Below(3); i > 0; --i) {
    After(Span(1, 400 * kMillisecond), [this, partition] { Move(partition); });
  }
}

void Nemesis::Move(PartitionNumber partition) {
  const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
  const pb::TopicState& topic = world_->metadata->state().topics().at(name.topic);
  pb::ClusterCommand command;
  if (Chance(20)) {
    command.mutable_cancel_reassignments()->set_topic(name.topic);
  } else {
    std::vector<int32_t> nodes;
    for (const auto& [id, unused] : world_->nodes) nodes.push_back(id.value());
    for (size_t i = nodes.size(); i > 1; --i) std::swap(nodes[i - 1], nodes[random_.Below(i)]);
    pb::PartitionTarget& target = *command.mutable_reassign_partitions()->add_partitions();
    target.set_topic(name.topic);
    target.set_partition(name.index.value());
    for (int i = 0; i < topic.replication_factor(); ++i) target.add_replicas(nodes[i]);
  }
  world_->metadata->Order(command);
}

void Nemesis::ChangeMinimum() {
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  const std::string& name = world_->partitions[static_cast<size_t>(partition)].topic;
  const pb::TopicState& topic = world_->metadata->state().topics().at(name);
  const auto minimum = static_cast<int32_t>(random_.Between(1, topic.replication_factor()));
  if (minimum == topic.settings().min_in_sync_replicas()) return;
  pb::ClusterCommand command;
  pb::UpdateTopicCommand& update = *command.mutable_update_topic();
  update.set_name(name);
  update.mutable_settings()->set_min_in_sync_replicas(minimum);
  update.add_fields("min_in_sync_replicas");
  world_->metadata->Order(command, [this, name, minimum](const auto& updated) {
    if (!updated.ok()) return;
    (*world_->trace)("topic ", name, ": ", minimum, " must be in sync");
    world_->findings->Reach(Mark::kMinimumChanged);
  });
}

// As though the node had not been heard of for too long.
void Nemesis::EndSession() {
  StorageNode* const node = Chance(50) ? AnyLeader() : AnyRunning();
  if (node == nullptr) return;
  const auto known = world_->metadata->state().nodes().find(node->id().value());
  if (known == world_->metadata->state().nodes().end() || known->second.session_id() == 0) return;
  pb::ClusterCommand command;
  command.mutable_end_session()->set_session_id(known->second.session_id());
  world_->metadata->Order(command);
}

void Nemesis::DisturbMetadata() {
  world_->metadata->Disturb(Span(20 * kMillisecond, 500 * kMillisecond));
}

// ---- Disks ----

void Nemesis::LoseDisk() {
  StorageNode* const node = AnyNode();
  BreakDisk(
      node,
      [this, node] {
        (*world_->trace)("node ", node->id(), " loses its disk");
        world_->findings->Reach(Mark::kDiskLost);
        node->store().LoseEverything(random_.NextUuid());
      },
      kTries);
}

void Nemesis::TakeDiskBack() {
  StorageNode* const node = AnyNode();
  if (!node->store().has_image() || Chance(30)) return node->store().TakeImage();
  BreakDisk(
      node,
      [this, node] {
        (*world_->trace)("node ", node->id(), " has its disk of some time ago");
        world_->findings->Reach(Mark::kDiskWentBack);
        node->store().GoBackToImage();
      },
      kTries);
}

void Nemesis::FlipBits() {
  StorageNode* const node = AnyRunning();
  if (node == nullptr) return;
  const auto partition = static_cast<PartitionNumber>(random_.Below(world_->partitions.size()));
  for (size_t i = 0; i < world_->partitions.size(); ++i) {
    const pb::PartitionState& state = world_->metadata->partition(static_cast<PartitionNumber>(i));
    const bool has = cluster::Contains(state.replicas(), node->id().value());
    if (has && state.isr_size() < 2) return;  // There might be no other copy.
  }
  const Offset end = world_->invariants->committed_end(partition);
  if (end == Offset{0}) return;
  const Offset at{static_cast<int64_t>(random_.Below(static_cast<uint64_t>(end.value())))};
  Batch* const written = node->store().BatchAt(partition, at, Store::View::kWritten);
  Batch* const durable = node->store().BatchAt(partition, at, Store::View::kDurable);
  if (written == nullptr || durable == nullptr) return;
  Calm();
  (*world_->trace)("node ", node->id(), " partition ", partition, ": a bit flips at ", at);
  written->damaged = durable->damaged = true;
  damaged_ = node->id();
  // If nobody reads it before, it is found by looking for it.
  const SimTime found = Span(10 * kMillisecond, 300 * kMillisecond);
  world_->queue->After(found, EventKind::kFault,
                       [this, node, partition] { WaitForRepair(node, partition, kTries); });
}

// Heals also when the faults have ended.
void Nemesis::WaitForRepair(StorageNode* node, PartitionNumber partition, int tries_left) {
  if (tries_left == 0) node->store().MakeWhole(partition);  // Nobody else has it all, and is there.
  if (!node->store().IsDamaged(partition)) {
    damaged_ = NodeId{0};
    return;
  }
  // Its next process has to meet it again.
  if (node->running() && tries_left % 10 == 0) node->OnDamage(partition);
  world_->queue->After(kTryAgain, EventKind::kFault, [this, node, partition, tries_left] {
    WaitForRepair(node, partition, tries_left - 1);
  });
}

void Nemesis::TrimLog() {
  for (size_t i = 0; i < world_->partitions.size(); ++i) {
    if (Chance(50)) continue;
    const auto partition = static_cast<PartitionNumber>(i);
    const int32_t leader = world_->metadata->partition(partition).leader();
    if (leader == 0) continue;
    StorageNode* const node = world_->nodes.at(NodeId{leader}).get();
    if (!node->running()) continue;
    const replica::Replica* const core = node->process()->shard().Find(partition);
    if (core == nullptr) continue;
    const Offset before{random_.Between(core->log_start().value(), core->high_watermark().value())};
    node->Deliver(
        [node, partition, before] { node->process()->shard().TruncatePrefix(partition, before); });
  }
}

}  // namespace falaj::simulation::data
