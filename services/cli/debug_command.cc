#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "libs/base/status.h"
#include "libs/record/batch_reader.h"
#include "services/cli/commands.h"
#include "services/cli/record_format.h"
#include "services/cli/session.h"
#include "services/cli/store_walk.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

std::vector<std::string> BatchColumns() {
  return {"TOPIC-ID", "PARTITION", "BASE-OFFSET", "RECORDS",  "BYTES",
          "CODEC",    "EPOCH",     "TIMESTAMP",   "PRODUCER", "CRC"};
}

// What was seen.
struct Tally {
  int64_t batches = 0;
  int64_t records = 0;
  int64_t damaged = 0;
  absl::Status first_damage;
};

// Prints every batch, or its records, and counts.
class BatchPrinter final : public BatchVisitor {
 public:
  explicit BatchPrinter(const DebugOptions& options) : options_(options), table_(BatchColumns()) {}

  bool full() const override { return options_.limit > 0 && tally_.batches >= options_.limit; }
  void Begin(const log::StoredPartition& /*partition*/, const std::string& /*directory*/) override {
  }
  void End() override {}

  void Take(const log::PartitionKey& key, const Bytes& batch) override {
    // Of a file nobody knows the topic.
    const std::string topic = key.topic.is_nil() ? "" : key.topic.ToString();
    ++tally_.batches;
    const absl::StatusOr<record::BatchHeader> header = record::ParseBatchHeader(batch);
    const absl::Status crc = record::VerifyStoredBatch(batch).status();
    if (!crc.ok()) Damage(crc);
    if (!header.ok()) return;
    tally_.records += header->record_count;
    if (!options_.records) {
      table_.Add({topic, key.partition.value(), header->base_offset.value(), header->record_count,
                  static_cast<int64_t>(batch.size()), std::string(CodecName(header->codec())),
                  header->leader_epoch.value(),
                  PrettyTime(absl::FromUnixMillis(header->max_timestamp_ms)),
                  header->producer_id.value(), crc.ok() ? "ok" : "WRONG"});
    }
    const absl::Status walked =
        record::ForEachRecord(batch, record::Limits(), [&](const record::RecordView& record) {
          if (options_.records) {
            std::puts(RecordJson(topic, key.partition, record, true).c_str());
          }
        });
    if (crc.ok() && !walked.ok()) Damage(walked);
  }
  void Damage(const absl::Status& status) override {
    if (tally_.damaged++ == 0) tally_.first_damage = status;
  }

  ExitCode Finish() const {
    if (!options_.records) table_.Print(options_.output);
    std::fprintf(stderr, "%s batches, %s records, %s damaged\n",
                 FormatCount(tally_.batches).c_str(), FormatCount(tally_.records).c_str(),
                 FormatCount(tally_.damaged).c_str());
    if (tally_.damaged == 0) return ExitCode::kOk;
    return Fail(tally_.first_damage);
  }

 private:
  const DebugOptions& options_;
  Table table_;
  Tally tally_;
};

}  // namespace

ExitCode RunDebug(const DebugOptions& options) {
  BatchPrinter printer(options);
  const bool shows_batches = isatty(STDOUT_FILENO) == 1;  // A bar between them would be in the way.
  const absl::Status status = WalkBatches(options.path, &printer, !shows_batches);
  if (status.ok()) return printer.Finish();
  return ReasonOf(status) == Reason::kInvalidRequest ? FailUsage(status) : Fail(status);
}

}  // namespace falaj::cli
