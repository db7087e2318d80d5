// How the store sets RocksDB up: options chosen by measurement and by the defects of version 7.8.3.
// Plain functions; the reasons stand beside the settings in the .cc file.
#ifndef LIBS_LOG_ROCKS_CONFIG_H_
#define LIBS_LOG_ROCKS_CONFIG_H_

#include <memory>
#include <string>

#include "rocksdb/cache.h"
#include "rocksdb/options.h"

#include "libs/log/rocks_log_store.h"

namespace falaj::log {

rocksdb::DBOptions MakeDbOptions(const RocksLogStore::Options& options, rocksdb::Env* env,
                                 std::shared_ptr<rocksdb::EventListener> listener);
rocksdb::ColumnFamilyOptions MakeSlabOptions(const RocksLogStore::Options& options,
                                             std::shared_ptr<rocksdb::Cache> cache);
rocksdb::ColumnFamilyOptions MakeMetaOptions(std::shared_ptr<rocksdb::Cache> cache);

}  // namespace falaj::log

#endif  // LIBS_LOG_ROCKS_CONFIG_H_
