#include "services/metadata/baton.h"

#include <utility>

namespace falaj::metadata {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(5);

}  // namespace

void Baton::Take() {
  MutexLock lock(&mu_);
  window_.reset();
  while (held_) given_.Wait(&mu_);
  held_ = true;
}

void Baton::Leave(MonotonicTime now, Relief relief) {
  MutexLock lock(&mu_);
  held_ = false;
  if (relief == Relief::kNone) return;
  window_ = ReliefFrom(now, election_timeout_min_);
  ++absences_;
  if (std::exchange(relief_sleeps_, false)) wake_relief_.NotifyOne();
}

bool Baton::AwaitAbsence() {
  MutexLock lock(&mu_);
  while (!closed_) {
    const MonotonicTime now = clock_->MonotonicNow();
    if (window_.has_value() && window_->Contains(now)) return true;
    if (window_.has_value() && now < window_->from) {
      wake_relief_.WaitFor(&mu_, window_->from - now);
    } else if (std::exchange(absences_seen_, absences_) != absences_) {
      wake_relief_.WaitFor(&mu_, kLookInterval);
    } else {
      relief_sleeps_ = true;
      wake_relief_.Wait(&mu_);
      relief_sleeps_ = false;
    }
  }
  return false;
}

bool Baton::TryRelieve() {
  const MonotonicTime now = clock_->MonotonicNow();
  MutexLock lock(&mu_);
  if (closed_ || held_ || !window_.has_value() || !window_->Contains(now)) return false;
  held_ = true;
  return true;
}

bool Baton::is_wanted() const {
  MutexLock lock(&mu_);
  return !window_.has_value();
}

MonotonicTime Baton::relief_until() const {
  MutexLock lock(&mu_);
  return window_.has_value() ? window_->until : MonotonicTime{};
}

bool Baton::relief_sleeps() const {
  MutexLock lock(&mu_);
  return relief_sleeps_;
}

void Baton::Give() {
  MutexLock lock(&mu_);
  held_ = false;
  given_.NotifyOne();
}

void Baton::GiveUp() {
  MutexLock lock(&mu_);
  held_ = false;
  if (window_.has_value()) window_->until = window_->from;
  given_.NotifyOne();
}

void Baton::Close() {
  MutexLock lock(&mu_);
  closed_ = true;
  wake_relief_.NotifyAll();
}

}  // namespace falaj::metadata
