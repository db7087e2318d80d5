// Coordination makes the calls of CoordinationService: znodes, watches, sessions, elections. Thin
// by intent, like Admin: it adds a deadline to each call and turns gRPC errors into statuses with a
// reason. What keeps a session alive is CoordinationSession; what stands for election is Election.
//
//   Coordination tree({.address = "127.0.0.1:7400"});
//   v1::CreateZnodeRequest request;
//   request.set_path("/app/config");
//   absl::StatusOr<v1::CreateZnodeResponse> created = tree.CreateZnode(request);
//
// Reads never go back in time, whatever node answers and however consistent they were asked to be:
// each asks for the highest index of any answer so far, or a later one.
//
// Threads: all methods from any thread; each blocks until its answer or the timeout.
// Failures: nothing is retried here; the gateway does, where it is safe. METADATA_UNAVAILABLE says
// in its metadata key "outcome" whether the request may have had an effect.
#ifndef LIBS_CLIENT_COORDINATION_H_
#define LIBS_CLIENT_COORDINATION_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/client/options.h"

namespace falaj::client {

// Cancellation ends a call that waits, from another thread, once and for all. Threads: any.
class Cancellation {
 public:
  Cancellation();
  ~Cancellation();

  void Cancel();
  bool cancelled() const;

 private:
  friend class Coordination;
  class Impl;
  const std::shared_ptr<Impl> impl_;
};

class Coordination {
 public:
  explicit Coordination(const AdminOptions& options);
  ~Coordination();
  Coordination(const Coordination&) = delete;
  Coordination& operator=(const Coordination&) = delete;

  absl::StatusOr<v1::OpenSessionResponse> OpenSession(absl::Duration timeout);
  // `limit`: the session's owner has no use for a later answer.
  absl::StatusOr<v1::KeepSessionResponse> KeepSession(const v1::SessionHandle& session,
                                                      absl::Duration limit);
  absl::Status CloseSession(const v1::SessionHandle& session);

  absl::StatusOr<v1::CreateZnodeResponse> CreateZnode(const v1::CreateZnodeRequest& request);
  absl::StatusOr<v1::GetZnodeResponse> GetZnode(const v1::GetZnodeRequest& request);
  absl::StatusOr<v1::SetZnodeResponse> SetZnode(const v1::SetZnodeRequest& request);
  absl::StatusOr<v1::DeleteZnodeResponse> DeleteZnode(const v1::DeleteZnodeRequest& request);
  // One page.
  absl::StatusOr<v1::ListChildrenResponse> ListChildren(const v1::ListChildrenRequest& request);
  // All names, page after page: each of the state at its own index.
  absl::StatusOr<std::vector<std::string>> ListAllChildren(const std::string& path,
                                                           const v1::ReadOptions& options);
  absl::StatusOr<v1::ExecuteMultiResponse> ExecuteMulti(const v1::ExecuteMultiRequest& request);

  // Calls `event` for every message until it returns false, the stream ends, or `cancellation`
  // (may be null) ends it. OK if the caller ended it. No deadline.
  absl::Status WatchZnodes(const v1::WatchZnodesRequest& request,
                           const std::function<bool(const v1::WatchZnodesResponse&)>& event,
                           Cancellation* cancellation,
                           absl::Duration limit = absl::InfiniteDuration());

  // Waits until the election is won, up to `limit` (infinite: no deadline); TIMED_OUT after it,
  // CANCELLED if `cancellation` (may be null) ended it: the candidacy stays in both cases.
  absl::StatusOr<v1::CampaignResponse> Campaign(const v1::CampaignRequest& request,
                                                absl::Duration limit, Cancellation* cancellation);
  absl::Status ResignCampaign(const v1::ResignCampaignRequest& request);
  absl::StatusOr<v1::GetLeaderResponse> GetLeader(const v1::GetLeaderRequest& request);

  const AdminOptions& options() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_COORDINATION_H_
