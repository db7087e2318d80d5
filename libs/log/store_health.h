// StoreHealth remembers whether a store can still write, and turns RocksDB's errors into ours.
//
//   ok ──no space──▶ full ──space is back──▶ ok          any other write error ──▶ failed (for
//   good)
//
// It is RocksDB's event listener, so that errors of background flushes count as well.
//
// Threads: any.
#ifndef LIBS_LOG_STORE_HEALTH_H_
#define LIBS_LOG_STORE_HEALTH_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rocksdb/listener.h"
#include "rocksdb/status.h"

#include "libs/base/mutex.h"

namespace falaj::log {

// CORRUPT_RECORD, DISK_FULL or STORAGE_FAILED, naming the directory; OK stays OK. `what` is what
// was tried ("open the store").
absl::Status FromRocks(const rocksdb::Status& status, absl::string_view directory,
                       absl::string_view what);

class StoreHealth final : public rocksdb::EventListener {
 public:
  explicit StoreHealth(std::string directory) : directory_(std::move(directory)) {}

  // OK, DISK_FULL or STORAGE_FAILED.
  absl::Status Get() const;
  bool failed() const;
  bool full() const;

  // Notes the outcome of a write and returns it as one of our errors; STORAGE_FAILED also for one
  // that succeeded, if the store has failed meanwhile.
  absl::Status NoteWrite(const rocksdb::Status& status, absl::string_view what);
  // It takes no more writes, for a reason that no write has met.
  void NoteFailed(absl::string_view why);
  // Space is back.
  void NoteRecovered();

  const char* Name() const override { return "falaj.StoreHealth"; }
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* status) override;
  void OnErrorRecoveryEnd(const rocksdb::BackgroundErrorRecoveryInfo& info) override;

 private:
  void Note(const rocksdb::Status& status, absl::string_view what);

  const std::string directory_;
  mutable Mutex mu_;
  absl::Status full_ ABSL_GUARDED_BY(mu_);
  absl::Status failed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::log

#endif  // LIBS_LOG_STORE_HEALTH_H_
