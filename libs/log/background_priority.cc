#include "libs/log/background_priority.h"

#include <utility>

#include "libs/base/thread_priority.h"

namespace falaj::log {
namespace {

// Two fifths of the weight of a thread that serves. At nice 10, a tenth, flushes did not keep up
// with 128 KiB batches at half of the peak, and appends waited for them.
constexpr int kNice = 4;

// Once for each of RocksDB's threads.
void StepBackOnce() {
  thread_local bool done = false;
  if (!std::exchange(done, true)) StepBack(kNice);
}

}  // namespace

void BackgroundPriority::OnFlushBegin(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) {
  StepBackOnce();
}

void BackgroundPriority::OnCompactionBegin(rocksdb::DB* /*db*/,
                                           const rocksdb::CompactionJobInfo& /*info*/) {
  StepBackOnce();
}

}  // namespace falaj::log
