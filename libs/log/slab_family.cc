#include "libs/log/slab_family.h"

#include "libs/base/log.h"

namespace falaj::log {

SlabFamily::~SlabFamily() {
  const rocksdb::Status status = db->DestroyColumnFamilyHandle(handle);
  if (!status.ok()) Warning("cannot release a slab", {{"error", status.ToString()}});
}

}  // namespace falaj::log
