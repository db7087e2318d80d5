#include "libs/client/testing/fake_coordinator.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

constexpr absl::Duration kCancelCheck = absl::Milliseconds(2);
constexpr int kNames = 5;  // Children of every znode, two to a page.

grpc::Status Expired() {
  return rpc::ToGrpc(MakeError(Reason::kSessionExpired, "the session has ended"));
}

std::string ZnodeOf(int64_t session_id) { return absl::StrCat("/leader/", session_id); }

}  // namespace

FakeCoordinator::FakeCoordinator() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

FakeCoordinator::~FakeCoordinator() { server_->Shutdown(gpr_inf_past(GPR_CLOCK_MONOTONIC)); }

std::string FakeCoordinator::address() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeCoordinator::SetTimeout(absl::Duration timeout) {
  MutexLock lock(&mu_);
  timeout_ = timeout;
}

void FakeCoordinator::SetDeaf(bool deaf) {
  MutexLock lock(&mu_);
  deaf_ = deaf;
  changed_.NotifyAll();
}

void FakeCoordinator::Expire(int64_t session_id) {
  MutexLock lock(&mu_);
  sessions_.erase(session_id);
  Remove(session_id);
}

void FakeCoordinator::Depose(int64_t session_id) {
  MutexLock lock(&mu_);
  Remove(session_id);
}

void FakeCoordinator::FailCampaign(absl::Status status) {
  MutexLock lock(&mu_);
  campaign_errors_.push_back(std::move(status));
}

void FakeCoordinator::EndWatch(absl::Status status) {
  MutexLock lock(&mu_);
  watch_ends_.push_back(std::move(status));
  changed_.NotifyAll();
}

int FakeCoordinator::signs() const {
  MutexLock lock(&mu_);
  return signs_;
}

std::set<int64_t> FakeCoordinator::sessions() const {
  MutexLock lock(&mu_);
  return sessions_;
}

int FakeCoordinator::campaigns() const {
  MutexLock lock(&mu_);
  return campaigns_;
}

std::vector<uint64_t> FakeCoordinator::min_indexes() const {
  MutexLock lock(&mu_);
  return min_indexes_;
}
std::vector<uint64_t> FakeCoordinator::watched_after() const {
  MutexLock lock(&mu_);
  return watched_after_;
}

void FakeCoordinator::Remove(int64_t session_id) {
  std::erase_if(candidates_, [&](const Candidate& c) { return c.session_id == session_id; });
  ++index_;
  changed_.NotifyAll();
}

grpc::Status FakeCoordinator::OpenSession(grpc::ServerContext* /*context*/,
                                          const v1::OpenSessionRequest* /*request*/,
                                          v1::OpenSessionResponse* response) {
  MutexLock lock(&mu_);
  sessions_.insert(next_session_);
  response->mutable_session()->set_session_id(next_session_++);
  response->mutable_session()->set_secret(std::string(16, 's'));
  const int64_t ns = absl::ToInt64Nanoseconds(timeout_);
  response->mutable_timeout()->set_seconds(ns / 1'000'000'000);
  response->mutable_timeout()->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::KeepSession(grpc::ServerContext* context,
                                          const v1::KeepSessionRequest* request,
                                          v1::KeepSessionResponse* /*response*/) {
  MutexLock lock(&mu_);
  while (deaf_ && !context->IsCancelled()) changed_.WaitFor(&mu_, kCancelCheck);
  if (sessions_.count(request->session().session_id()) == 0) return Expired();
  ++signs_;
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::CloseSession(grpc::ServerContext* /*context*/,
                                           const v1::CloseSessionRequest* request,
                                           v1::CloseSessionResponse* /*response*/) {
  Expire(request->session().session_id());
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::Campaign(grpc::ServerContext* context,
                                       const v1::CampaignRequest* request,
                                       v1::CampaignResponse* response) {
  MutexLock lock(&mu_);
  ++campaigns_;
  if (!campaign_errors_.empty()) {
    const absl::Status error = campaign_errors_.front();
    campaign_errors_.pop_front();
    return rpc::ToGrpc(error);
  }
  const int64_t session_id = request->session().session_id();
  const auto same = [&](const Candidate& c) { return c.session_id == session_id; };
  if (std::none_of(candidates_.begin(), candidates_.end(), same)) {
    candidates_.push_back({session_id, ++index_});
  }
  while (true) {
    if (sessions_.count(session_id) == 0) return Expired();
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    if (!candidates_.empty() && same(candidates_.front())) break;
    changed_.WaitFor(&mu_, kCancelCheck);
  }
  response->set_fencing_token(candidates_.front().token);
  response->set_znode_path(ZnodeOf(session_id));
  response->set_index(index_);
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::ResignCampaign(grpc::ServerContext* /*context*/,
                                             const v1::ResignCampaignRequest* request,
                                             v1::ResignCampaignResponse* /*response*/) {
  Depose(request->session().session_id());
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::GetZnode(grpc::ServerContext* /*context*/,
                                       const v1::GetZnodeRequest* request,
                                       v1::GetZnodeResponse* response) {
  MutexLock lock(&mu_);
  min_indexes_.push_back(request->options().min_index());
  response->set_index(index_);
  for (const Candidate& candidate : candidates_) {
    if (ZnodeOf(candidate.session_id) != request->path()) continue;
    response->mutable_znode()->set_path(request->path());
    response->mutable_znode()->mutable_stat()->set_create_index(candidate.token);
    return grpc::Status::OK;
  }
  return rpc::ToGrpc(MakeError(Reason::kZnodeNotFound, "no such znode"));
}

grpc::Status FakeCoordinator::ListChildren(grpc::ServerContext* /*context*/,
                                           const v1::ListChildrenRequest* request,
                                           v1::ListChildrenResponse* response) {
  {
    MutexLock lock(&mu_);
    min_indexes_.push_back(request->options().min_index());
  }
  const int begin = request->page_token().empty() ? 0 : std::stoi(request->page_token());
  const int end = std::min(begin + 2, kNames);
  for (int i = begin; i < end; ++i) response->add_names(absl::StrCat("child-", i));
  if (end < kNames) response->set_next_page_token(absl::StrCat(end));
  response->set_index(7);
  return grpc::Status::OK;
}

grpc::Status FakeCoordinator::WatchZnodes(grpc::ServerContext* context,
                                          const v1::WatchZnodesRequest* request,
                                          grpc::ServerWriter<v1::WatchZnodesResponse>* writer) {
  v1::WatchZnodesResponse message;
  MutexLock lock(&mu_);
  uint64_t sent = request->after_index();
  watched_after_.push_back(sent);
  message.set_index(sent);
  writer->Write(message);
  while (!context->IsCancelled()) {
    if (index_ > sent) {  // The only changes there are, as far as watchers care, are removals.
      sent = index_;
      message.set_index(sent);
      v1::ZnodeEvent* event = message.add_events();
      event->set_type(v1::ZNODE_EVENT_TYPE_DELETED);
      event->mutable_znode()->set_path(request->watches(0).path());
      writer->Write(message);
    }
    if (!watch_ends_.empty()) {
      const absl::Status end = watch_ends_.front();
      watch_ends_.pop_front();
      return rpc::ToGrpc(end);
    }
    changed_.WaitFor(&mu_, kCancelCheck);
  }
  return grpc::Status::CANCELLED;
}

}  // namespace falaj::client
