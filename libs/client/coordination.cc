#include "libs/client/coordination.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "falaj/v1/coordination_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

constexpr int32_t kChildrenPageSize = 10'000;

void SetDuration(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t ns = absl::ToInt64Nanoseconds(duration);
  out->set_seconds(ns / 1'000'000'000);
  out->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
}

}  // namespace

// The call that waits now, if any.
class Cancellation::Impl {
 public:
  void Cancel() {
    MutexLock lock(&mu_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  bool cancelled() const {
    MutexLock lock(&mu_);
    return cancelled_;
  }
  void Attach(grpc::ClientContext* context) {
    MutexLock lock(&mu_);
    context_ = context;
    if (cancelled_ && context != nullptr) context->TryCancel();
  }

 private:
  mutable Mutex mu_;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
};

Cancellation::Cancellation() : impl_(std::make_shared<Impl>()) {}
Cancellation::~Cancellation() = default;
void Cancellation::Cancel() { impl_->Cancel(); }
bool Cancellation::cancelled() const { return impl_->cancelled(); }

class Coordination::Impl {
 public:
  using Stub = v1::CoordinationService::Stub;

  explicit Impl(const AdminOptions& admin_options)
      : options(admin_options),
        stub(v1::CoordinationService::NewStub(
            rpc::MakeChannel(options.address, rpc::ChannelOptions()))) {}

  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                const Request& request, absl::Duration limit,
                                Cancellation::Impl* cancellation = nullptr) {
    grpc::ClientContext context;
    if (limit < absl::InfiniteDuration()) {
      context.set_deadline(absl::ToChronoTime(absl::Now() + limit));
    }
    Response response;
    if (cancellation != nullptr) cancellation->Attach(&context);
    const grpc::Status status = (stub.get()->*method)(&context, request, &response);
    if (cancellation != nullptr) cancellation->Attach(nullptr);
    if (!status.ok()) return rpc::FromGrpc(status);
    return response;
  }

  // The same for what reads: never a state older than one this client has seen.
  template <typename Response, typename Request>
  absl::StatusOr<Response> Read(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                             Response*),
                                Request request) {
    v1::ReadOptions* const read = request.mutable_options();
    read->set_min_index(std::max(read->min_index(), seen.load()));
    return Noted(Call(method, request, options.timeout));
  }

  void Note(uint64_t index) {
    uint64_t before = seen.load();
    while (before < index && !seen.compare_exchange_weak(before, index)) {
    }
  }
  template <typename Response>
  absl::StatusOr<Response> Noted(absl::StatusOr<Response> response) {
    if (response.ok()) Note(response->index());
    return response;
  }

  const AdminOptions options;
  const std::unique_ptr<Stub> stub;
  std::atomic<uint64_t> seen = 0;  // The highest index of any answer.
};

