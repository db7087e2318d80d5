#ifndef TESTS_SIMULATION_DATA_BATCH_H_
#define TESTS_SIMULATION_DATA_BATCH_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

#include "libs/base/ids.h"
#include "libs/replica/producer_states.h"

namespace falaj::simulation::data {

// A partition of the simulated cluster, numbered over all topics.
using PartitionNumber = int;

// A record batch as far as replication can tell: its header, and a value in place of its records.
struct Batch {
  Offset base{};
  Offset last{};
  LeaderEpoch epoch{};
  bool leader_change = false;
  ProducerId producer{-1};
  ProducerEpoch producer_epoch{-1};
  Sequence sequence{-1};
  int32_t record_count = 1;
  int64_t value = 0;     // No other batch of a client has it; 0 for a leader change.
  bool damaged = false;  // Its checksum does not fit any more.

  Offset end() const { return last + 1; }
  // Whether it has the same bytes, but for damage.
  bool Equals(const Batch& other) const {
    return base == other.base && last == other.last && epoch == other.epoch &&
           leader_change == other.leader_change && producer == other.producer &&
           producer_epoch == other.producer_epoch && sequence == other.sequence &&
           value == other.value;
  }
  replica::ProducerStates::Batch OfProducer() const {
    return {.producer = producer,
            .epoch = producer_epoch,
            .base_sequence = sequence,
            .record_count = record_count};
  }
  std::string ToString() const {
    return absl::StrCat("[", base, "..", last, " epoch ", epoch, " value ", value,
                        leader_change ? " leader change" : "", "]");
  }
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_BATCH_H_
