// Sequences that lost data elsewhere, played step by step: reliability.md 1.3.
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/nemesis.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kStep = 300 * kMillisecond;

}  // namespace

void Nemesis::Play(Script script) {
  if (script == Script::kNone) return;
  playing_ = true;
  if (script == Script::kDiskBackInTime) return PlayDiskBackInTime();
  PlayKill(script == Script::kPartKill);
}

// A follower A is away while the leader B and another follower c take writes. Then c loses power
// with what it has not synced, B goes away, and A and c are back: a majority that has never seen
// what was acknowledged. Then B comes back.
void Nemesis::PlayKill(bool partition) {
  const pb::PartitionState& state = world_->metadata->partition(0);
  StorageNode* const b = world_->nodes.at(NodeId{state.leader()}).get();
  StorageNode* a = nullptr;
  StorageNode* c = nullptr;
  for (const int32_t id : state.replicas()) {
    StorageNode* const node = world_->nodes.at(NodeId{id}).get();
    if (node == b) continue;
    (a == nullptr ? a : c) = node;
  }
  const auto away = [this, partition](StorageNode* node, bool is_away) {
    if (partition) return Isolate(node, is_away);
    if (is_away) return node->Pause();
    node->Resume();
  };
  away(a, true);
  // Its session ends, it leaves the ISR, and writes go on without it.
  After(world_->laws.session_timeout + Span(kStep, 2 * kStep), [this, away, a, b, c] {
    Kill(c, /*power_loss=*/true);
    away(b, true);
    away(a, false);
    After(Span(1, kStep), [this, c] { Revive(c); });
    After(world_->laws.session_timeout + Span(kStep, 3 * kStep), [this, away, b] {
      away(b, false);
      playing_ = false;
    });
  });
}

void Nemesis::PlayDiskBackInTime() {
  StorageNode* const node = AnyFollower();
  if (node == nullptr) {
    return After(kStep, [this] { PlayDiskBackInTime(); });
  }
  node->store().TakeImage();
  After(Span(kStep, 3 * kStep), [this, node] {
    BreakDisk(
        node,
        [this, node] {
          world_->findings->Reach(Mark::kDiskWentBack);
          node->store().GoBackToImage();
        },
        80);
    After(Span(kStep, 4 * kStep), [this] { playing_ = false; });
  });
}

}  // namespace falaj::simulation::data
