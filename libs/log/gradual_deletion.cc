#include "libs/log/gradual_deletion.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"

namespace falaj::log {
namespace {

constexpr absl::string_view kSuffix = ".deleted";  // RocksDB has a ".trash" of its own.
// In which what waits would be gone at the rate it goes at now.
constexpr int64_t kLogSeconds = 1;
constexpr int64_t kTableSeconds = 10;

bool IsLog(absl::string_view path) { return absl::EndsWith(path, ".log"); }
bool IsOurs(absl::string_view path) { return IsLog(path) || absl::EndsWith(path, ".sst"); }

}  // namespace

void DeletionQueue::Add(const std::string& path, int64_t size_bytes, bool is_log) {
  Line& line = is_log ? logs_ : tables_;
  line.files.push_back({path, size_bytes});
  line.bytes += size_bytes;
}

std::optional<DeletionQueue::Step> DeletionQueue::Next(bool hurry) {
  if (empty()) return std::nullopt;
  const bool of_log = has_logs();
  Line& line = of_log ? logs_ : tables_;
  const int64_t rate = of_log ? std::max(kLogBytesPerSecondMin, line.bytes / kLogSeconds)
                              : std::max(kTableBytesPerSecondMin, line.bytes / kTableSeconds);
  File& file = line.files.front();
  Step step;
  step.path = file.path;
  step.of_log = of_log;
  if (!hurry) {
    step.keep_bytes = std::max<int64_t>(file.size_bytes - kPieceBytes, 0);
    step.pause = absl::Seconds(1) * (file.size_bytes - step.keep_bytes) / rate;
  }
  line.bytes -= file.size_bytes - step.keep_bytes;
  file.size_bytes = step.keep_bytes;
  if (step.keep_bytes == 0) line.files.pop_front();
  return step;
}

GradualDeletion::GradualDeletion(const std::shared_ptr<rocksdb::FileSystem>& target)
    : FileSystemWrapper(target), thread_([this] { Run(); }) {}

GradualDeletion::~GradualDeletion() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void GradualDeletion::Adopt(const std::string& directory) {
  std::vector<std::string> names;
  if (!target()->GetChildren(directory, {}, &names, nullptr).ok()) return;
  for (const std::string& name : names) {
    absl::string_view original = name;
    if (!absl::ConsumeSuffix(&original, kSuffix) || !IsOurs(original)) continue;
    const std::string path = absl::StrCat(directory, "/", name);
    uint64_t size = 0;
    if (!target()->GetFileSize(path, {}, &size, nullptr).ok()) size = 0;  // Deleted in one piece.
    MutexLock lock(&mu_);
    if (hurry_) {  // Whoever opens a store on a full disk cannot wait for the thread.
      Take({.path = path, .keep_bytes = 0, .pause = {}, .of_log = false});
    } else {
      queue_.Add(path, static_cast<int64_t>(size), IsLog(original));
      changed_.NotifyAll();
    }
  }
}

void GradualDeletion::SetHurry(bool hurry) {
  MutexLock lock(&mu_);
  hurry_ = hurry;
  changed_.NotifyAll();
}

int64_t GradualDeletion::waiting_bytes() const {
  MutexLock lock(&mu_);
  return queue_.bytes();
}

rocksdb::IOStatus GradualDeletion::DeleteFile(const std::string& path,
                                              const rocksdb::IOOptions& options,
                                              rocksdb::IODebugContext* debug) {
  bool at_once = !IsOurs(path);
  {
    MutexLock lock(&mu_);
    at_once = at_once || hurry_ || stopping_;
  }
  uint64_t size = 0;
  const std::string trash = absl::StrCat(path, kSuffix);
  if (at_once || !target()->GetFileSize(path, options, &size, debug).ok() ||
      size <= static_cast<uint64_t>(DeletionQueue::kPieceBytes) ||
      !target()->RenameFile(path, trash, options, debug).ok()) {
    return target()->DeleteFile(path, options, debug);
  }
  MutexLock lock(&mu_);
  queue_.Add(trash, static_cast<int64_t>(size), IsLog(path));
  changed_.NotifyAll();
  return rocksdb::IOStatus::OK();
}

void GradualDeletion::Take(const DeletionQueue::Step& step) const {
  if (step.keep_bytes > 0) {
    // If it cannot be cut it goes in one piece, in the end.
    std::unique_ptr<rocksdb::FSWritableFile> file;
    rocksdb::IOStatus cut = target()->ReopenWritableFile(step.path, {}, &file, nullptr);
    if (cut.ok()) cut = file->Truncate(static_cast<uint64_t>(step.keep_bytes), {}, nullptr);
    cut.PermitUncheckedError();
    return;
  }
  const rocksdb::IOStatus done = target()->DeleteFile(step.path, {}, nullptr);
  if (!done.ok()) {
    log::Warning("a deleted file still takes room",
                 {{"path", step.path}, {"error", done.ToString()}});
  }
}

void GradualDeletion::Run() {
  while (true) {
    std::optional<DeletionQueue::Step> step;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && queue_.empty()) changed_.Wait(&mu_);
      if (stopping_) return;
      step = queue_.Next(hurry_);
    }
    const MonotonicTime next = Clock::Real()->MonotonicNow() + step->pause;
    Take(*step);
    MutexLock lock(&mu_);
    while (!stopping_ && !hurry_ && (step->of_log || !queue_.has_logs())) {
      const absl::Duration left = next - Clock::Real()->MonotonicNow();
      if (left <= absl::ZeroDuration()) break;
      changed_.WaitFor(&mu_, left);
    }
  }
}

}  // namespace falaj::log
