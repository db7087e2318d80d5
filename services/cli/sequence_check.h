// SequenceCheck knows what was acknowledged and what was received, by producer and sequence, one
// bit each: lost = acknowledged and never received; duplicate = received more than once; out of
// order = received behind a later record of the same producer in the same partition.
//
// A record whose fate the producer does not know (an indefinite error) may come once or never.
//
// Threads: any.
#ifndef SERVICES_CLI_SEQUENCE_CHECK_H_
#define SERVICES_CLI_SEQUENCE_CHECK_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "services/cli/bench_stamp.h"

namespace falaj::cli {

class SequenceCheck {
 public:
  struct Result {
    int64_t acknowledged = 0;
    int64_t received = 0;  // Distinct records.
    int64_t lost = 0;
    int64_t duplicates = 0;
    int64_t out_of_order = 0;

    bool ok() const { return lost == 0 && duplicates == 0 && out_of_order == 0; }
  };

  explicit SequenceCheck(int producers)
      : acknowledged_(static_cast<size_t>(producers)), received_(static_cast<size_t>(producers)) {}

  void Acknowledge(uint32_t producer, int64_t sequence) ABSL_LOCKS_EXCLUDED(mu_);
  // Stamps of one partition in the order they were received.
  void Receive(PartitionIndex partition, const std::vector<BenchStamp>& stamps)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Cheap: counts, no comparison.
  int64_t acknowledged() const ABSL_LOCKS_EXCLUDED(mu_);
  int64_t received() const ABSL_LOCKS_EXCLUDED(mu_);
  Result Finish() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Bits = std::vector<bool>;
  static bool Set(Bits* bits, int64_t sequence);  // False if it was set.

  mutable Mutex mu_;
  std::vector<Bits> acknowledged_ ABSL_GUARDED_BY(mu_);  // By producer.
  std::vector<Bits> received_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<PartitionIndex, uint32_t>, int64_t> last_ ABSL_GUARDED_BY(mu_);
  Result result_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_SEQUENCE_CHECK_H_
