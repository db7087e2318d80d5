#ifndef LIBS_LOG_SLAB_FAMILY_H_
#define LIBS_LOG_SLAB_FAMILY_H_

#include <cstdint>
#include <memory>

#include "rocksdb/db.h"

#include "libs/base/clock.h"
#include "libs/log/slab_directory.h"
#include "libs/log/slab_filter.h"

namespace falaj::log {

// A slab's column family. Readers hold it while they read, so that dropping a slab under them is
// harmless.
struct SlabFamily {
  SlabFamily(rocksdb::DB* owner, rocksdb::ColumnFamilyHandle* family) : db(owner), handle(family) {}
  SlabFamily(const SlabFamily&) = delete;
  SlabFamily& operator=(const SlabFamily&) = delete;
  ~SlabFamily();

  rocksdb::DB* const db;
  rocksdb::ColumnFamilyHandle* const handle;
};

// A slab to be rewritten, as soon as no reader holds what was given out before.
struct SlabRewrite {
  SlabId slab;
  std::shared_ptr<SlabFamily> before;
  std::shared_ptr<const Survivors> keep;
};

// What Maintain remembers of a memtable.
struct MemtableAge {
  uint64_t bytes = 0;
  MonotonicTime dirty_since;
  int64_t unsynced_before = 0;
  int64_t synced_before = 0;
  int64_t wal_before = 0;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_SLAB_FAMILY_H_
