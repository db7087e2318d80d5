#ifndef SERVICES_METADATA_CAMPAIGN_QUEUE_H_
#define SERVICES_METADATA_CAMPAIGN_QUEUE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/coordination/coordination_state.h"
#include "services/metadata/round_timer.h"

namespace falaj::metadata {

// CampaignQueue holds the candidates that wait to be elected, as far as their callers wait for the
// answer at this node. Whose turn it is, the coordination tree says; the queue only knows whom to
// tell.
//
// MetadataNode owns it and calls Removed() for every znode that has gone. A candidacy outlives its
// caller's wait: it ends with its session (SESSION_EXPIRED for who still waits), or by
// ResignCampaign or the removal of its znode (ZNODE_NOT_FOUND).
//
// A removal concerns at most the candidate that has gone and the one that leads now, so it costs
// two lookups however many wait: n candidates that go one after the other cost O(n log n) in all.
//
// Threads: none; one thread at a time.
class CampaignQueue {
 public:
  using Callback = std::function<void(absl::StatusOr<v1::CampaignResponse>)>;
  struct Candidate {
    v1::CampaignResponse response;  // To be answered when it leads; index is filled in then.
    std::string election_path;
    SessionId session;
    MonotonicTime deadline;
    std::function<bool()> given_up;  // May be null.
    Callback done;
  };

  // Answers at once if the candidate leads in `state`, or is gone.
  void Add(Candidate candidate, const coordination::CoordinationState& state, LogIndex index);
  // The znode at `path` is not in `state` any more: it may have been a candidate's.
  void Removed(const std::string& path, const coordination::CoordinationState& state,
               LogIndex index);
  // Answers those whose deadline has passed or whose caller has gone with TIMED_OUT. Looks at every
  // candidate, so not before NextLook().
  void Expire(MonotonicTime now);
  // The first deadline, or a moment from now: whether a caller has gone must be asked. kForever if
  // nobody waits.
  MonotonicTime NextLook() const { return empty() ? kForever : next_look_; }
  void FailAll(const absl::Status& why);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  // By the path of the candidate's znode. Several, if a client has repeated its call.
  using Candidates = std::multimap<std::string, Candidate>;

  // Answers it if there is something to say.
  static bool TryAnswer(Candidate* candidate, const coordination::CoordinationState& state,
                        LogIndex index);
  // The same for all calls that wait on the candidate at `path`.
  void TryAnswer(Candidates* candidates, const std::string& path,
                 const coordination::CoordinationState& state, LogIndex index);

  std::map<std::string, Candidates> waiting_;  // By election path; none is empty.
  size_t size_ = 0;
  MonotonicTime next_look_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_CAMPAIGN_QUEUE_H_
