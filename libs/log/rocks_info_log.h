// RocksInfoLog hands what RocksDB has to say to Falaj's log: warnings and worse.
//
// Every database of ours gets one. Without it RocksDB keeps a file LOG in the data directory, and
// the packaged library (7.8.3, built with assertions) aborts the process at the second line it
// cannot write there: a full disk would kill the node just when RocksDB reports that it is full.
//
// Threads: any.
#ifndef LIBS_LOG_ROCKS_INFO_LOG_H_
#define LIBS_LOG_ROCKS_INFO_LOG_H_

#include <cstdarg>
#include <string>

#include "rocksdb/env.h"

namespace falaj::log {

class RocksInfoLog final : public rocksdb::Logger {
 public:
  explicit RocksInfoLog(std::string directory);

  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override;

 private:
  const std::string directory_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_ROCKS_INFO_LOG_H_
