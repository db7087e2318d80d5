#include "libs/base/thread_priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "libs/base/log.h"

namespace falaj {

// On Linux a nice value is a thread's own.
void StepBack(int nice) {
  if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), nice) == 0) return;
  log::Warning("cannot lower the priority of a background thread", {{"errno", errno}});
}

}  // namespace falaj
