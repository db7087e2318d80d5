#include "tests/simulation/data/consumer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "tests/simulation/data/history.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kRestMax = 40 * kMillisecond;
constexpr SimTime kPatience = 150 * kMillisecond;
constexpr int kBatchesMax = 8;

}  // namespace

void Consumer::Poll() {
  request_ = 0;
  world_->queue->After(random_.Between(1, kRestMax), EventKind::kClient, [this] {
    // It asks again now and then, and when it has been refused; until then it believes what it
    // heard last.
    if (leader_ == NodeId{0} || random_.Below(16) == 0) return AskWhoLeads();
    Fetch();
  });
}

void Consumer::AskWhoLeads() {
  const uint64_t request = request_ = world_->NextId();
  world_->metadata->Ask(options_.endpoint, options_.partition,
                        [this, request](const pb::PartitionState& state) {
                          if (request_ != request) return;
                          leader_ = NodeId{state.leader()};
                          leader_epoch_ = LeaderEpoch{state.leader_epoch()};
                          Poll();
                        });
  world_->queue->After(kPatience, EventKind::kTimer, [this, request] {
    if (request_ == request) Poll();
  });
}

void Consumer::Fetch() {
  const uint64_t request = request_ = world_->NextId();
  StorageNode* const node = world_->nodes.at(leader_).get();
  world_->network->Call(
      options_.endpoint, At(leader_),
      [this, node, request, from = position_, epoch = leader_epoch_] {
        node->Deliver([this, node, request, from, epoch] {
          const Fetched fetched =
              node->process()->Fetch(options_.partition, epoch, from, kBatchesMax);
          if (fetched.status.ok()) {
            world_->invariants->OnFetched(node->id(), options_.partition, epoch, fetched);
          }
          world_->network->Call(At(node->id()), options_.endpoint, [this, request, fetched, epoch] {
            if (request_ == request) OnFetched(fetched, epoch);
          });
        });
      });
  world_->queue->After(kPatience, EventKind::kTimer, [this, request] {
    if (request_ != request) return;
    leader_ = NodeId{0};
    Poll();
  });
}

void Consumer::OnFetched(const Fetched& fetched, LeaderEpoch epoch) {
  const Reason reason = ReasonOf(fetched.status);
  if (reason == Reason::kOffsetOutOfRange && position_ < fetched.log_start) {
    position_ = fetched.log_start;
    world_->history->OnSeek(options_.partition, options_.endpoint);
  } else if (reason == Reason::kOffsetOutOfRange && position_ > fetched.high_watermark &&
             epoch >= world_->invariants->unclean_epoch(options_.partition)) {
    // What it has read is lost. It goes on with what comes next.
    position_ = fetched.high_watermark;
    world_->history->OnSeek(options_.partition, options_.endpoint);
  } else if (!fetched.status.ok()) {
    leader_ = NodeId{0};
  } else {
    NoteHighWatermark(fetched, epoch);
    world_->history->OnPoll(options_.partition, options_.endpoint, fetched.batches);
    if (!fetched.batches.empty()) position_ = fetched.batches.back().end();
  }
  Poll();
}

// A leader that serves knows what every leader before it has committed; one that cannot serve only
// what it heard of.
void Consumer::NoteHighWatermark(const Fetched& fetched, LeaderEpoch epoch) {
  const LeaderEpoch unclean = world_->invariants->unclean_epoch(options_.partition);
  if (epoch >= unclean && newest_epoch_ < unclean) highest_ = Offset{0};
  Offset at_least = epoch == seen_epoch_ ? seen_high_watermark_ : Offset{0};
  if (fetched.serving && epoch >= newest_epoch_) at_least = std::max(at_least, highest_);
  if (fetched.high_watermark < at_least) {
    world_->findings->Report("I3 high watermark",
                             absl::StrCat("a client saw ", fetched.high_watermark, " in epoch ",
                                          epoch, " after ", at_least, " in epoch ", seen_epoch_));
  }
  seen_epoch_ = epoch;
  seen_high_watermark_ = fetched.high_watermark;
  newest_epoch_ = std::max(newest_epoch_, epoch);
  highest_ = std::max(highest_, fetched.high_watermark);
}

}  // namespace falaj::simulation::data
