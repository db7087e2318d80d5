#include "libs/log/rocks_crc32c.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "libs/base/crc32c.h"

namespace rocksdb::crc32c {

// As RocksDB declares it, in a header it does not install.
uint32_t Extend(uint32_t init_crc, const char* data, size_t n) {
  return falaj::crc32c::Extend(init_crc, absl::string_view(data, n));
}

}  // namespace rocksdb::crc32c

namespace falaj::log {

bool RocksUsesOurCrc32c() {
  // What the linker finds for a shared RocksDB: the first definition of all that are loaded. Of one
  // that is linked in there is none to find: this strong definition has replaced the archive's.
  const void* const found = dlsym(RTLD_DEFAULT, "_ZN7rocksdb6crc32c6ExtendEjPKcm");
  return found == nullptr || found == reinterpret_cast<const void*>(&rocksdb::crc32c::Extend);
}

}  // namespace falaj::log
