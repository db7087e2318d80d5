// What only a simulated shard knows of a replica: for the shard's own files.
#ifndef TESTS_SIMULATION_DATA_HOSTED_REPLICA_H_
#define TESTS_SIMULATION_DATA_HOSTED_REPLICA_H_

#include <optional>

#include "libs/replica/replica.h"
#include "tests/simulation/data/shard.h"

namespace falaj::simulation::data {

struct Shard::Hosted {
  PartitionNumber partition = 0;
  replica::Replica core;
  Assignment wanted;
  replica::Effects effects;
  Published published;
  Offset checkpointed;              // The high watermark on disk.
  bool touched = false;             // By the round.
  bool unsynced = false;            // It has written what found no room when it was synced.
  bool damaged = false;             // Its log is, on this disk.
  std::optional<SimTime> reported;  // When that was, last.
  std::optional<SimTime> asked;     // When the attach left whose answer has not come.
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_HOSTED_REPLICA_H_
