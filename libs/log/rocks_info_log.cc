#include "libs/log/rocks_info_log.h"

#include <array>
#include <cstdio>
#include <utility>

#include "libs/base/log.h"
#include "libs/log/rocks_crc32c.h"

namespace falaj::log {

RocksInfoLog::RocksInfoLog(std::string directory)
    : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), directory_(std::move(directory)) {
  if (RocksUsesOurCrc32c()) return;
  Warning("RocksDB computes checksums without the processor's instruction: writes cost more",
          {{"directory", directory_}});
}

void RocksInfoLog::Logv(const char* format, va_list arguments) {
  std::array<char, 1024> line;  // Longer ones are cut.
  std::vsnprintf(line.data(), line.size(), format, arguments);
  Warning("rocksdb", {{"directory", directory_}, {"says", std::string(line.data())}});
}

}  // namespace falaj::log
