#ifndef LIBS_RAFT_PROGRESS_H_
#define LIBS_RAFT_PROGRESS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "libs/base/ids.h"
#include "libs/raft/ready.h"

namespace falaj::raft {

// Progress is what a leader knows about one follower, and what it has under way to it.
//
//   probe      one append at a time, until one is accepted and the logs are known to agree
//   replicate  appends follow each other without waiting, within a window
//   snapshot   the follower needs entries no longer held: one chunk at a time
//
// Invariant: match < next. Entries up to `match` are on the follower's disk.
class Progress {
 public:
  enum class State { kProbe, kReplicate, kSnapshot };

  // `now` is the leader's tick: a follower has a full election timeout to speak up.
  Progress(LogIndex next, uint64_t now) : heard_at(now), next_(next) {}

  State state() const { return state_; }
  LogIndex match() const { return match_; }
  LogIndex next() const { return next_; }
  const Snapshot& snapshot() const { return *snapshot_; }
  uint64_t chunk_offset() const { return chunk_offset_; }

  // True if nothing more may be sent until an answer comes.
  bool IsPaused(size_t inflight_max) const {
    return state_ == State::kReplicate ? inflight_.size() >= inflight_max : awaiting_;
  }

  // An append with entries up to `last` was sent; none if last < next().
  void Sent(LogIndex last) {
    if (state_ == State::kProbe) {
      awaiting_ = true;
    } else if (last >= next_) {
      inflight_.push_back(last);
      next_ = last + 1;
    }
  }

  // The follower holds the leader's log up to `index`. Returns false if that is no news.
  bool Acked(LogIndex index) {
    if (index < match_ || (index == match_ && state_ != State::kProbe)) return false;
    const bool past_snapshot =
        state_ == State::kSnapshot && index.value() >= snapshot_->meta.index();
    match_ = index;
    next_ = std::max(next_, match_ + 1);
    stalled_beats_ = 0;
    while (!inflight_.empty() && inflight_.front() <= index) inflight_.pop_front();
    if (state_ == State::kProbe || past_snapshot) {
      Enter(State::kReplicate);
      next_ = match_ + 1;
    }
    return true;
  }

  // The follower refused an append behind `refused` and may agree up to `hint`. Returns false if
  // the refusal is of the past.
  bool Refused(LogIndex refused, LogIndex hint) {
    if (state_ == State::kSnapshot || refused <= match_) return false;
    if (state_ == State::kProbe && refused != next_ - 1) return false;
    Enter(State::kProbe);
    next_ = std::max(std::min(refused, hint + 1), match_ + 1);
    return true;
  }

  // A heartbeat was answered. If nothing else has moved for several, what was under way is taken
  // for lost and may be sent again.
  void BeatAnswered(LogIndex last_index) {
    const bool outstanding = state_ == State::kSnapshot ? awaiting_ : match_ < last_index;
    if (!outstanding) {
      stalled_beats_ = 0;
    } else if (state_ == State::kProbe) {
      awaiting_ = false;
    } else if (++stalled_beats_ >= kStalledBeatsMax) {
      stalled_beats_ = 0;
      if (state_ == State::kReplicate) {
        Enter(State::kProbe);
        next_ = match_ + 1;
      }
      awaiting_ = false;
    }
  }

  void StartSnapshot(Snapshot snapshot) {
    Enter(State::kSnapshot);
    snapshot_ = std::move(snapshot);
    chunk_offset_ = 0;
  }
  void ChunkSent() { awaiting_ = true; }
  // The follower holds `held` bytes of the snapshot; refused: it threw them away.
  void ChunkAnswered(uint64_t held, bool refused) {
    if (held == chunk_offset_ && !refused) return;  // Answer to the chunk before.
    stalled_beats_ = 0;
    chunk_offset_ = std::min<uint64_t>(held, snapshot_->data.size());
    awaiting_ = chunk_offset_ == snapshot_->data.size() && !refused;  // Being installed.
  }

  uint64_t heard_at;        // The leader's tick when it was last heard from.
  Uuid directory;           // Whose answers these are; nil: it has named none.
  LogIndex commit_told;     // Highest commit index sent with an append.
  uint64_t read_round = 0;  // Highest read round it confirmed.

 private:
  // Long enough for a slow disk, short enough not to be noticed: 450 ms with a tick of 30 ms.
  static constexpr int kStalledBeatsMax = 3;

  void Enter(State state) {
    state_ = state;
    awaiting_ = false;
    stalled_beats_ = 0;
    inflight_.clear();
    if (state != State::kSnapshot) snapshot_.reset();
  }

  State state_ = State::kProbe;
  LogIndex match_;
  LogIndex next_;
  bool awaiting_ = false;          // Probe: append, snapshot: chunk under way.
  int stalled_beats_ = 0;          // Heartbeats answered since anything moved.
  std::deque<LogIndex> inflight_;  // Replicate: last entry of each append under way.
  std::optional<Snapshot> snapshot_;
  uint64_t chunk_offset_ = 0;
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_PROGRESS_H_
