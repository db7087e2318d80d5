// FakeCoordinator is a gateway whose sessions end when a test says so and whose elections go round
// in the order of the candidates. For tests of the client; it keeps no znodes but candidates.
//
// Threads: any. Campaigns wait, and end when they are cancelled.
#ifndef LIBS_CLIENT_TESTING_FAKE_COORDINATOR_H_
#define LIBS_CLIENT_TESTING_FAKE_COORDINATOR_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "libs/base/mutex.h"

namespace falaj::client {

class FakeCoordinator final : public v1::CoordinationService::Service {
 public:
  FakeCoordinator();
  ~FakeCoordinator() override;
  std::string address() const;

  // Of sessions opened from now on; may be shorter than the real service allows.
  void SetTimeout(absl::Duration timeout);
  // Signs of life are not answered from now on.
  void SetDeaf(bool deaf);
  void Expire(int64_t session_id);
  // Removes a candidate's znode, as an administrator might.
  void Depose(int64_t session_id);
  // The next campaigns end so.
  void FailCampaign(absl::Status status);
  // One watch, under way or the next, ends so once it has sent what there is.
  void EndWatch(absl::Status status);

  int signs() const;                   // Of life, answered.
  std::set<int64_t> sessions() const;  // Live ones.
  int campaigns() const;               // Calls.
  std::vector<uint64_t> watched_after() const;
  std::vector<uint64_t> min_indexes() const;  // That reads have asked for.

 private:
  struct Candidate {
    int64_t session_id;
    uint64_t token;
  };

  grpc::Status OpenSession(grpc::ServerContext* context, const v1::OpenSessionRequest* request,
                           v1::OpenSessionResponse* response) override;
  grpc::Status KeepSession(grpc::ServerContext* context, const v1::KeepSessionRequest* request,
                           v1::KeepSessionResponse* response) override;
  grpc::Status CloseSession(grpc::ServerContext* context, const v1::CloseSessionRequest* request,
                            v1::CloseSessionResponse* response) override;
  grpc::Status Campaign(grpc::ServerContext* context, const v1::CampaignRequest* request,
                        v1::CampaignResponse* response) override;
  grpc::Status ResignCampaign(grpc::ServerContext* context,
                              const v1::ResignCampaignRequest* request,
                              v1::ResignCampaignResponse* response) override;
  grpc::Status GetZnode(grpc::ServerContext* context, const v1::GetZnodeRequest* request,
                        v1::GetZnodeResponse* response) override;
  grpc::Status ListChildren(grpc::ServerContext* context, const v1::ListChildrenRequest* request,
                            v1::ListChildrenResponse* response) override;
  grpc::Status WatchZnodes(grpc::ServerContext* context, const v1::WatchZnodesRequest* request,
                           grpc::ServerWriter<v1::WatchZnodesResponse>* writer) override;
  void Remove(int64_t session_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;

  mutable Mutex mu_;
  CondVar changed_;
  absl::Duration timeout_ ABSL_GUARDED_BY(mu_) = absl::Minutes(1);
  bool deaf_ ABSL_GUARDED_BY(mu_) = false;
  int64_t next_session_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t index_ ABSL_GUARDED_BY(mu_) = 1;
  int signs_ ABSL_GUARDED_BY(mu_) = 0;
  int campaigns_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<int64_t> sessions_ ABSL_GUARDED_BY(mu_);
  std::vector<Candidate> candidates_ ABSL_GUARDED_BY(mu_);  // The first leads.
  std::deque<absl::Status> campaign_errors_ ABSL_GUARDED_BY(mu_);
  std::deque<absl::Status> watch_ends_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> watched_after_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> min_indexes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_TESTING_FAKE_COORDINATOR_H_
