#include "libs/base/thread_priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "libs/base/log.h"

namespace falaj {
namespace {

// At nice 10, a tenth, flushes of the store did not keep up with 128 KiB batches at half of the
// peak, and appends waited for them.
constexpr int kNice = 4;

}  // namespace

void StepBack() {
  thread_local bool done = false;
  if (done) return;
  done = true;
  // On Linux a nice value is a thread's own.
  if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice) == 0) return;
  log::Warning("cannot lower the priority of a background thread", {{"errno", errno}});
}

}  // namespace falaj
