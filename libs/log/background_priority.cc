#include "libs/log/background_priority.h"

#include "libs/base/thread_priority.h"

namespace falaj::log {

void BackgroundPriority::OnFlushBegin(rocksdb::DB* /*db*/, const rocksdb::FlushJobInfo& /*info*/) {
  StepBack();
}

void BackgroundPriority::OnCompactionBegin(rocksdb::DB* /*db*/,
                                           const rocksdb::CompactionJobInfo& /*info*/) {
  StepBack();
}

}  // namespace falaj::log