Coordination::Coordination(const AdminOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Coordination::~Coordination() = default;
const AdminOptions& Coordination::options() const { return impl_->options; }

absl::StatusOr<v1::OpenSessionResponse> Coordination::OpenSession(absl::Duration timeout) {
  v1::OpenSessionRequest request;
  if (timeout > absl::ZeroDuration()) SetDuration(timeout, request.mutable_timeout());
  return impl_->Noted(impl_->Call(&Impl::Stub::OpenSession, request, impl_->options.timeout));
}

absl::StatusOr<v1::KeepSessionResponse> Coordination::KeepSession(const v1::SessionHandle& session,
                                                                  absl::Duration limit) {
  v1::KeepSessionRequest request;
  *request.mutable_session() = session;
  return impl_->Call(&Impl::Stub::KeepSession, request, std::min(limit, impl_->options.timeout));
}

absl::Status Coordination::CloseSession(const v1::SessionHandle& session) {
  v1::CloseSessionRequest request;
  *request.mutable_session() = session;
  return impl_->Noted(impl_->Call(&Impl::Stub::CloseSession, request, impl_->options.timeout))
      .status();
}

absl::StatusOr<v1::CreateZnodeResponse> Coordination::CreateZnode(
    const v1::CreateZnodeRequest& request) {
  return impl_->Noted(impl_->Call(&Impl::Stub::CreateZnode, request, impl_->options.timeout));
}

absl::StatusOr<v1::GetZnodeResponse> Coordination::GetZnode(const v1::GetZnodeRequest& request) {
  return impl_->Read(&Impl::Stub::GetZnode, request);
}

absl::StatusOr<v1::SetZnodeResponse> Coordination::SetZnode(const v1::SetZnodeRequest& request) {
  return impl_->Noted(impl_->Call(&Impl::Stub::SetZnode, request, impl_->options.timeout));
}

absl::StatusOr<v1::DeleteZnodeResponse> Coordination::DeleteZnode(
    const v1::DeleteZnodeRequest& request) {
  return impl_->Noted(impl_->Call(&Impl::Stub::DeleteZnode, request, impl_->options.timeout));
}

absl::StatusOr<v1::ListChildrenResponse> Coordination::ListChildren(
    const v1::ListChildrenRequest& request) {
  return impl_->Read(&Impl::Stub::ListChildren, request);
}

absl::StatusOr<std::vector<std::string>> Coordination::ListAllChildren(
    const std::string& path, const v1::ReadOptions& options) {
  std::vector<std::string> names;
  v1::ListChildrenRequest request;
  request.set_path(path);
  request.set_page_size(kChildrenPageSize);
  *request.mutable_options() = options;
  do {
    FALAJ_ASSIGN_OR_RETURN(v1::ListChildrenResponse page, ListChildren(request));
    for (std::string& name : *page.mutable_names()) names.push_back(std::move(name));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return names;
}

absl::StatusOr<v1::ExecuteMultiResponse> Coordination::ExecuteMulti(
    const v1::ExecuteMultiRequest& request) {
  return impl_->Noted(impl_->Call(&Impl::Stub::ExecuteMulti, request, impl_->options.timeout));
}

absl::Status Coordination::WatchZnodes(
    const v1::WatchZnodesRequest& request,
    const std::function<bool(const v1::WatchZnodesResponse&)>& event, Cancellation* cancellation,
    absl::Duration limit) {
  grpc::ClientContext context;
  if (limit < absl::InfiniteDuration()) {
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + limit));
  }
  const auto reader = impl_->stub->WatchZnodes(&context, request);
  if (cancellation != nullptr) cancellation->impl_->Attach(&context);
  v1::WatchZnodesResponse response;
  bool enough = false;
  while (reader->Read(&response)) {
    impl_->Note(response.index());
    if (enough || event(response)) continue;
    enough = true;
    context.TryCancel();
  }
  const absl::Status status = rpc::FromGrpc(reader->Finish());
  if (cancellation != nullptr) {
    cancellation->impl_->Attach(nullptr);
    enough = enough || cancellation->cancelled();
  }
  return enough ? absl::OkStatus() : status;
}

absl::StatusOr<v1::CampaignResponse> Coordination::Campaign(const v1::CampaignRequest& request,
                                                            absl::Duration limit,
                                                            Cancellation* cancellation) {
  return impl_->Noted(impl_->Call(&Impl::Stub::Campaign, request, limit,
                                  cancellation == nullptr ? nullptr : cancellation->impl_.get()));
}

absl::Status Coordination::ResignCampaign(const v1::ResignCampaignRequest& request) {
  return impl_->Noted(impl_->Call(&Impl::Stub::ResignCampaign, request, impl_->options.timeout))
      .status();
}

absl::StatusOr<v1::GetLeaderResponse> Coordination::GetLeader(const v1::GetLeaderRequest& request) {
  return impl_->Read(&Impl::Stub::GetLeader, request);
}

}  // namespace falaj::client
