// ConsumePositions is the pure heart of a consume stream: where it stands in each partition, which
// are paused, and how much credit is left. It decides what to read next and what an answer means;
// it knows no gRPC and no clock.
//
// Invariants:
//   credit never goes up but by Grant(); Take() may bring it below zero once, for the frame that
//     overshoots
//   a position moves forward by what was sent, or anywhere by Seek()
//   an answer to a question asked before a Seek() is recognised by its offset and dropped
//   the epoch goes with the position, and with the topic it was read in: another one of the same
//     name counts anew
//   whoever has had nothing for longest is read first: of one node's partitions none starves behind
//     a long one
//
// Not thread-safe: the stream's lock guards it.
#ifndef SERVICES_GATEWAY_CONSUME_POSITIONS_H_
#define SERVICES_GATEWAY_CONSUME_POSITIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"

namespace falaj::gateway {

// A partition as the client names it.
struct PartitionName {
  std::string topic;
  PartitionIndex partition;

  friend auto operator<=>(const PartitionName&, const PartitionName&) = default;
};

class ConsumePositions {
 public:
  static constexpr int64_t kCreditMax = int64_t{1} << 30;

  struct DoubtSpan {
    MonotonicTime since;
    MonotonicTime last;  // The last answer that was so.
  };
  struct Position {
    Offset next;
    LeaderEpoch last_epoch{-1};                       // Of the record before `next`; -1: not known.
    TopicId last_topic{};                             // That record's; nil: not known.
    std::optional<DoubtSpan> doubted = std::nullopt;  // See Doubt().
    bool paused = false;
    bool asked = false;     // A read is under way.
    TopicId asked_topic{};  // Of what.
    uint64_t taken = 0;     // When records of it were last taken, in turns of Take().
  };

  // INVALID_REQUEST if the partition is there already.
  absl::Status Add(const PartitionName& name, Offset start);

  // INVALID_REQUEST if negative, CREDIT_OVERFLOW if more than kCreditMax would be open; nothing is
  // granted then.
  absl::Status Grant(int64_t bytes);
  int64_t credit() const { return credit_; }

  // INVALID_REQUEST if the stream has not subscribed to the partition.
  absl::Status Seek(const PartitionName& name, Offset to, LeaderEpoch last_epoch = LeaderEpoch(-1));
  absl::Status SetPaused(const PartitionName& name, bool paused);
  absl::Status CheckSubscribed(const PartitionName& name) const;

  // Partitions to read now: not paused, not asked; none without credit. Those that have had no
  // records for longest come first, equal ones ascending.
  std::vector<PartitionName> Readable() const;
  const Position& At(const PartitionName& name) const { return positions_.at(name); }
  // A read of the partition begins, of the topic that has its name now; it has ended.
  void Ask(const PartitionName& name, const TopicId& topic);
  void EndAsk(const PartitionName& name) { positions_.at(name).asked = false; }
  // False if the record before the position was read from another topic, which had this name.
  bool MayGoOnIn(const PartitionName& name, const TopicId& topic) const;
  // Takes note of whether the record before the position is in doubt now; returns for how long it
  // has been, all the time: not while the partition was paused, nor while nobody asked.
  absl::Duration Doubt(const PartitionName& name, bool doubted, MonotonicTime now);
  // A read has said nothing of it.
  void EndDoubt(const PartitionName& name) { positions_.at(name).doubted.reset(); }

  // False if an answer to a read at `asked` is out of date: Take() would drop it.
  bool IsAt(const PartitionName& name, Offset asked) const;
  // Takes an answer to a read at `asked` that goes up to `next` and costs `bytes`; the record
  // before `next` is of `last_epoch` (-1: not known). False if it is out of date (the position has
  // moved, or the partition is paused) and must be dropped. True: position and credit are updated.
  bool Take(const PartitionName& name, Offset asked, Offset next, LeaderEpoch last_epoch,
            int64_t bytes);

 private:
  std::map<PartitionName, Position> positions_;
  int64_t credit_ = 0;
  uint64_t turn_ = 0;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CONSUME_POSITIONS_H_
