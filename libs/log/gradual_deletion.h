// GradualDeletion gives back what deleted files held bit by bit, on a thread of its own.
//
// A table or a log is tens of megabytes, and on a disk that is told of what is free (mount option
// discard) the device takes so long over each of them that whoever syncs something meanwhile waits
// a tenth of a second. In pieces of 4 MiB it is a hundredth. Nor does the flush whose log is
// deleted wait for that.
//
//   DeleteFile(x) ──▶ renamed to x.deleted, nothing to RocksDB any more ──▶ cut shorter piece by
//   piece ──▶ gone
//
// Logs go first, at a rate at which all that wait would be gone in a second, and at 512 MiB/s at
// least: until then their pages may be written back for nothing. Tables go at a tenth of what waits
// each second, and at 64 MiB/s at least. Where room is wanted all goes at once (SetHurry).
//
// On XFS cutting a log that was never synced would write it to the device first; on ext4 it does
// not.
//
// It wraps the file system RocksDB uses, below WalSyncFileSystem; other files pass through. It
// never syncs: whether a deleted file comes back with a power failure, shorter perhaps, is nothing
// to RocksDB, whose manifest says what counts. What an earlier life left is taken over by Adopt().
//
// Failures: a file that cannot be renamed, or cut, is deleted as a whole. One that cannot be
// deleted is logged, and stays until the store is opened again.
//
// Threads: any. The destructor leaves what is still waiting to the next life.
#ifndef LIBS_LOG_GRADUAL_DELETION_H_
#define LIBS_LOG_GRADUAL_DELETION_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "rocksdb/file_system.h"

#include "libs/base/mutex.h"

namespace falaj::log {

// DeletionQueue decides what is deleted next. Pure.
class DeletionQueue {
 public:
  static constexpr int64_t kPieceBytes = 4 << 20;
  static constexpr int64_t kTableBytesPerSecondMin = 64 << 20;
  static constexpr int64_t kLogBytesPerSecondMin = int64_t{512} << 20;

  // Cut the file to `keep_bytes`, or delete it if that is 0, and wait before the next step.
  struct Step {
    std::string path;
    int64_t keep_bytes = 0;
    absl::Duration pause;
    bool of_log = false;
  };

  void Add(const std::string& path, int64_t size_bytes, bool is_log);
  // `hurry`: whole files, without a pause. Nothing: nothing waits.
  std::optional<Step> Next(bool hurry);
  bool empty() const { return logs_.files.empty() && tables_.files.empty(); }
  bool has_logs() const { return !logs_.files.empty(); }
  int64_t bytes() const { return logs_.bytes + tables_.bytes; }

 private:
  struct File {
    std::string path;
    int64_t size_bytes = 0;
  };
  struct Line {
    std::deque<File> files;
    int64_t bytes = 0;
  };

  Line logs_;
  Line tables_;
};

class GradualDeletion final : public rocksdb::FileSystemWrapper {
 public:
  explicit GradualDeletion(const std::shared_ptr<rocksdb::FileSystem>& target);
  ~GradualDeletion() override;
  GradualDeletion(const GradualDeletion&) = delete;
  GradualDeletion& operator=(const GradualDeletion&) = delete;
  static const char* kClassName() { return "falaj.GradualDeletion"; }
  const char* Name() const override { return kClassName(); }

  // Takes over what an earlier life left of deleted files in `directory`.
  void Adopt(const std::string& directory);
  // While room is wanted, what waits and what comes goes at once; Adopt() then deletes by itself.
  void SetHurry(bool hurry);
  // What has been deleted and still takes room.
  int64_t waiting_bytes() const;

  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  void Run();
  void Take(const DeletionQueue::Step& step) const;

  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool hurry_ ABSL_GUARDED_BY(mu_) = false;
  DeletionQueue queue_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;  // Last: it uses the rest.
};

}  // namespace falaj::log

#endif  // LIBS_LOG_GRADUAL_DELETION_H_
