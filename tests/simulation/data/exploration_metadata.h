// Every state that the metadata of one partition comes into in an exploration, each once, and what
// each event makes of it by the shipped election rules (libs/cluster/election.h).
#ifndef TESTS_SIMULATION_DATA_EXPLORATION_METADATA_H_
#define TESTS_SIMULATION_DATA_EXPLORATION_METADATA_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/cluster/election.h"
#include "tests/simulation/data/exploration_replica.h"

namespace falaj::simulation::data {

// Names a state of the metadata.
using MetadataNumber = uint16_t;

// Sets of nodes have a bit for each, from 0; `leader` counts from 1, and 0 is nobody.
struct MetadataView {
  uint8_t alive = 0;
  uint8_t isr = 0;
  uint8_t eligible = 0;
  int8_t leader = 0;
  int8_t leader_epoch = 0;
  // The ISR has changed since the leader was told. Partition epochs are no more than this: they
  // rise with every change, and all that is ever asked is whether one is the latest.
  bool leader_behind = false;
};

class MetadataTable {
 public:
  explicit MetadataTable(int leader_epochs_max) : leader_epochs_max_(leader_epochs_max) {}

  // All in sync; node 0 leads.
  MetadataNumber Start();
  // Nullopt: nothing changes, or a leader epoch too many would begin. Nodes count from 0.
  using Next = std::optional<MetadataNumber>;
  Next MoveLead(MetadataNumber from, int node);
  // The session ends by silence; or the same process registers again.
  Next EndOrResume(MetadataNumber from, int node);
  // What the sessions of one node, or of several at a time, can leave behind that end and are back
  // before anybody hears of it. Without what several of these, one after the other, come to.
  const std::vector<MetadataNumber>& Outages(MetadataNumber from);
  // Another process registers: one that says it is the same, or one that proves nothing.
  Next Restart(MetadataNumber from, int node, bool same);
  Next SetIsr(MetadataNumber from, unsigned isr);
  Next TellLeader(MetadataNumber from);
  // Whom a recovered quorum, which knows nothing else, lets lead when these have said what they
  // hold; counts from 1, 0: nobody yet. By node: the newest epoch of its log, and where that ends;
  // 0: it has said nothing, or holds nothing.
  struct Held {
    int8_t epoch = 0;
    int8_t end = 0;
  };
  int LeaderAfterRecovery(const std::array<Held, kNodes>& reports);

  const MetadataView& view(MetadataNumber number) const { return views_[number]; }
  size_t size() const { return states_.size(); }

 private:
  struct State {
    cluster::NodeTable nodes;
    internal::v1::PartitionState partition;
    bool leader_behind = false;
  };
  using Change = absl::FunctionRef<void(State*)>;

  Next Remember(MetadataNumber from, size_t event, Change change);
  MetadataNumber Intern(State state);
  std::vector<MetadataNumber> OutagesOf(MetadataNumber from, int nodes);
  void FollowSessions(MetadataNumber at, int nodes, unsigned touched,
                      std::vector<MetadataNumber>* ends);

  // Of each state: what comes of each event; kUnknown until it has been tried.
  static constexpr size_t kEvents = 24;
  static constexpr uint16_t kUnknown = 0xffff;
  static constexpr uint16_t kNothing = 0xfffe;

  const int leader_epochs_max_;
  std::vector<State> states_;
  std::vector<MetadataView> views_;
  std::vector<std::array<uint16_t, kEvents>> next_;
  absl::flat_hash_map<MetadataNumber, std::vector<MetadataNumber>> outages_;
  absl::flat_hash_map<std::string, MetadataNumber> numbers_;
  absl::flat_hash_map<uint64_t, int> recovered_;  // By what was said.
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_EXPLORATION_METADATA_H_
