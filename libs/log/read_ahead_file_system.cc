#include "libs/log/read_ahead_file_system.h"

#include <utility>

namespace falaj::log {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

class ReadAheadFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  explicit ReadAheadFile(std::unique_ptr<rocksdb::FSRandomAccessFile>&& file)
      : FSRandomAccessFileOwnerWrapper(std::move(file)) {}

  IOStatus Read(uint64_t offset, size_t bytes, const IOOptions& options, rocksdb::Slice* result,
                char* scratch, IODebugContext* debug) const override {
    IOStatus status = target()->Read(offset, bytes, options, result, scratch, debug);
    // A short read is the end of the file.
    const bool more = status.ok() && result->size() == bytes;
    if (more && bytes >= ReadAheadFileSystem::kReadMin) {
      target()->Prefetch(offset + bytes, bytes, options, debug).PermitUncheckedError();
    }
    return status;
  }
};

}  // namespace

IOStatus ReadAheadFileSystem::NewRandomAccessFile(
    const std::string& path, const rocksdb::FileOptions& options,
    std::unique_ptr<rocksdb::FSRandomAccessFile>* result, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSRandomAccessFile> file;
  IOStatus status = target()->NewRandomAccessFile(path, options, &file, debug);
  if (status.ok()) *result = std::make_unique<ReadAheadFile>(std::move(file));
  return status;
}

}  // namespace falaj::log
