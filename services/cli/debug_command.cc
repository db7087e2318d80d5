#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/log/rocks_log_store.h"
#include "libs/record/batch_reader.h"
#include "services/cli/commands.h"
#include "services/cli/record_format.h"
#include "services/cli/session.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

constexpr size_t kReadBytes = 4 << 20;

std::vector<std::string> BatchColumns() {
  return {"TOPIC-ID", "PARTITION", "BASE-OFFSET", "RECORDS",  "BYTES",
          "CODEC",    "EPOCH",     "TIMESTAMP",   "PRODUCER", "CRC"};
}

// What dump and verify have seen.
struct Tally {
  int64_t batches = 0;
  int64_t records = 0;
  int64_t damaged = 0;
  absl::Status first_damage;
};

// Looks at one batch, prints it if asked to, and counts.
class BatchInspector {
 public:
  BatchInspector(const DebugOptions& options, bool print)
      : options_(options), print_(print), table_(BatchColumns()) {}

  bool full() const { return options_.limit > 0 && tally_.batches >= options_.limit; }

  void Take(const std::string& topic, PartitionIndex partition, const Bytes& batch) {
    ++tally_.batches;
    const absl::StatusOr<record::BatchHeader> header = record::ParseBatchHeader(batch);
    const absl::Status crc = record::VerifyStoredBatch(batch).status();
    if (!crc.ok()) Damage(crc);
    if (!header.ok()) return;
    tally_.records += header->record_count;
    if (print_ && !options_.records) {
      table_.Add({topic, partition.value(), header->base_offset.value(), header->record_count,
                  static_cast<int64_t>(batch.size()), std::string(CodecName(header->codec())),
                  header->leader_epoch.value(),
                  PrettyTime(absl::FromUnixMillis(header->max_timestamp_ms)),
                  header->producer_id.value(), crc.ok() ? "ok" : "WRONG"});
    }
    const absl::Status walked =
        record::ForEachRecord(batch, record::Limits(), [&](const record::RecordView& record) {
          if (!print_ || !options_.records) return;
          std::puts(RecordJson(topic, partition, record, true).c_str());
        });
    if (crc.ok() && !walked.ok()) Damage(walked);
  }
  void Damage(const absl::Status& status) {
    if (tally_.damaged++ == 0) tally_.first_damage = status;
  }

  ExitCode Finish() const {
    if (print_ && !options_.records) table_.Print(options_.output);
    std::fprintf(stderr, "%s batches, %s records, %s damaged\n",
                 FormatCount(tally_.batches).c_str(), FormatCount(tally_.records).c_str(),
                 FormatCount(tally_.damaged).c_str());
    if (tally_.damaged == 0) return ExitCode::kOk;
    return Fail(tally_.first_damage);
  }

 private:
  const DebugOptions& options_;
  const bool print_;
  Table table_;
  Tally tally_;
};

void InspectRun(const std::string& topic, PartitionIndex partition, const Bytes& run,
                BatchInspector* inspector) {
  record::BatchIterator batches(run);
  while (!inspector->full()) {
    const absl::StatusOr<std::optional<Bytes>> batch = batches.Next();
    if (!batch.ok()) inspector->Damage(batch.status());
    if (!batch.ok() || !batch->has_value()) return;
    inspector->Take(topic, partition, **batch);
  }
}

absl::Status InspectFile(const std::string& path, BatchInspector* inspector) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return MakeError(Reason::kInvalidRequest, absl::StrCat("cannot read ", path));
  std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  InspectRun("", PartitionIndex(0), Bytes::Own(std::move(content)), inspector);
  return absl::OkStatus();
}

absl::Status InspectStore(const std::string& directory, BatchInspector* inspector) {
  log::RocksLogStore::Options options;
  options.directory = directory;
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<log::RocksLogStore> store,
                         log::RocksLogStore::Open(options));
  for (const log::StoredPartition& partition : store->ListPartitions()) {
    Offset at = partition.log_start;
    while (at < partition.log_end && !inspector->full()) {
      absl::StatusOr<log::ReadResult> run =
          store->Read(partition.id, at, partition.log_end, kReadBytes);
      if (!run.ok() || run->next_offset <= at) {
        inspector->Damage(run.ok() ? MakeError(Reason::kCorruptRecord, "the log ends early")
                                   : run.status());
        break;
      }
      InspectRun(partition.key.topic.ToString(), partition.key.partition, run->batches, inspector);
      at = run->next_offset;
    }
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

ExitCode RunDebug(const DebugOptions& options) {
  BatchInspector inspector(options, options.action != "verify");
  if (!std::filesystem::is_directory(options.path)) {
    const absl::Status status = InspectFile(options.path, &inspector);
    return status.ok() ? inspector.Finish() : FailUsage(status);
  }
  const std::vector<std::string> stores = FindStores(options.path);
  if (stores.empty()) {
    return FailUsage(MakeError(Reason::kInvalidRequest,
                               absl::StrCat("no store of a storage node in ", options.path)));
  }
  for (const std::string& store : stores) {
    if (absl::Status status = InspectStore(store, &inspector); !status.ok()) return Fail(status);
  }
  return inspector.Finish();
}

}  // namespace falaj::cli
