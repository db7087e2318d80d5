// falaj debug release-quarantine: gives up what a recovered metadata quorum does not know of.
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "libs/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/output.h"
#include "services/cli/session.h"
#include "services/storage/known_history.h"

namespace falaj::cli {
namespace {

constexpr char kReleaseRisk[] =
    R"(These partitions were on this storage node when the metadata quorum lost its majority, and
the recovered quorum does not give them to it. Their records may be nowhere else. Released, they
are deleted when the node starts again, unless the quorum gives them to it by then.
To keep their records: falaj debug dump-log DIR --records
)";

absl::StatusOr<ExitCode> Release(const ReleaseQuarantineOptions& options) {
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<storage::KnownHistory> history,
                         storage::KnownHistory::Open(options.path));
  Table table({"TOPIC-ID", "PARTITION"});
  for (const log::PartitionKey& key : history->Quarantined()) {
    table.Add({key.topic.ToString(), key.partition.value()});
  }
  table.Print(options.output);
  if (options.yes_lose_data) {
    FALAJ_RETURN_IF_ERROR(history->Release());
    return ExitCode::kOk;
  }
  if (history->quarantined_count() == 0) return ExitCode::kOk;
  std::fputs(kReleaseRisk, stderr);
  std::fputs("Nothing was changed. To go on: --yes-lose-data\n", stderr);
  return ExitCode::kUsage;
}

}  // namespace

ExitCode RunReleaseQuarantine(const ReleaseQuarantineOptions& options) {
  const absl::StatusOr<ExitCode> done = Release(options);
  return done.ok() ? *done : Fail(done.status());
}

}  // namespace falaj::cli
