// falaj metadata: the metadata nodes as they see themselves. It asks each of them directly, so that
// it also answers when the gateway does not.
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/cli/commands.h"
#include "services/cli/output.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

namespace pb = ::falaj::internal::v1;

std::unique_ptr<pb::MetadataService::Stub> StubOf(const std::string& address) {
  return pb::MetadataService::NewStub(rpc::MakeChannel(address));
}

absl::StatusOr<pb::GetStatusResponse> StatusOf(const std::string& address, absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
  pb::GetStatusResponse response;
  const grpc::Status status =
      StubOf(address)->GetStatus(&context, pb::GetStatusRequest(), &response);
  if (!status.ok()) return rpc::FromGrpc(status);
  return response;
}

// A row per node, also for those that do not answer. Fails if no node leads.
absl::Status PrintStatus(const MetadataOptions& options, absl::Duration timeout) {
  Table table({"NODE", "ADDRESS", "ROLE", "TERM", "LEADER", "COMMITTED", "APPLIED", "FIRST",
               "VOTERS", "READY"});
  bool led = false;
  for (const std::string& address : options.addresses) {
    const absl::StatusOr<pb::GetStatusResponse> node = StatusOf(address, timeout);
    if (!node.ok()) {
      table.Add({"-", address, "unreachable", "-", "-", "-", "-", "-", "-", "no"});
      continue;
    }
    led = led || node->role() == "leader";
    table.Add({node->node_id(), address, node->role(), static_cast<int64_t>(node->term()),
               node->leader_id(), static_cast<int64_t>(node->commit_index()),
               static_cast<int64_t>(node->applied_index()),
               static_cast<int64_t>(node->first_index()), absl::StrJoin(node->voters(), ","),
               node->ready() ? "yes" : "no"});
  }
  table.Print(options.common.output);
  if (led) return absl::OkStatus();
  return MakeError(Reason::kMetadataUnavailable, "none of these metadata nodes leads");
}

absl::Status Transfer(const MetadataOptions& options, absl::Duration timeout) {
  for (const std::string& address : options.addresses) {
    const absl::StatusOr<pb::GetStatusResponse> node = StatusOf(address, timeout);
    if (!node.ok() || node->role() != "leader") continue;
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
    pb::TransferLeadershipRequest request;
    request.set_node_id(options.node);
    pb::TransferLeadershipResponse response;
    return rpc::FromGrpc(StubOf(address)->TransferLeadership(&context, request, &response));
  }
  return MakeError(Reason::kMetadataUnavailable, "none of these metadata nodes leads");
}

}  // namespace

ExitCode RunMetadata(const MetadataOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  const absl::Status status = options.action == "transfer" ? Transfer(options, session->timeout)
                                                           : PrintStatus(options, session->timeout);
  return status.ok() ? ExitCode::kOk : Fail(status);
}

}  // namespace falaj::cli
