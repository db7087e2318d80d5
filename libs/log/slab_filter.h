// What RocksDB needs to drop the dead batches of a slab while it rewrites the others.
#ifndef LIBS_LOG_SLAB_FILTER_H_
#define LIBS_LOG_SLAB_FILTER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "rocksdb/compaction_filter.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"

namespace falaj::log {

// What a slab has to keep: of each partition with batches in it, the keys from this offset on.
using Survivors = std::map<LocalPartitionId, Offset>;

// nullopt if `key` stays, or is not understood; else the next key that may stay.
std::optional<std::string> SkipDead(const Survivors& keep, absl::string_view key);

// SlabFilterFactory gives RocksDB the filters for rewriting slabs. A column family of which nothing
// was said is compacted whole.
//
// Owned by the store and by the options of its slabs. Threads: any.
class SlabFilterFactory final : public rocksdb::CompactionFilterFactory {
 public:
  static const char* kClassName() { return "falaj.SlabFilterFactory"; }
  const char* Name() const override { return kClassName(); }
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& context) override;

  // While this lives, compactions of the column family keep only the survivors.
  class Scope {
   public:
    Scope(SlabFilterFactory* factory, uint32_t family, std::shared_ptr<const Survivors> keep);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    SlabFilterFactory* const factory_;
    const uint32_t family_;
  };

 private:
  Mutex mu_;
  absl::flat_hash_map<uint32_t, std::shared_ptr<const Survivors>> keep_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::log

#endif  // LIBS_LOG_SLAB_FILTER_H_
