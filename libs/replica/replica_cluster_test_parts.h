// What three replicas of a partition consist of in replica_cluster_test.
#ifndef LIBS_REPLICA_REPLICA_CLUSTER_TEST_PARTS_H_
#define LIBS_REPLICA_REPLICA_CLUSTER_TEST_PARTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/replica/replica.h"

namespace falaj::replica {

// A batch is known by its epoch and token: two batches are the same if these are.
struct Batch {
  LeaderEpoch epoch;
  Offset base;
  Offset last;
  uint64_t token = 0;
  int32_t sequence = -1;  // Of an idempotent producer.
  friend bool operator==(const Batch&, const Batch&) = default;

  ProducerStates::Batch producer() const {
    if (sequence < 0) return {};
    return {ProducerId{1}, ProducerEpoch{0}, Sequence{sequence},
            static_cast<int32_t>(last - base) + 1};
  }
};

// An idempotent producer that sends its five oldest batches without an answer over and over, to
// whomever, in any order. What of it ends up in the log must be in order all the same, and once.
class NumberedProducer {
 public:
  // The batch after `i` others.
  static BatchInfo InfoOf(int i) {
    return {.record_count = 1 + i % 3,
            .producer_id = ProducerId{1},
            .producer_epoch = ProducerEpoch{0},
            .base_sequence = Sequence{SequenceOf(i)}};
  }
  static int32_t SequenceOf(int i) { return i / 3 * 6 + (i % 3 == 2 ? 3 : i % 3); }

  int Choose(Random* random) const { return oldest_ + static_cast<int>(random->Below(5)); }
  void Acknowledged(int32_t sequence) {
    acknowledged_.insert(sequence);
    while (acknowledged_.contains(SequenceOf(oldest_))) ++oldest_;
  }
  int oldest() const { return oldest_; }

 private:
  int oldest_ = 0;  // Without an answer.
  std::set<int32_t> acknowledged_;
};

// What the metadata service has of the partition. Elections after KIP-966, min ISR 2.
struct Record {
  int32_t leader = 1;
  LeaderEpoch epoch{1};
  PartitionEpoch partition_epoch{1};
  std::vector<NodeId> isr = {NodeId{1}, NodeId{2}, NodeId{3}};
  std::vector<NodeId> elr;
};

inline std::vector<NodeId> Without(std::vector<NodeId> nodes, NodeId node) {
  nodes.erase(std::remove(nodes.begin(), nodes.end(), node), nodes.end());
  return nodes;
}

inline bool Has(const std::vector<NodeId>& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

// Those who leave stay eligible while too few are left.
inline void SetIsr(const std::vector<NodeId>& isr, int32_t min_in_sync, Record* record) {
  std::vector<NodeId> elr;
  if (static_cast<int32_t>(isr.size()) < min_in_sync) {
    for (const NodeId node : {NodeId{1}, NodeId{2}, NodeId{3}}) {
      const bool held_all = Has(record->isr, node) || Has(record->elr, node);
      if (held_all && !Has(isr, node)) elr.push_back(node);
    }
  }
  record->isr = isr;
  record->elr = elr;
  ++record->partition_epoch;
}

// By an operator's wish; who led stays in sync. False: it may not lead, or does already.
inline bool MoveLead(NodeId to, Record* record) {
  if (record->leader == 0 || NodeId{record->leader} == to || !Has(record->isr, to)) return false;
  record->leader = to.value();
  ++record->epoch;
  ++record->partition_epoch;
  return true;
}

struct Disk {
  std::vector<Batch> log;
  std::vector<EpochEntry> epochs;
  size_t synced_batches = 0;
  size_t synced_epochs = 0;
  Offset high_watermark{0};

  // What a store has of the producers, as it keeps that in step with the log.
  std::vector<record::ProducerRow> producers() const {
    ProducerStates states;
    for (const Batch& batch : log) states.Apply(batch.producer(), {.base = batch.base});
    return states.Rows();
  }

  Offset end() const { return log.empty() ? Offset{0} : log.back().last + 1; }
};

// Whether a recovered metadata quorum that hears of these two disks and no third lets one lead that
// has all that is committed, of which `last` is the last: the one of the later epoch, or the longer
// one. Logs that have a batch in common have all before it in common. An empty one is not counted.
inline bool RecoveryKeeps(const Batch& last, const Disk& a, const Disk& b) {
  if (a.log.empty() || b.log.empty()) return true;
  const bool second =
      std::pair(a.log.back().epoch, a.end()) < std::pair(b.log.back().epoch, b.end());
  const std::vector<Batch>& fullest = (second ? b : a).log;
  return std::find(fullest.rbegin(), fullest.rend(), last) != fullest.rend();
}

struct Node {
  NodeId id;
  NodeEpoch node_epoch{0};
  bool up = false;
  bool alive = false;  // Has a session.
  Disk disk;
  std::unique_ptr<Replica> replica;
  Effects effects;
  PartitionEpoch seen{0};  // How far its watch has come.
  std::optional<IsrProposal> proposing;
};

// One follower's stream to one leader: messages in order, until it breaks.
struct Stream {
  bool open = false;
  std::deque<Input> to_leader;
  std::deque<std::pair<Input, std::vector<Batch>>> to_follower;
  uint64_t id = 0;
  uint64_t attach_id = 0;
  bool pushing = false;
  Offset cursor{0};
};

inline std::string DescribeNode(const Node& node, const Stream& stream) {
  std::string text = absl::StrCat("\nnode ", node.id.value(), node.up ? " up" : " down",
                                  node.alive ? " alive" : " expired", " seen ", node.seen.value());
  if (node.replica != nullptr) {
    absl::StrAppend(&text, " role ", static_cast<int>(node.replica->role()), " epoch ",
                    node.replica->epoch().value(), " end ", node.replica->log_end().value(), " hw ",
                    node.replica->high_watermark().value(),
                    node.replica->attached() ? " attached" : "");
  }
  absl::StrAppend(&text, " stream ", stream.open ? "open" : "closed",
                  stream.pushing ? " pushing" : "");
  return text;
}

// `streams` by follower.
template <size_t kCount>
std::string DescribeCluster(const Record& record, const Node (&nodes)[kCount],
                            const Stream (&streams)[kCount]) {
  std::string text = absl::StrCat("leader ", record.leader, " epoch ", record.epoch.value(),
                                  " partition epoch ", record.partition_epoch.value(), " isr");
  for (const NodeId node : record.isr) absl::StrAppend(&text, " ", node.value());
  absl::StrAppend(&text, " elr");
  for (const NodeId node : record.elr) absl::StrAppend(&text, " ", node.value());
  for (size_t i = 0; i < kCount; ++i) text += DescribeNode(nodes[i], streams[i]);
  return text;
}

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_REPLICA_CLUSTER_TEST_PARTS_H_
