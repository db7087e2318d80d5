// Backoff is how long to wait between attempts: it doubles from base to max, and each wait is drawn
// between half of that and all of it, so that many clients do not come back at the same moment.
// Not thread-safe.
#ifndef LIBS_RPC_RETRY_H_
#define LIBS_RPC_RETRY_H_

#include "absl/time/time.h"

#include "libs/base/random.h"

namespace falaj::rpc {

class Backoff {
 public:
  struct Options {
    absl::Duration base = absl::Milliseconds(100);
    absl::Duration max = absl::Seconds(2);
  };

  Backoff(const Options& options, Random random) : options_(options), random_(random) {}

  // The wait before the next attempt.
  absl::Duration Next();
  // After a success: begin again at base.
  void Reset() { attempts_ = 0; }

 private:
  const Options options_;
  Random random_;
  int attempts_ = 0;
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_RETRY_H_
