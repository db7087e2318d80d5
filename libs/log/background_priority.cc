#include "libs/log/background_priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>

#include "libs/base/log.h"

namespace falaj::log {
namespace {

// Two fifths of the weight of a thread that serves. At nice 10, a tenth, flushes did not keep up
// with 128 KiB batches at half of the peak, and appends waited for them.
constexpr int kNice = 4;

// Once for each of RocksDB's threads. On Linux a nice value is a thread's own.
void StepBack() {
  thread_local bool done = false;
  if (done) return;
  done = true;
  if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice) == 0) return;
  Warning("cannot lower the priority of a background thread", {{"errno", errno}});
}

}  // namespace

void BackgroundPriority::OnFlushBegin(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) {
  StepBack();
}

void BackgroundPriority::OnCompactionBegin(rocksdb::DB* /*db*/,
                                           const rocksdb::CompactionJobInfo& /*info*/) {
  StepBack();
}

}  // namespace falaj::log
