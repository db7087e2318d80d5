#include "libs/log/store_health.h"

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"

namespace falaj::log {

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view directory,
                       absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  Reason reason = Reason::kStorageFailed;
  if (status.IsCorruption()) reason = Reason::kCorruptRecord;
  if (status.IsNoSpace()) reason = Reason::kDiskFull;
  return MakeError(reason,
                   absl::StrCat("cannot ", what, " in '", directory, "': ", status.ToString()),
                   {{"directory", std::string(directory)}});
}

absl::Status StoreHealth::Get() const {
  MutexLock lock(&mu_);
  return failed_.ok() ? full_ : failed_;
}

bool StoreHealth::failed() const {
  MutexLock lock(&mu_);
  return !failed_.ok();
}

bool StoreHealth::full() const {
  MutexLock lock(&mu_);
  return !full_.ok();
}

absl::Status StoreHealth::NoteWrite(const rocksdb::Status& status, absl::string_view what) {
  if (status.ok()) {
    // Done, but perhaps long after the store was given up: others count on it not to write then.
    MutexLock lock(&mu_);
    return failed_;
  }
  Note(status, what);
  if (status.IsNoSpace()) return FromRocks(status, directory_, what);
  // Whatever it was (also a corruption met while writing): the store takes no more writes.
  return Get();
}

void StoreHealth::NoteFailed(absl::string_view why) {
  MutexLock lock(&mu_);
  if (!failed_.ok()) return;
  failed_ = MakeError(Reason::kStorageFailed, absl::StrCat("'", directory_, "': ", why),
                      {{"directory", directory_}});
  Error("store takes no more writes", {{"directory", directory_}, {"error", failed_}});
}

void StoreHealth::NoteRecovered() {
  MutexLock lock(&mu_);
  if (full_.ok()) return;
  full_ = absl::OkStatus();
  Info("store takes writes again", {{"directory", directory_}});
}

void StoreHealth::OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                                    rocksdb::Status* status) {
  Note(*status, "write in the background");
}

void StoreHealth::OnErrorRecoveryEnd(const rocksdb::BackgroundErrorRecoveryInfo& info) {
  if (info.new_bg_error.ok()) NoteRecovered();
}

void StoreHealth::Note(const rocksdb::Status& status, absl::string_view what) {
  MutexLock lock(&mu_);
  if (status.IsNoSpace()) {
    if (!full_.ok()) return;
    full_ = FromRocks(status, directory_, what);
    Warning("disk is full, store takes no writes", {{"directory", directory_}, {"error", full_}});
    return;
  }
  if (!failed_.ok()) return;
  failed_ = MakeError(Reason::kStorageFailed,
                      absl::StrCat("cannot ", what, " in '", directory_, "': ", status.ToString()),
                      {{"directory", directory_}});
  Error("store failed and takes no more writes", {{"directory", directory_}, {"error", failed_}});
}

}  // namespace falaj::log
