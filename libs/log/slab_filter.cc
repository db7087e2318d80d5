#include "libs/log/slab_filter.h"

#include <utility>

#include "libs/log/key_format.h"

namespace falaj::log {
namespace {

constexpr char kBehindAllKeys[] = "E";  // They begin with D.

class SlabFilter final : public rocksdb::CompactionFilter {
 public:
  explicit SlabFilter(std::shared_ptr<const Survivors> keep) : keep_(std::move(keep)) {}
  const char* Name() const override { return "falaj.SlabFilter"; }
  // Skips from one survivor to the next, so that what is dead is not even read.
  Decision FilterV2(int /*level*/, const rocksdb::Slice& key, ValueType /*type*/,
                    const rocksdb::Slice& /*value*/, std::string* /*new_value*/,
                    std::string* skip_until) const override {
    const std::optional<std::string> next = SkipDead(*keep_, {key.data(), key.size()});
    if (!next.has_value()) return Decision::kKeep;
    *skip_until = *next;
    return Decision::kRemoveAndSkipUntil;
  }

 private:
  const std::shared_ptr<const Survivors> keep_;
};

}  // namespace

std::optional<std::string> SkipDead(const Survivors& keep, absl::string_view key) {
  const std::optional<LocalPartitionId> id = PartitionOfDataKey(key);
  if (!id.has_value()) return std::nullopt;
  const auto next = keep.lower_bound(*id);
  if (next == keep.end()) return kBehindAllKeys;
  if (next->first == *id) {
    const std::optional<Offset> base = ParseDataKey(key, *id);
    if (!base.has_value() || *base >= next->second) return std::nullopt;
  }
  return DataKey(next->first, next->second);
}

std::unique_ptr<rocksdb::CompactionFilter> SlabFilterFactory::CreateCompactionFilter(
    const rocksdb::CompactionFilter::Context& context) {
  MutexLock lock(&mu_);
  const auto found = keep_.find(context.column_family_id);
  if (found == keep_.end()) return nullptr;
  return std::make_unique<SlabFilter>(found->second);
}

SlabFilterFactory::Scope::Scope(SlabFilterFactory* factory, uint32_t family,
                                std::shared_ptr<const Survivors> keep)
    : factory_(factory), family_(family) {
  MutexLock lock(&factory_->mu_);
  factory_->keep_[family_] = std::move(keep);
}

SlabFilterFactory::Scope::~Scope() {
  MutexLock lock(&factory_->mu_);
  factory_->keep_.erase(family_);
}

}  // namespace falaj::log
