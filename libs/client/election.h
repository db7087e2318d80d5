// Election is one candidacy at one path, which also makes it a lock: whoever leads holds it.
//
//   Election election(session.get(), "/app/leader");
//   absl::StatusOr<v1::CampaignResponse> lead = election.Campaign("host-1", absl::Minutes(1));
//   if (lead.ok()) {
//     std::thread work(...lead->fencing_token()...);
//     election.WaitUntilLeadEnds(*lead);   // Then the work must stop.
//   }
//   election.Resign();
//
// The lead lasts as long as the session, at most. Whatever the leader writes elsewhere should carry
// the fencing token, and that place should refuse lower ones: a process that was paused learns too
// late that it leads no more.
//
// Ownership: uses a session it does not own, which outlives it. The destructor does not resign: the
// end of the session does.
// Threads: Campaign() and WaitUntilLeadEnds() block, from one thread at a time; Cancel() from any.
#ifndef LIBS_CLIENT_ELECTION_H_
#define LIBS_CLIENT_ELECTION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/client/coordination.h"
#include "libs/client/coordination_session.h"

namespace falaj::client {

class Election {
 public:
  Election(CoordinationSession* session, std::string path)
      : session_(session), path_(std::move(path)) {}

  // Stands, and waits until this candidate leads. Through changes of the metadata leader and broken
  // connections it goes on. SESSION_EXPIRED if the session is lost, ZNODE_NOT_FOUND if somebody has
  // resigned or removed the candidacy; TIMED_OUT after `limit`, CANCELLED after Cancel(): in these
  // two cases the candidacy stays until Resign().
  absl::StatusOr<v1::CampaignResponse> Campaign(absl::string_view value, absl::Duration limit);
  // Blocks as long as this candidate leads, and says why that has ended: SESSION_EXPIRED, or
  // ZNODE_NOT_FOUND if somebody has removed its znode; CANCELLED after Cancel(). While the service
  // cannot be asked, the lead goes on until the session is lost.
  absl::Status WaitUntilLeadEnds(const v1::CampaignResponse& lead);
  // Ends what blocks, also if it has not begun.
  void Cancel() { cancellation_.Cancel(); }
  // Gives up the candidacy or the lead. Success if there is none.
  absl::Status Resign();

 private:
  CoordinationSession* const session_;
  const std::string path_;
  Cancellation cancellation_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_ELECTION_H_
