#ifndef TESTS_SIMULATION_DATA_CONSUMER_H_
#define TESTS_SIMULATION_DATA_CONSUMER_H_

#include <cstdint>

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "tests/simulation/data/storage_process.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

// Consumer reads one partition from its beginning, from whom it believes to lead.
class Consumer {
 public:
  struct Options {
    Endpoint endpoint = 0;
    uint64_t seed = 0;
    PartitionNumber partition = 0;
  };

  Consumer(World* world, const Options& options)
      : world_(world), options_(options), random_(options.seed) {}

  void Start() { Poll(); }
  Offset position() const { return position_; }
  PartitionNumber partition() const { return options_.partition; }

 private:
  void Poll();
  void AskWhoLeads();
  void Fetch();
  void OnFetched(const Fetched& fetched, LeaderEpoch epoch);
  void NoteHighWatermark(const Fetched& fetched, LeaderEpoch epoch);

  World* const world_;
  const Options options_;
  Random random_;
  Offset position_{0};
  NodeId leader_{0};
  LeaderEpoch leader_epoch_{-1};
  uint64_t request_ = 0;
  // What was shown last, and the greatest there ever was.
  LeaderEpoch seen_epoch_{-1};
  Offset seen_high_watermark_{0};
  LeaderEpoch newest_epoch_{-1};
  Offset highest_{0};
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_CONSUMER_H_
