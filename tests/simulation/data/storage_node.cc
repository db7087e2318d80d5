#include "tests/simulation/data/storage_node.h"

#include <utility>

#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/storage_process.h"

namespace falaj::simulation::data {
namespace {

// Of incarnations, so that they replay.
Uuid IncarnationOf(NodeId node, uint64_t life) {
  return Uuid::FromRandomBits(0x1000 + static_cast<uint64_t>(node.value()), life + 1);
}

}  // namespace

StorageNode::StorageNode(World* world, NodeId id, uint64_t seed)
    : world_(world), id_(id), random_(seed), store_(random_.NextUuid()) {}

StorageNode::~StorageNode() = default;

void StorageNode::Start() {
  (*world_->trace)("node ", id_, " starts");
  ++generation_;
  stopping_ = paused_ = false;
  waiting_.clear();
  const bool is_bugged = world_->has_bug(replica::PlantedBug::kRestartWithoutIncarnation);
  const StorageProcess::Identity identity{
      .incarnation = IncarnationOf(id_, is_bugged ? 0 : generation_),
      .clean_epoch = store_.clean_epoch()};
  incarnation_ = identity.incarnation;
  store_.set_clean_epoch(NodeEpoch{0});
  store_.Sync();  // A store that opens flushes what its write-ahead log holds.
  process_ = std::make_unique<StorageProcess>(world_, this, identity, random_.Next());
  process_->Start();
}

void StorageNode::Kill(bool power_loss) {
  if (!running()) return;
  (*world_->trace)("node ", id_, power_loss ? " loses power" : " is killed");
  process_->replication().Abandon();
  ++generation_;
  ended_ = std::move(process_);
  // Whoever called may be deep within the process.
  world_->queue->After(0, EventKind::kTimer, [this] { ended_.reset(); });
  waiting_.clear();
  stopping_ = paused_ = false;
  if (power_loss) {
    store_.LosePower(&random_);
    world_->findings->Reach(Mark::kPowerLost);
  }
  world_->invariants->OnDown(id_);
}

void StorageNode::Pause() {
  if (!running() || paused_) return;
  (*world_->trace)("node ", id_, " pauses");
  paused_ = true;
}

void StorageNode::Resume() {
  if (!std::exchange(paused_, false)) return;
  (*world_->trace)("node ", id_, " goes on");
  // In order; should one of them pause or kill it again, the rest waits or is dropped.
  const uint64_t generation = generation_;
  std::deque<std::function<void()>> waiting = std::exchange(waiting_, {});
  while (!waiting.empty() && generation == generation_ && !paused_) {
    const std::function<void()> action = std::move(waiting.front());
    waiting.pop_front();
    action();
  }
  if (generation == generation_) {
    waiting_.insert(waiting_.begin(), waiting.begin(), waiting.end());
  }
}

void StorageNode::StopCleanly() {
  if (!running() || stopping_) return;
  (*world_->trace)("node ", id_, " stops");
  stopping_ = true;
  process_->Stop([this](NodeEpoch epoch) {
    store_.Sync();
    store_.set_clean_epoch(epoch);
    world_->findings->Reach(Mark::kCleanStop);
    Kill(/*power_loss=*/false);
  });
}

void StorageNode::OnDamage(PartitionNumber partition) {
  (*world_->trace)("node ", id_, " finds partition ", partition, " damaged");
  world_->findings->Reach(Mark::kDamageFound);
  // Behind whatever the process is at.
  After(0, EventKind::kFault, [this, partition] { process_->shard().Damaged(partition); });
}

void StorageNode::OnDiskChanged() {
  disk_changed_ = true;
  incarnation_ = Uuid();
}

void StorageNode::After(SimTime delay, EventKind kind, std::function<void()> action) {
  world_->queue->After(delay, kind, [this, generation = generation_, action = std::move(action)] {
    Run(generation, action);
  });
}

void StorageNode::Deliver(std::function<void()> action) { Run(generation_, std::move(action)); }

void StorageNode::Run(uint64_t generation, std::function<void()> action) {
  if (generation != generation_ || !running()) return;
  if (!paused_) return action();
  waiting_.push_back([this, generation, action = std::move(action)] {
    if (generation == generation_ && running()) action();
  });
}

}  // namespace falaj::simulation::data
