// ScrubPlan decides which part of a store is to be read again, and when: everything once in a
// period, partition by partition, each from its log start to its end.
//
//   resting ── a period after the last pass ended ──▶ in a pass ── nothing left ──▶ resting
//
// A pass goes through the partitions in the order of their local ids, which are never used again,
// so that a position means the same after a restart: a pass that was interrupted goes on.
// Partitions that are made during a pass wait for the next one: what they hold has just been
// written.
//
// Pure: time and partitions come from outside. Threads: one.
#ifndef SERVICES_STORAGE_SCRUB_PLAN_H_
#define SERVICES_STORAGE_SCRUB_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"

namespace falaj::storage {

// How far a store has come with its passes; kept over restarts.
struct ScrubPosition {
  int64_t since_ms = 0;      // From which the period counts: the end of the last pass, or the first
                             // start.
  int64_t completed_ms = 0;  // When the last pass ended; 0: never.
  LocalPartitionId partition{};  // Where the pass is; 0: none is under way.
  Offset offset{};

  friend bool operator==(const ScrubPosition&, const ScrubPosition&) = default;
};

// As lines of a name and a number each. nullopt: it is not one.
std::string FormatScrubPosition(const ScrubPosition& position);
std::optional<ScrubPosition> ParseScrubPosition(absl::string_view text);

class ScrubPlan {
 public:
  // What to read next: from there on, as much as one likes.
  struct Place {
    LocalPartitionId partition;
    Offset from;
  };

  ScrubPlan(absl::Duration period, const ScrubPosition& position)
      : period_(period), position_(position) {}

  // A pass is under way or is to begin. A wall clock that was set back makes it begin early.
  bool Due(absl::Time now) const;
  // True until Begin() after a start or the end of a pass.
  bool NeedsPartitions() const { return !begun_; }
  // Begins a pass, or goes on with the one of before the restart. `all` is ascending.
  void Begin(std::vector<LocalPartitionId> all);
  // nullopt: nothing is left, Complete() ends the pass.
  std::optional<Place> Next() const;
  // The partition has been read up to `offset`.
  void Advance(Offset offset) { position_.offset = offset; }
  // The partition is done with: all of it has been read, or it is damaged, or gone.
  void Leave();
  void Complete(absl::Time now);

  const ScrubPosition& position() const { return position_; }

 private:
  const absl::Duration period_;
  ScrubPosition position_;
  bool begun_ = false;
  std::vector<LocalPartitionId> left_;  // Descending: the last one is next.
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_SCRUB_PLAN_H_
