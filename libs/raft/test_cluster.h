#ifndef LIBS_RAFT_TEST_CLUSTER_H_
#define LIBS_RAFT_TEST_CLUSTER_H_

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/ids.h"
#include "libs/raft/raft_core.h"

namespace falaj::raft {

// TestDisk remembers what a Ready asked to store, and loses in a crash what was not synced.
class TestDisk {
 public:
  explicit TestDisk(Restored initial) : cached_(initial), durable_(std::move(initial)) {}

  // Returns false if that leaves a gap in the log.
  bool Write(const Ready& ready);
  void SaveSnapshot(const Snapshot& snapshot, LogIndex first_kept);
  void Crash() { cached_ = durable_; }
  const Restored& content() const { return cached_; }

 private:
  Restored cached_;
  Restored durable_;
};

// TestNode is a RaftCore with a disk and a state machine that simply remembers what it applied.
struct TestNode {
  TestNode(const Options& node_options, Restored initial)
      : options(node_options), disk(std::move(initial)) {}

  Options options;
  TestDisk disk;
  std::unique_ptr<RaftCore> core;    // Null while the node is down.
  std::deque<Ready> held;            // Taken, but not carried out beyond step 2.
  std::vector<std::string> applied;  // "5/2 x": one per entry from index 1 on.
  std::vector<ReadState> reads;
  std::vector<uint64_t> dropped_reads;
  uint64_t snapshots_installed = 0;
  uint64_t lives = 0;
};

// TestCluster is a few nodes and the messages between them, all under the control of a test:
// nothing happens but by a call.
class TestCluster {
 public:
  // Told when a node asks for something that cannot be. Fails the test by default.
  std::function<void(const std::string&)> on_fault;

  TestCluster();
  // Adds a node that finds `initial` on its disk, and starts it.
  TestNode& Add(const Options& options, Restored initial);
  TestNode& node(NodeId id) { return nodes_.at(id); }
  std::map<NodeId, TestNode>& nodes() { return nodes_; }
  std::vector<pb::RaftMessage>& in_flight() { return in_flight_; }

  // Stops the node without a word; what it had not synced is lost.
  void Crash(NodeId id);
  absl::Status Start(NodeId id);

  // Steps 1 and 2 of a Ready: takes it and sends what does not wait for the disk.
  const Ready& Take(NodeId id);
  // Steps 3 to 6 of the oldest Ready taken.
  void Finish(NodeId id);
  // Delivers the message if the receiver is up. Returns what Step() returned.
  absl::Status Deliver(const pb::RaftMessage& message);
  // Makes a snapshot of what the node has applied.
  absl::Status TakeSnapshot(NodeId id);

 private:
  std::map<NodeId, TestNode> nodes_;
  std::vector<pb::RaftMessage> in_flight_;
};

// The directory of that number; not 0.
Uuid TestDirectory(uint8_t number);

// "5/2 x", "5/2 no-op", "5/2 members 1,2,3+4".
std::string Describe(const pb::RaftEntry& entry);
// "1>2 APPEND term 2 at 4/1 commit 4: 5/2 x, 6/2 y".
std::string Describe(const pb::RaftMessage& message);
std::string Describe(const Membership& membership);

}  // namespace falaj::raft

#endif  // LIBS_RAFT_TEST_CLUSTER_H_
