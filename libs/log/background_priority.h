#ifndef LIBS_LOG_BACKGROUND_PRIORITY_H_
#define LIBS_LOG_BACKGROUND_PRIORITY_H_

#include "rocksdb/listener.h"

namespace falaj::log {

// BackgroundPriority lets RocksDB's flushes and compactions run behind everything else that wants
// the processor. A flush of a memtable is a burst of some hundred milliseconds of work, and the
// replicas of a partition have theirs at the same time; appends and their acknowledgements waited
// behind it. So did the entries of a Raft log. It still gets a share (StepBack), so that it keeps
// up with appends that take all there is.
//
// Threads: RocksDB's background threads.
class BackgroundPriority final : public rocksdb::EventListener {
 public:
  const char* Name() const override { return "falaj.BackgroundPriority"; }
  void OnFlushBegin(rocksdb::DB* db, const rocksdb::FlushJobInfo& info) override;
  void OnCompactionBegin(rocksdb::DB* db, const rocksdb::CompactionJobInfo& info) override;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_BACKGROUND_PRIORITY_H_
