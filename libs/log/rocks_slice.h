// RocksDB's bytes as ours.
#ifndef LIBS_LOG_ROCKS_SLICE_H_
#define LIBS_LOG_ROCKS_SLICE_H_

#include "absl/strings/string_view.h"
#include "rocksdb/slice.h"

namespace falaj::log {

inline absl::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace falaj::log

#endif  // LIBS_LOG_ROCKS_SLICE_H_
