// falaj metadata: the metadata nodes as they see themselves. It asks each of them directly, so that
// it also answers when the gateway does not.
#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"
#include "services/cli/commands.h"
#include "services/cli/metadata_members.h"
#include "services/cli/output.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

namespace pb = ::falaj::internal::v1;

std::string StateOf(const pb::GetStatusResponse& node) {
  if (node.storage_failed()) return "failed";
  return node.refusal().empty() ? node.role() : "refused";
}

// A row per node, also for those that do not answer. Fails if no node leads.
absl::Status PrintStatus(const MetadataOptions& options, absl::Duration timeout) {
  Table table({"NODE", "ADDRESS", "ROLE", "TERM", "LEADER", "COMMITTED", "APPLIED", "FIRST", "LAST",
               "SNAPSHOT", "VOTERS", "LEARNERS", "TRANSFER-TO", "CLUSTER", "READY"});
  bool led = false;
  for (const std::string& address : options.addresses) {
    const absl::StatusOr<pb::GetStatusResponse> node = AskMetadataNode(address, timeout);
    if (!node.ok()) {
      table.Add({"-", address, "unreachable", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-",
                 "no"});
      continue;
    }
    led = led || node->role() == "leader";
    const absl::StatusOr<Uuid> cluster = Uuid::FromBytes(node->cluster_id());
    table.Add({node->node_id(), address, StateOf(*node), static_cast<int64_t>(node->term()),
               node->leader_id(), static_cast<int64_t>(node->commit_index()),
               static_cast<int64_t>(node->applied_index()),
               static_cast<int64_t>(node->first_index()), static_cast<int64_t>(node->last_index()),
               static_cast<int64_t>(node->snapshot_index()), absl::StrJoin(node->voters(), ","),
               absl::StrJoin(node->learners(), ","),
               node->transferring_to() == 0 ? Cell("-") : Cell(node->transferring_to()),
               cluster.ok() ? cluster->ToString() : "-", node->ready() ? "yes" : "no"});
  }
  table.Print(options.common.output);
  if (led) return absl::OkStatus();
  return MakeError(Reason::kMetadataUnavailable, "none of these metadata nodes leads");
}

absl::Status TransferOnce(const MetadataOptions& options, absl::Time deadline) {
  FALAJ_ASSIGN_OR_RETURN(const std::string leader,
                         FindMetadataLeader(options.addresses, deadline - Clock::Real()->Now()));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(deadline));
  pb::TransferLeadershipRequest request;
  request.set_node_id(options.node);
  pb::TransferLeadershipResponse response;
  return rpc::FromGrpc(MetadataStub(leader)->TransferLeadership(&context, request, &response));
}

// A leader waits no longer than an election timeout for its successor, since it answers nothing
// meanwhile; on a busy machine the first try may be too short.
absl::Status Transfer(const MetadataOptions& options, absl::Duration timeout) {
  const absl::Time deadline = Clock::Real()->Now() + timeout;
  while (true) {
    const absl::Status outcome = TransferOnce(options, deadline);
    const bool again = ReasonOf(outcome) == Reason::kTimedOut && Clock::Real()->Now() < deadline;
    if (!again) return outcome;
  }
}

}  // namespace

ExitCode RunMetadata(const MetadataOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  absl::Status status;
  if (options.action == "status") {
    status = PrintStatus(options, session->timeout);
  } else if (options.action == "transfer") {
    status = Transfer(options, session->timeout);
  } else {
    status = ChangeMembers(options, session->timeout);
  }
  return status.ok() ? ExitCode::kOk : Fail(status);
}

}  // namespace falaj::cli
