#include <cstdio>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/record/batch_reader.h"
#include "services/cli/acknowledged_records.h"
#include "services/cli/commands.h"
#include "services/cli/replica_comparison.h"
#include "services/cli/session.h"
#include "services/cli/store_walk.h"
#include "services/cli/values.h"
#include "services/storage/known_history.h"

namespace falaj::cli {
namespace {

constexpr size_t kFindingsPrinted = 10;

// Checks every batch it is shown, and remembers what the comparison needs.
class BatchVerifier final : public BatchVisitor {
 public:
  explicit BatchVerifier(AcknowledgedRecords* acknowledged) : acknowledged_(acknowledged) {}

  bool full() const override { return false; }

  void Begin(const log::StoredPartition& partition, const std::string& directory) override {
    where_ = absl::StrCat(PartitionName(partition.key), " in ", directory);
    comparison_.Begin(partition, directory);
    acknowledged_->Begin(partition);
  }

  void Take(const log::PartitionKey& /*key*/, const Bytes& batch) override {
    ++batches_;
    const absl::StatusOr<record::BatchHeader> header = record::VerifyStoredBatch(batch);
    if (!header.ok()) {
      Damage(header.status());
      // Its place is still known: what follows it shall not be called a gap as well.
      if (const auto parsed = record::ParseBatchHeader(batch); parsed.ok()) Note(*parsed);
      return;
    }
    records_ += header->record_count;
    Note(*header);
    const absl::Status walked = record::ForEachRecord(
        batch, record::Limits(),
        [&](const record::RecordView& record) { Find(acknowledged_->Show(record)); });
    if (!walked.ok()) Damage(walked);
  }

  void End() override { Find(acknowledged_->Finish()); }
  void Damage(const absl::Status& status) override { Find(std::string(status.message())); }

  const ReplicaComparison& comparison() const { return comparison_; }
  const std::vector<std::string>& findings() const { return findings_; }
  int64_t batches() const { return batches_; }
  int64_t records() const { return records_; }

 private:
  void Note(const record::BatchHeader& header) { Find(comparison_.Add(header)); }
  void Find(const std::optional<std::string>& wrong) {
    if (wrong.has_value()) findings_.push_back(absl::StrCat(where_, ": ", *wrong));
  }

  AcknowledgedRecords* const acknowledged_;
  ReplicaComparison comparison_;
  std::string where_;  // What is shown now, for people.
  std::vector<std::string> findings_;
  int64_t batches_ = 0;
  int64_t records_ = 0;
};

absl::Status LoadAcknowledged(const std::string& path, AcknowledgedRecords* acknowledged) {
  if (path.empty()) return absl::OkStatus();
  std::ifstream file(path);
  if (!file) return MakeError(Reason::kInvalidRequest, absl::StrCat("cannot read ", path));
  return acknowledged->Load(file);
}

void PrintSummary(const BatchVerifier& verifier, const AcknowledgedRecords& acknowledged,
                  ReplicaComparison::Extent extent, bool with_acknowledged) {
  const ReplicaComparison& comparison = verifier.comparison();
  std::fprintf(stderr, "%s batches, %s records in %s replicas of %s partitions; %s batches alike\n",
               FormatCount(verifier.batches()).c_str(), FormatCount(verifier.records()).c_str(),
               FormatCount(comparison.replicas()).c_str(),
               FormatCount(comparison.partitions()).c_str(),
               FormatCount(comparison.batches_alike(extent)).c_str());
  if (!with_acknowledged) return;
  std::fprintf(stderr, "%s acknowledged records: %s found on disk over all replicas, %s deleted\n",
               FormatCount(acknowledged.records()).c_str(),
               FormatCount(acknowledged.found()).c_str(),
               FormatCount(acknowledged.deleted()).c_str());
}

// Partitions in quarantine are checked as all others; that they are there is told, and no finding.
absl::Status PrintQuarantine(const std::string& path) {
  FALAJ_ASSIGN_OR_RETURN(const auto history, storage::KnownHistory::Open(path));
  for (const log::PartitionKey& key : history->Quarantined()) {
    std::fprintf(stderr,
                 "%s in %s is in quarantine: the recovered metadata quorum does not put it there\n",
                 PartitionName(key).c_str(), path.c_str());
  }
  return absl::OkStatus();
}

ExitCode Report(const std::vector<std::string>& findings) {
  if (findings.empty()) return ExitCode::kOk;
  for (size_t i = 0; i < findings.size() && i < kFindingsPrinted; ++i) {
    std::fprintf(stderr, "%s\n", findings[i].c_str());
  }
  std::string sum = absl::StrCat("findings: ", FormatCount(static_cast<int64_t>(findings.size())));
  if (findings.size() > kFindingsPrinted) {
    absl::StrAppend(&sum, ", of which the first ", kFindingsPrinted, " are printed");
  }
  return Fail(MakeError(Reason::kCorruptRecord, sum));
}

}  // namespace

ExitCode RunVerify(const VerifyOptions& options) {
  AcknowledgedRecords acknowledged;
  if (absl::Status status = LoadAcknowledged(options.acknowledged, &acknowledged); !status.ok()) {
    return FailUsage(status);
  }
  BatchVerifier verifier(&acknowledged);
  for (const std::string& path : options.paths) {
    absl::Status status = WalkBatches(path, &verifier, /*show_progress=*/true);
    if (status.ok()) status = PrintQuarantine(path);
    if (status.ok()) continue;
    return ReasonOf(status) == Reason::kInvalidRequest ? FailUsage(status) : Fail(status);
  }
  const auto extent = options.in_sync ? ReplicaComparison::Extent::kLogEnd
                                      : ReplicaComparison::Extent::kHighWatermark;
  std::vector<std::string> findings = verifier.findings();
  for (std::string& difference : verifier.comparison().Differences(extent)) {
    findings.push_back(std::move(difference));
  }
  for (std::string& few : verifier.comparison().TooFew(options.replicas)) {
    findings.push_back(std::move(few));
  }
  if (std::optional<std::string> unseen = acknowledged.Unseen(options.replicas)) {
    findings.push_back(*unseen);
  }
  if (options.nothing_deleted && acknowledged.deleted() > 0) {
    findings.push_back(
        absl::StrCat(acknowledged.deleted(), " acknowledged records are below the start of a log"));
  }
  const bool several = verifier.comparison().replicas() > verifier.comparison().partitions();
  if (several && verifier.batches() > 0 && verifier.comparison().batches_alike(extent) == 0) {
    findings.push_back(
        "nothing was compared: no two replicas have a batch below the high watermark");
  }
  PrintSummary(verifier, acknowledged, extent, !options.acknowledged.empty());
  return Report(findings);
}

}  // namespace falaj::cli
