#include "services/cli/store_walk.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/log/rocks_log_store.h"
#include "libs/record/batch_reader.h"
#include "services/cli/progress.h"

namespace falaj::cli {
namespace {

constexpr size_t kReadBytes = 4 << 20;

// Returns whether it could be read to its end.
bool WalkRun(const log::PartitionKey& key, const Bytes& run, BatchVisitor* visitor) {
  record::BatchIterator batches(run);
  while (!visitor->full()) {
    const absl::StatusOr<std::optional<Bytes>> batch = batches.Next();
    if (!batch.ok()) visitor->Damage(batch.status());
    if (!batch.ok() || !batch->has_value()) return batch.ok();
    visitor->Take(key, **batch);
  }
  return true;
}

absl::Status WalkFile(const std::string& path, BatchVisitor* visitor) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return MakeError(Reason::kInvalidRequest, absl::StrCat("cannot read ", path));
  std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const log::StoredPartition whole;
  visitor->Begin(whole, path);
  WalkRun(whole.key, Bytes::Own(std::move(content)), visitor);
  visitor->End();
  return absl::OkStatus();
}

// Calls `passed` with the offset that everything below was shown of.
void WalkPartition(const log::LogStore& store, const log::StoredPartition& partition,
                   BatchVisitor* visitor, const std::function<void(Offset)>& passed) {
  Offset at = partition.log_start;
  while (at < partition.log_end && !visitor->full()) {
    const absl::StatusOr<log::ReadResult> run =
        store.Read(partition.id, at, partition.log_end, kReadBytes);
    if (!run.ok() || run->next_offset <= at) {
      visitor->Damage(run.ok() ? MakeError(Reason::kCorruptRecord, "the log ends early")
                               : run.status());
      return;
    }
    if (!WalkRun(partition.key, run->batches, visitor)) return;
    at = run->next_offset;
    passed(at);
  }
}

absl::Status WalkStore(const std::string& store_directory, const std::string& directory,
                       BatchVisitor* visitor, bool show_progress) {
  log::RocksLogStore::Options options;
  options.directory = store_directory;
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<log::RocksLogStore> store,
                         log::RocksLogStore::Open(options));
  const std::vector<log::StoredPartition> partitions = store->ListPartitions();
  int64_t records = 0;
  for (const log::StoredPartition& one : partitions) records += one.log_end - one.log_start;
  ProgressBar progress(absl::StrCat("offsets in ", directory), records, Clock::Real());
  int64_t before = 0;  // Offsets of the partitions that are done.
  for (const log::StoredPartition& partition : partitions) {
    if (visitor->full()) break;
    visitor->Begin(partition, directory);
    WalkPartition(*store, partition, visitor, [&](Offset at) {
      if (show_progress) progress.Update(before + (at - partition.log_start), 0);
    });
    visitor->End();
    before += partition.log_end - partition.log_start;
  }
  return absl::OkStatus();
}

// The store directories at or below `path`: those that hold RocksDB's CURRENT file, except the Raft
// logs of metadata nodes.
std::vector<std::string> FindStores(const std::string& path) {
  std::vector<std::string> stores;
  const auto is_store = [](const std::filesystem::path& directory) {
    return std::filesystem::exists(directory / "CURRENT") && directory.filename() != "raft";
  };
  std::error_code error;
  if (is_store(path)) stores.push_back(path);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error)) {
    if (entry.is_directory() && is_store(entry.path())) stores.push_back(entry.path().string());
  }
  return stores;
}

}  // namespace

absl::Status WalkBatches(const std::string& path, BatchVisitor* visitor, bool show_progress) {
  if (!std::filesystem::is_directory(path)) return WalkFile(path, visitor);
  const std::vector<std::string> stores = FindStores(path);
  if (stores.empty()) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("no store of a storage node in ", path));
  }
  for (const std::string& store : stores) {
    FALAJ_RETURN_IF_ERROR(WalkStore(store, path, visitor, show_progress));
  }
  return absl::OkStatus();
}

}  // namespace falaj::cli
