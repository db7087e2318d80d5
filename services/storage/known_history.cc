#include "services/storage/known_history.h"

#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"
#include "services/storage/small_file.h"

namespace falaj::storage {
namespace {

constexpr char kName[] = "history";
constexpr absl::string_view kMagic = "falaj-history 1";
constexpr absl::string_view kSum = "crc32c ";

absl::Status Damaged(const std::string& data_dir) {
  const std::string path = absl::StrCat(data_dir, "/", kName);
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat(path,
                                " is damaged. Without it the node sets aside anew what the "
                                "metadata quorum does not give it, if that was ever recovered"),
                   {{"path", path}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<KnownHistory>> KnownHistory::Open(const std::string& data_dir) {
  std::unique_ptr<KnownHistory> history(new KnownHistory(data_dir));
  const std::string path = absl::StrCat(data_dir, "/", kName);
  const std::optional<std::string> text = ReadFile(path);
  if (!text.has_value()) {
    // What cannot be read may name partitions that must not be dropped.
    if (std::filesystem::exists(path)) return FileFailed("cannot read", path);
    return history;
  }
  {
    MutexLock lock(&history->mu_);
    FALAJ_RETURN_IF_ERROR(history->Load(*text));
  }
  return history;
}

absl::Status KnownHistory::Load(const std::string& text) {
  const size_t sum_at = absl::string_view(text).rfind(kSum);
  uint32_t sum = 0;
  if (sum_at == absl::string_view::npos ||
      !absl::SimpleAtoi(absl::string_view(text).substr(sum_at + kSum.size()), &sum) ||
      crc32c::Of(absl::string_view(text).substr(0, sum_at)) != sum) {
    return Damaged(data_dir_);
  }
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::string_view(text).substr(0, sum_at), '\n', absl::SkipEmpty());
  if (lines.empty() || lines.front() != kMagic) return Damaged(data_dir_);
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<absl::string_view> words = absl::StrSplit(lines[i], ' ');
    int32_t partition = 0;
    if (words.size() == 2 && words[0] == "recoveries") {
      if (!absl::SimpleAtoi(words[1], &recoveries_)) return Damaged(data_dir_);
    } else if (words.size() == 3 && words[0] == "quarantined" &&
               absl::SimpleAtoi(words[2], &partition)) {
      const absl::StatusOr<Uuid> topic = Uuid::Parse(words[1]);
      if (!topic.ok()) return Damaged(data_dir_);
      quarantined_.insert({TopicId(*topic), PartitionIndex(partition)});
    } else {
      return Damaged(data_dir_);
    }
  }
  return absl::OkStatus();
}

absl::Status KnownHistory::Save(uint64_t recoveries, std::set<log::PartitionKey> quarantined) {
  std::string text = absl::StrCat(kMagic, "\nrecoveries ", recoveries, "\n");
  for (const log::PartitionKey& key : quarantined) {
    absl::StrAppend(&text, "quarantined ", key.topic.ToString(), " ", key.partition.value(), "\n");
  }
  absl::StrAppend(&text, kSum, crc32c::Of(text), "\n");
  FALAJ_RETURN_IF_ERROR(ReplaceFile(data_dir_, kName, text));
  recoveries_ = recoveries;
  quarantined_ = std::move(quarantined);
  return absl::OkStatus();
}

uint64_t KnownHistory::recoveries() const {
  MutexLock lock(&mu_);
  return recoveries_;
}

bool KnownHistory::IsQuarantined(const log::PartitionKey& key) const {
  MutexLock lock(&mu_);
  return quarantined_.contains(key);
}

std::vector<log::PartitionKey> KnownHistory::Quarantined() const {
  MutexLock lock(&mu_);
  return {quarantined_.begin(), quarantined_.end()};
}

size_t KnownHistory::quarantined_count() const {
  MutexLock lock(&mu_);
  return quarantined_.size();
}

absl::Status KnownHistory::Adopt(uint64_t recoveries,
                                 const std::vector<log::PartitionKey>& unknown) {
  MutexLock lock(&mu_);
  std::set<log::PartitionKey> quarantined = quarantined_;
  quarantined.insert(unknown.begin(), unknown.end());
  return Save(recoveries, std::move(quarantined));
}

absl::Status KnownHistory::Release() {
  MutexLock lock(&mu_);
  return Save(recoveries_, {});
}

}  // namespace falaj::storage
