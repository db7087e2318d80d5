#ifndef TESTS_SIMULATION_DATA_PRODUCER_H_
#define TESTS_SIMULATION_DATA_PRODUCER_H_

#include <cstdint>
#include <deque>

#include "absl/status/status.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/replica/effects.h"
#include "libs/replica/input.h"
#include "tests/simulation/data/batch.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

// Producer sends batches to one partition, in order, several at a time.
//
// An idempotent one numbers them. Whatever goes wrong, it waits until it has heard of all that is
// under way, or has given up waiting; then it sends again what is not acknowledged, in order, to
// whom it believes to lead, which may be who led before. When a leader goes on refusing what it
// sends next, it begins a new epoch, and never learns what became of the batches of the old one.
// One that does not number sends nothing twice.
class Producer {
 public:
  struct Options {
    Endpoint endpoint = 0;
    uint64_t seed = 0;
    PartitionNumber partition = 0;
    replica::Acks acks = replica::Acks::kAll;
    bool idempotent = true;
    size_t in_flight_max = 5;
    SimTime pause_max = 0;  // Between batches.
  };

  Producer(World* world, const Options& options);

  void Start();
  // Makes no more batches.
  // Sends less from now on: what lags shall be able to catch up.
  void GoEasy() { pace_ = 8; }
  void Finish() { finishing_ = true; }
  bool done() const { return finishing_ && pending_.empty(); }
  uint64_t acknowledged() const { return acknowledged_; }
  PartitionNumber partition() const { return options_.partition; }

 private:
  struct Pending {
    Batch batch;
    Offset acked_before;
    uint64_t request = 0;  // 0: nothing is under way.
    int tries = 0;
    bool acknowledged = false;
  };

  void Pump();
  void Make();
  void Send(Pending* pending);
  void OnReply(uint64_t request, int64_t value, const absl::Status& status,
               const replica::AppendOutcome& outcome);
  void OnAcknowledged(Pending* pending, const replica::AppendOutcome& outcome);
  void OnRefused(Pending* pending, const absl::Status& status);
  void GiveUp(const Pending& pending, const absl::Status& status);
  void Recover();
  void AskWhoLeads();
  void Resend();
  void BeginNewEpoch();
  Pending* Find(int64_t value);

  World* const world_;
  const Options options_;
  Random random_;
  const ProducerId id_;
  ProducerEpoch epoch_{0};
  Sequence next_{0};
  std::deque<Pending> pending_;  // In the order in which they were made.
  NodeId leader_{0};
  LeaderEpoch leader_epoch_{-1};
  bool finishing_ = false;
  int pace_ = 1;            // So many times the pauses.
  bool recovering_ = true;  // From not knowing anybody, to begin with.
  bool scheduled_ = false;  // The next step of it.
  uint64_t asking_ = 0;
  int refusals_ = 0;  // As out of order, one after the other.
  uint64_t acknowledged_ = 0;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_PRODUCER_H_
