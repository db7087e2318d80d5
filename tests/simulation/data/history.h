#ifndef TESTS_SIMULATION_DATA_HISTORY_H_
#define TESTS_SIMULATION_DATA_HISTORY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/ids.h"
#include "tests/simulation/data/batch.h"
#include "tests/simulation/findings.h"

namespace falaj::simulation::data {

// What a producer knows of a value it has sent.
enum class Outcome {
  kAcknowledged,  // By all in sync: at an offset, for ever.
  kFailed,        // Definitely not appended.
  kUnknown,       // Anything else, also what the leader alone has acknowledged.
};

// History is what clients saw, and nothing else. Judge() is the checker of Jepsen's Kafka workload
// (tests/kafka.clj) for sends and polls without transactions:
//
//   inconsistent offsets  an offset holds two values
//   duplicate             a value is at two offsets
//   aborted read          a value was read whose send had failed
//   lost                  a value that was acknowledged, or read by anybody, is not where it was in
//                         a final read that begins at or before it
//   nonmonotonic poll     a reader went back
//   skipped poll          a reader left out what others read between two of its values
//   nonmonotonic send     a producer's values are not in the order in which it sent them
//
//   unknown value         a value was read that nobody had sent to this partition
//
// It trusts no offset but those the clients were told. Values are those of batches. Without effect
// on the verdict: what was sent and never answered, unless somebody has read it.
class History {
 public:
  using Reader = int;

  // `writer`: one producer's lane; its values are sent in this order.
  void OnSend(PartitionNumber partition, int writer, int64_t value);
  void OnSent(PartitionNumber partition, int64_t value, Outcome outcome, Offset offset);
  void OnPoll(PartitionNumber partition, Reader reader, const std::vector<Batch>& batches);
  // The reader goes on elsewhere: what it reads next need not follow what it read last.
  void OnSeek(PartitionNumber partition, Reader reader);
  // A whole read, from the log start, when all is over; the reader has read nothing before.
  void OnFinalRead(PartitionNumber partition, Reader reader, Offset log_start,
                   const std::vector<Batch>& batches);
  // Records of the partition may be lost after all: it is not judged.
  void Exempt(PartitionNumber partition) { exempt_.insert(partition); }
  // A value that may be there twice.
  void Forgive(int64_t value) { forgiven_.insert(value); }

  std::optional<Finding> Judge() const;
  uint64_t sends() const { return sends_; }
  uint64_t reads() const { return reads_; }

 private:
  struct Send {
    int writer = 0;
    Outcome outcome = Outcome::kUnknown;
    Offset offset{-1};
  };
  struct Read {
    Offset offset;
    int64_t value = 0;
    bool follows = false;  // What the reader read before.
  };
  struct PartitionHistory {
    std::map<int64_t, Send> sends;  // By value: values rise.
    std::map<Reader, std::vector<Read>> reads;
    std::set<Reader> seeking;
    std::map<Reader, Offset> final_from;
  };
  // The log as the clients know it: dense indices of the offsets that hold a value.
  struct Log {
    std::map<Offset, int64_t> values;
    std::map<int64_t, Offset> offsets;
    std::map<Offset, int64_t> indices;
  };

  void AddReads(PartitionHistory* history, Reader reader, const std::vector<Batch>& batches);
  std::optional<Finding> BuildLog(const PartitionHistory& history, Log* log) const;
  std::optional<Finding> Learn(Offset offset, int64_t value, Log* log) const;
  static std::optional<Finding> JudgeReads(const PartitionHistory& history, const Log& log);
  static std::optional<Finding> JudgeSends(const PartitionHistory& history);
  static std::optional<Finding> JudgeLosses(const PartitionHistory& history, const Log& log);

  std::map<PartitionNumber, PartitionHistory> partitions_;
  std::set<PartitionNumber> exempt_;
  std::set<int64_t> forgiven_;
  uint64_t sends_ = 0;
  uint64_t reads_ = 0;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_HISTORY_H_
