// ErrorCounters is falaj_errors_total{reason}: how many errors a server has answered with, whole
// requests and parts of requests alike.
//
// ServerHost counts the status of every call. A service counts the errors it reports inside an
// answer (a failed partition of a fetch) itself. Any number of ErrorCounters on one Registry share
// the same series.
//
// Threads: any.
#ifndef LIBS_TELEMETRY_ERROR_COUNTERS_H_
#define LIBS_TELEMETRY_ERROR_COUNTERS_H_

#include <vector>

#include "absl/status/status.h"

#include "libs/base/status.h"
#include "libs/telemetry/registry.h"

namespace falaj::telemetry {

class ErrorCounters {
 public:
  explicit ErrorCounters(Registry* registry);  // Not owned; outlives this.

  // Does nothing for kNone.
  void Count(Reason reason);
  void Count(const absl::Status& status) { Count(ReasonOf(status)); }

 private:
  std::vector<Counter*> counters_;  // By Reason.
};

}  // namespace falaj::telemetry

#endif  // LIBS_TELEMETRY_ERROR_COUNTERS_H_
