#ifndef SERVICES_METADATA_BATON_H_
#define SERVICES_METADATA_BATON_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "services/metadata/relief_window.h"

namespace falaj::metadata {

// Baton is the right to run a node's rounds, and to touch what they touch. The node's thread has it
// for good, except that it leaves it behind while it waits for its disk; if that takes long, the
// relief, a second thread, takes it up for a round at a time.
//
// RaftNode owns one. For clang's analysis it is a lock, which guards what is "of the rounds".
//
//   node's thread                    relief's thread
//   baton.Take();                    while (baton.AwaitAbsence()) {
//   ...rounds...                       while (baton.TryRelieve()) {
//   baton.Leave(now, kWhenLong);         ...a round...
//   ...the disk...                       baton.Give();
//   baton.Take();                        ...wait until a round is needed...
//
// The node's thread goes first: from its Take() on the relief gets nothing more.
//
// What it costs a node whose disk is quick: a mutex taken three times for each write, by nobody
// else as a rule. The relief sleeps until the first write after a pause wakes it. From then on it
// looks by itself, when the write under way will have taken too long, or after 5 ms, until an
// interval passes without a write. So writes that follow each other wake nobody, and an idle node
// has no timer.
//
// Threads: as above, one of each; Close() from any.
class ABSL_LOCKABLE Baton {
 public:
  enum class Relief { kNone, kWhenLong };

  // `clock` is not owned.
  Baton(const Clock* clock, absl::Duration election_timeout_min)
      : clock_(clock), election_timeout_min_(election_timeout_min) {}
  Baton(const Baton&) = delete;
  Baton& operator=(const Baton&) = delete;

  // Of the node's thread. Waits for the end of the relief's round, if there is one.
  void Take() ABSL_EXCLUSIVE_LOCK_FUNCTION();
  // Of the node's thread, which begins to wait for its disk at `now`.
  void Leave(MonotonicTime now, Relief relief) ABSL_UNLOCK_FUNCTION();
  void Give() ABSL_UNLOCK_FUNCTION();

  // Of the relief's thread.
  //
  // Waits until rounds should go on without the node's thread. False: the end, after Close().
  bool AwaitAbsence();
  // False: they should not, any more.
  bool TryRelieve() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true);
  // In a round: the node's thread is back and waits for its end.
  bool is_wanted() const;
  // And no more rounds before the node's thread has been back.
  void GiveUp() ABSL_UNLOCK_FUNCTION();

  // Until when rounds may go on without the node's thread; of the past if it is not away.
  MonotonicTime relief_until() const;
  // No more relief, for good.
  void Close();

  // For tests: nothing but a Leave() wakes it.
  bool relief_sleeps() const;

 private:
  const Clock* const clock_;
  const absl::Duration election_timeout_min_;

  mutable Mutex mu_;
  CondVar given_;
  CondVar wake_relief_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<ReliefWindow> window_ ABSL_GUARDED_BY(mu_);  // While the node's thread is away.
  uint64_t absences_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t absences_seen_ ABSL_GUARDED_BY(mu_) = 0;
  bool relief_sleeps_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_BATON_H_
