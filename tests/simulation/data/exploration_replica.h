// Every state that a replica and its disk come into in an exploration, each once, and what each
// input makes of it: the shipped Replica runs once for each pair of the two, however many states of
// the whole world they are part of.
#ifndef TESTS_SIMULATION_DATA_EXPLORATION_REPLICA_H_
#define TESTS_SIMULATION_DATA_EXPLORATION_REPLICA_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"

#include "libs/base/ids.h"
#include "libs/replica/planted_bug.h"
#include "libs/replica/replica.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation::data {

constexpr int kNodes = 3;
constexpr int32_t kMinInSync = 2;

// A log as a number, one byte a record, the first one lowest: the epoch it was written in, and
// which it is of those that were written at its place in that epoch (should a leader write twice
// there).
using PackedLog = uint64_t;
constexpr int kLogLengthMax = 8;

constexpr uint8_t PackRecord(int epoch, int copy) {
  return static_cast<uint8_t>(epoch << 4 | copy);
}
constexpr uint8_t RecordAt(PackedLog log, int place) {
  return place >= kLogLengthMax ? uint8_t{0} : static_cast<uint8_t>(log >> (8 * place));
}
constexpr int LengthOf(PackedLog log) {
  int length = 0;
  while (length < kLogLengthMax && RecordAt(log, length) != 0) ++length;
  return length;
}
constexpr PackedLog Prefix(PackedLog log, int length) {
  return length >= kLogLengthMax ? log : log & ((PackedLog{1} << (8 * length)) - 1);
}

// Names a state of a replica.
using ReplicaNumber = uint32_t;

// Progress of a follower on its way to a leader.
struct Progress {
  int node_epoch = 0;
  int epoch = 0;
  int written = 0;
  int flushed = 0;
};

// What the other nodes, the metadata service and the invariants see of a replica.
struct ReplicaView {
  PackedLog log = 0;
  replica::Role role = replica::Role::kOffline;
  bool attached = false;
  bool asks = false;  // Where to go on; no answer has come.
  int8_t epoch = -1;
  int8_t leader = 0;
  int8_t high_watermark = 0;
  int8_t length = 0;
  int8_t held = 0;    // So much of it counts as held.
  int8_t synced = 0;  // So much of it is on disk.
  int8_t node_epoch = 1;
  int8_t last_epoch = -1;    // If it asks.
  int8_t newest_epoch = 0;   // That its log knows of; 0: none.
  int8_t acked_written = 0;  // What a follower has told its leader, or is about to.
  int8_t acked_flushed = 0;
  bool proposes = false;
  uint8_t proposed = 0;                      // The nodes, by bits.
  std::array<int8_t, kNodes> proposed_as{};  // Their node epochs.
};

// When what is written is on disk.
enum class Syncing {
  kAtOnce,
  kLater,    // After Sync(), and not held before.
  kUnasked,  // After Sync(), but held before: the topic does not ask for it.
};

class ReplicaTable {
 public:
  struct Rules {
    replica::PlantedBug bug = replica::PlantedBug::kNone;
    Syncing syncing = Syncing::kAtOnce;
  };
  // What has become of a replica. The rest is what a leader answers to Attach().
  struct Outcome {
    ReplicaNumber next = 0;
    bool taken = false;  // Else it was refused, and nothing has changed.
    bool diverges = false;
    int8_t high_watermark = 0;
    int8_t diverging_epoch = 0;
    int8_t diverging_end = 0;
  };

  explicit ReplicaTable(const Rules& rules);
  ~ReplicaTable();

  // An empty one that has just been started. Nodes count from 0.
  ReplicaNumber Start(int node);
  Outcome Lead(ReplicaNumber replica, int epoch, unsigned isr);
  // `leader` counts from 1; 0: nobody.
  Outcome Follow(ReplicaNumber replica, int epoch, int leader);
  Outcome Append(ReplicaNumber replica, int copy);
  // The leader is asked by the follower that looks like this.
  Outcome Attach(ReplicaNumber leader, int from, const ReplicaView& follower);
  // The follower hears the answer. It may ask again.
  Outcome Answer(ReplicaNumber replica, const Outcome& answer);
  // The leader's high watermark and the next record, if there is one.
  Outcome Fetch(ReplicaNumber replica, int high_watermark, uint8_t record);
  Outcome TakeProgress(ReplicaNumber leader, int from, const Progress& progress);
  Outcome CheckIsr(ReplicaNumber replica);
  // The metadata service does not want what it proposes.
  Outcome Refuse(ReplicaNumber replica);
  Outcome Sync(ReplicaNumber replica);
  // It is neither leader nor follower, until it hears that it is.
  Outcome GoOffline(ReplicaNumber replica);
  // What is not synced is lost, and so is the high watermark: its checkpoint is as old as can be.
  Outcome Crash(ReplicaNumber replica);

  const ReplicaView& view(ReplicaNumber replica) const { return views_[replica]; }
  size_t size() const { return hosts_.size(); }
  size_t steps() const { return outcomes_.size(); }
  // The promise that a replica has broken since it was asked last.
  std::optional<Finding> TakeFinding() { return std::exchange(finding_, std::nullopt); }

 private:
  struct Host;  // A replica and its disk.
  enum class Kind : uint8_t;
  using Key = std::pair<ReplicaNumber, uint64_t>;
  using Change = absl::FunctionRef<bool(Host*, Outcome*)>;

  Outcome Remember(ReplicaNumber replica, Kind kind, uint64_t arguments, Change change);
  ReplicaNumber Intern(std::unique_ptr<Host> host);
  // Feeds the input, does what it wants done, and keeps what it wants sent.
  bool Feed(Host* host, const replica::Input& input, int copy = 0);
  void Persist(Host* host, replica::Effects* effects, int copy);
  void Check(const Host& host);
  void CheckFencing(const Host& host);
  void Report(const char* invariant, std::string what);

  const Rules rules_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<ReplicaView> views_;
  absl::flat_hash_map<std::string, ReplicaNumber> numbers_;  // By all that decides.
  absl::flat_hash_map<Key, Outcome> outcomes_;
  std::optional<Finding> finding_;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_EXPLORATION_REPLICA_H_
