// Outcomes is what became of several things asked for at once: each failure is told when it
// happens, and the exit code says whether all, some or none were done.
#ifndef SERVICES_CLI_OUTCOMES_H_
#define SERVICES_CLI_OUTCOMES_H_

#include "absl/status/status.h"

#include "services/cli/output.h"
#include "services/cli/session.h"

namespace falaj::cli {

class Outcomes {
 public:
  void Add(const absl::Status& status) {
    ++count_;
    if (status.ok()) return;
    ++failed_;
    const ExitCode code = Fail(status);
    if (failed_ == 1) first_ = code;
  }
  bool all_failed() const { return count_ > 0 && failed_ == count_; }
  ExitCode code() const {
    if (failed_ == 0) return ExitCode::kOk;
    return all_failed() ? first_ : ExitCode::kPartial;
  }

 private:
  int count_ = 0;
  int failed_ = 0;
  ExitCode first_ = ExitCode::kOk;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_OUTCOMES_H_
