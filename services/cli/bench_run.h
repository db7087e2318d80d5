// One benchmark workload from its topic to its report.
#ifndef SERVICES_CLI_BENCH_RUN_H_
#define SERVICES_CLI_BENCH_RUN_H_

#include "absl/status/statusor.h"

#include "services/cli/bench_disk.h"
#include "services/cli/bench_report.h"
#include "services/cli/session.h"

namespace falaj::cli {

// Makes the topic if none is named, runs the phases of `options.workload`, reads everything back
// and checks it. An error means that the run could not be done, not that it found something.
//
//   produce         peak (rate 0), then paced at half of the peak; then everything is read back
//   consume         fills the topic, then reads it from the first record
//   end-to-end      produces at `rate` (default 1,000 a second) and consumes at the same time
//   backlog         fills the topic, then drains it while producing at `rate`
//   many-partitions produce over 1,000 partitions
//
// With the `disk` of a cluster that nobody else uses each phase begins when what went before is on
// it, and tells what reached it meanwhile.
absl::StatusOr<BenchReport> RunWorkload(const BenchOptions& options, const Session& session,
                                        const BenchDisk* disk);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_RUN_H_
