#include "tests/bench/quorum_systems.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::bench {
namespace {

constexpr absl::Duration kLeaderTimeout = absl::Seconds(30);
constexpr absl::Duration kAskAgainAfter = absl::Milliseconds(50);
constexpr absl::Duration kCallTimeout = absl::Seconds(5);
constexpr char kParent[] = "/bench";

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(absl::ToChronoTime(absl::Now() + kCallTimeout));
}

// Asks one endpoint after the other until one names the leader. `ask(endpoint)` returns the
// leader's address, the endpoint itself if it leads, or empty if it does not know.
template <typename Ask>
absl::StatusOr<std::string> FindLeader(const std::vector<std::string>& endpoints, Ask ask) {
  const MonotonicTime give_up = Clock::Real()->MonotonicNow() + kLeaderTimeout;
  while (Clock::Real()->MonotonicNow() < give_up) {
    for (const std::string& endpoint : endpoints) {
      std::string leader = ask(endpoint);
      if (!leader.empty()) return leader;
    }
    absl::SleepFor(kAskAgainAfter);
  }
  return absl::UnavailableError("nobody leads");
}

}  // namespace

// Writes, and follows the hint of whoever does not lead, as a client of the public API would.
absl::StatusOr<std::string> FalajSystem::Leader(const std::vector<std::string>& endpoints) {
  const auto ask = [](const std::string& endpoint) -> std::string {
    const auto stub = Service::NewStub(rpc::MakeChannel(endpoint));
    const absl::Status created = Create(stub.get(), kParent, "");
    if (created.ok()) return endpoint;
    return MetadataOf(created)["leader"];
  };
  // The hint may be stale: whoever it names must say so itself.
  return FindLeader(endpoints, [&ask](const std::string& endpoint) -> std::string {
    const std::string leader = ask(endpoint);
    return !leader.empty() && (leader == endpoint || ask(leader) == leader) ? leader : "";
  });
}

absl::Status FalajSystem::Create(Stub* stub, const std::string& path, const std::string& value) {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::CreateZnodeRequest request;
  request.set_path(path);
  request.set_data(value);
  request.set_create_parents(true);
  v1::CreateZnodeResponse response;
  const absl::Status created = rpc::FromGrpc(stub->CreateZnode(&context, request, &response));
  return ReasonOf(created) == Reason::kZnodeAlreadyExists ? absl::OkStatus() : created;
}

v1::SetZnodeRequest FalajSystem::MakeWrite(const std::string& path) {
  Request request;
  request.set_path(path);
  return request;
}

absl::StatusOr<std::string> FalajSystem::Read(Stub* stub, const std::string& path) {
  grpc::ClientContext context;
  SetDeadline(&context);
  v1::GetZnodeRequest request;
  request.set_path(path);
  v1::GetZnodeResponse response;
  const absl::Status read = rpc::FromGrpc(stub->GetZnode(&context, request, &response));
  if (ReasonOf(read) == Reason::kZnodeNotFound) {
    return absl::DataLossError(absl::StrCat("the znode ", path, " is gone"));
  }
  FALAJ_RETURN_IF_ERROR(read);
  return response.znode().data();
}

void StreamWriter::Write(const v1::SetZnodeRequest* request, Done done) {
  write_done_ = std::move(done);
  if (request_.writes_size() == 0) request_.add_writes();
  *request_.mutable_writes(0)->mutable_set() = *request;
  steps_left_ = 2;
  if (!started_) {
    started_ = true;
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
    stub_->async()->StreamWrites(&context_, this);
    StartRead(&response_);
    StartWrite(&request_);
    StartCall();
  } else {
    StartWrite(&request_);
  }
}

void StreamWriter::Close(std::function<void()> done) {
  if (!started_ || finished_) return done();
  closed_ = std::move(done);
  StartWritesDone();
}

void StreamWriter::OnWriteDone(bool ok) {
  if (ok) StepDone();
}

void StreamWriter::OnReadDone(bool ok) {
  if (ok) StepDone();
}

void StreamWriter::StepDone() {
  if (--steps_left_ > 0) return;
  const v1::ZnodeWriteResult& result = response_.results(0);
  const grpc::Status status =
      result.has_error() ? rpc::ToGrpc(rpc::FromProto(result.error())) : grpc::Status::OK;
  StartRead(&response_);  // Before anything else: it keeps the call from being done.
  std::exchange(write_done_, nullptr)(status);
}

// Without a write under way this is the end that Close() waits for.
void StreamWriter::OnDone(const grpc::Status& status) {
  finished_ = true;
  // This writer may be gone when either of them returns.
  if (write_done_) return std::exchange(write_done_, nullptr)(status);
  if (closed_) std::exchange(closed_, nullptr)();
}

absl::StatusOr<std::string> EtcdSystem::Leader(const std::vector<std::string>& endpoints) {
  return FindLeader(endpoints, [](const std::string& endpoint) -> std::string {
    const auto stub = etcdserverpb::Maintenance::NewStub(rpc::MakeChannel(endpoint));
    grpc::ClientContext context;
    SetDeadline(&context);
    etcdserverpb::StatusResponse response;
    if (!stub->Status(&context, etcdserverpb::StatusRequest(), &response).ok()) return "";
    const bool leads = response.leader() != 0 && response.leader() == response.header().member_id();
    return leads ? endpoint : "";
  });
}

absl::Status EtcdSystem::Create(Stub* stub, const std::string& path, const std::string& value) {
  grpc::ClientContext context;
  SetDeadline(&context);
  Request request = MakeWrite(path);
  request.set_value(value);
  Response response;
  return rpc::FromGrpc(stub->Put(&context, request, &response));
}

etcdserverpb::PutRequest EtcdSystem::MakeWrite(const std::string& path) {
  Request request;
  request.set_key(path);
  return request;
}

absl::StatusOr<std::string> EtcdSystem::Read(Stub* stub, const std::string& path) {
  grpc::ClientContext context;
  SetDeadline(&context);
  etcdserverpb::RangeRequest request;
  request.set_key(path);
  etcdserverpb::RangeResponse response;
  FALAJ_RETURN_IF_ERROR(rpc::FromGrpc(stub->Range(&context, request, &response)));
  if (response.kvs_size() != 1) {
    return absl::DataLossError(absl::StrCat("the key ", path, " is gone"));
  }
  return response.kvs(0).value();
}

}  // namespace falaj::bench
