// ProducerStates knows the idempotent producers of one partition replica: which batch each must
// send next, and which it sent last.
//
// A Replica owns one. The leader asks Check() before it places a batch; leader and follower Apply()
// what is placed. Followers take what the leader took and judge nothing, so the state is a function
// of the log (ProducerWindow is the fold) and the same on every replica.
//
//   FALAJ_ASSIGN_OR_RETURN(const Verdict verdict, states.Check(batch));
//   if (!verdict.duplicate) states.Apply(batch, {.base = ..., ...});
//   round.producers = states.TakeRows();              // in the write that holds the batch
//   states.Written(end);                              // or, if the write failed,
//   states.TakeBack(written_end);
//
// Batches placed but not yet written count. TakeBack() restores exactly the state before them: each
// Apply() notes what it changed until Written().
//
// Truncation. After a follower cut its log the rows in the store are right: the store rewrites them
// in the write that removes the batches, from each row's settled window and the short piece of log
// above it (see record::ProducerHistory for why that is exact and short). So the shell loads them
// into a new ProducerStates, as after a restart, and there is one way only to come by a state.
//
// Forgetting. Expire() forgets by silence, measured by append times and not by retention, so that a
// producer survives its records. There may be kProducersMax of them: a little below, Expire()
// begins to forget the longest silent early, though none that may still repeat a batch; at the
// limit Check() refuses new producers. Apply() never refuses. An unknown producer that does not
// begin at sequence 0 is told so and never silently accepted: what it sent before may be in the
// log.
//
// Pure: no threads, no clock, no disk. Not here: who gets which producer id and epoch.
#ifndef LIBS_REPLICA_PRODUCER_STATES_H_
#define LIBS_REPLICA_PRODUCER_STATES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/record/producer_window.h"

namespace falaj::replica {

// Producers silent for longer are forgotten, unless told otherwise. Never under 24 hours, or a
// producer that retries through an outage meets a leader that does not know it.
inline constexpr absl::Duration kProducerExpiry = absl::Hours(7 * 24);
// Of one partition: about 5 MB.
inline constexpr size_t kProducersMax = 10'000;
// Nobody retries a batch for longer; younger producers are not forgotten to make room.
inline constexpr absl::Duration kProducerSilenceMin = absl::Minutes(15);

class ProducerStates {
 public:
  // What the header of a batch says of its producer.
  struct Batch {
    ProducerId producer{-1};  // -1: not idempotent.
    ProducerEpoch epoch{-1};
    Sequence base_sequence{-1};
    int32_t record_count = 0;
  };
  // Where and when it was appended.
  struct Place {
    Offset base{};
    int64_t append_time_ms = 0;
    Offset high_watermark{};  // Of this replica, before it.
  };
  // Append the batch, or answer with the place the first copy of it has. That copy may not be
  // written yet, nor committed: the answer waits for what an answer to the first would wait for.
  struct Verdict {
    bool duplicate = false;
    // Of the first copy.
    Offset base{-1};
    int32_t record_count = 0;
    int64_t append_time_ms = -1;
  };

  ProducerStates() = default;
  // As the store has them. Their batches are written.
  explicit ProducerStates(const std::vector<record::ProducerRow>& rows);

  // What the leader should do with a batch. Batches without a producer are always new. The reasons:
  //   PRODUCER_FENCED        a newer epoch of the producer is known; metadata `producer_epoch`
  //   OUT_OF_ORDER_SEQUENCE  not the next sequence, and not one of the newest batches; metadata
  //                          `expected_sequence`, `got_sequence`. If the producer is not known here
  //                          (expired, or its records were lost) also `unknown_producer`=true: it
  //                          goes on under a new epoch or id
  //   QUOTA_EXCEEDED         a new producer, and there are too many
  //   INVALID_BATCH          epoch or sequence are missing
  absl::StatusOr<Verdict> Check(const Batch& batch) const;

  // Takes in a batch that has its place, whatever Check() would say of it. In offset order.
  void Apply(const Batch& batch, const Place& place);

  // Everything below `end` is in the store.
  void Written(Offset end);
  // The write failed: the batches from `end` on are gone. Requires that none of them was Written().
  void TakeBack(Offset end);

  // Forgets the producers that have been silent for longer than `silence`, and those too many.
  // Between rounds; the rows go with the next one. Returns how many. Walks through all.
  size_t Expire(int64_t now_ms, absl::Duration silence = kProducerExpiry);

  // Forgets all. For a follower whose log goes on beyond its end, as its leader's begins there:
  // what the producers did in between it has not seen, and what it knows is too old to judge by.
  void ForgetAll();

  // The rows the store lacks, an empty window meaning that the row goes. Once: what was taken comes
  // again only after TakeBack().
  std::vector<record::ProducerRow> TakeRows();
  // All rows, by producer.
  std::vector<record::ProducerRow> Rows() const;

  size_t size() const { return histories_.size(); }
  // Null if it is not known.
  const record::ProducerWindow* Find(ProducerId producer) const;

 private:
  // How a producer was before a batch that is not written yet.
  struct Undo {
    Offset base;
    ProducerId producer;
    std::optional<record::ProducerHistory> before;
  };

  std::map<ProducerId, record::ProducerHistory> histories_;  // None has an empty window.
  std::vector<Undo> unwritten_;                              // By offset.
  std::set<ProducerId> changed_;                             // Since TakeRows().
  std::set<ProducerId> taken_;                               // By TakeRows(), not Written() yet.
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_PRODUCER_STATES_H_
