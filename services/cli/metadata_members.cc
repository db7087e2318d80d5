#include "services/cli/metadata_members.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"
#include "services/cli/output.h"

namespace falaj::cli {
namespace {

namespace pb = ::falaj::internal::v1;

// So far behind a learner may be and still vote: it catches up within a round trip or two.
constexpr uint64_t kLagMax = 100;
constexpr absl::Duration kProgressInterval = absl::Milliseconds(500);

void Pause(absl::Duration duration) {
  Mutex mu;
  CondVar never;
  MutexLock lock(&mu);
  never.WaitFor(&mu, duration);
}

// No answer of one node may take longer: the others may know better.
constexpr absl::Duration kAskMax = absl::Seconds(2);

// What goes away by itself: elections, another change under way, a learner that lags again.
bool PassesWithTime(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  return status.code() == absl::StatusCode::kUnavailable || reason == Reason::kMembershipChanging ||
         reason == Reason::kNodeLags;
}

// Asks the leader, wherever it is, until the timeout. A change that is in force already is success,
// so repeating one is harmless.
absl::Status Change(const MetadataOptions& options, absl::Duration timeout,
                    const pb::ChangeMembershipRequest& request) {
  const MonotonicTime end = Clock::Real()->MonotonicNow() + timeout;
  absl::Status last;
  do {
    const absl::StatusOr<std::string> leader = FindMetadataLeader(options.addresses, timeout);
    last = leader.status();
    if (leader.ok()) {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
      pb::ChangeMembershipResponse response;
      last = rpc::FromGrpc(MetadataStub(*leader)->ChangeMembership(&context, request, &response));
    }
    if (!PassesWithTime(last)) return last;
    Pause(kProgressInterval);
  } while (Clock::Real()->MonotonicNow() < end);
  return last;
}

std::optional<pb::MetadataMember> FindMember(const pb::GetStatusResponse& status, int32_t id) {
  for (const pb::MetadataMember& member : status.members()) {
    if (member.node_id() == id) return member;
  }
  return std::nullopt;
}

// Asks the leader, waiting for one until the timeout.
absl::StatusOr<pb::GetStatusResponse> AskLeader(const MetadataOptions& options,
                                                absl::Duration timeout) {
  const MonotonicTime end = Clock::Real()->MonotonicNow() + timeout;
  while (true) {
    const absl::StatusOr<std::string> leader = FindMetadataLeader(options.addresses, timeout);
    const absl::StatusOr<pb::GetStatusResponse> status =
        leader.ok() ? AskMetadataNode(*leader, timeout)
                    : absl::StatusOr<pb::GetStatusResponse>(leader.status());
    if (status.ok() || Clock::Real()->MonotonicNow() >= end) return status;
    Pause(kProgressInterval);
  }
}

// Waits until a learner has the leader's log.
absl::Status WaitUntilCaughtUp(const MetadataOptions& options, absl::Duration timeout, int32_t id) {
  while (true) {
    FALAJ_ASSIGN_OR_RETURN(const pb::GetStatusResponse status, AskLeader(options, timeout));
    const std::optional<pb::MetadataMember> member = FindMember(status, id);
    if (!member.has_value()) {
      return MakeError(Reason::kNodeNotFound, absl::StrCat("node ", id, " is no member any more"),
                       {{"node", absl::StrCat(id)}});
    }
    // One that has never answered is not far behind only because the log is short.
    const bool answered = member->active() && member->match_index() > 0;
    if (answered && !member->receiving_snapshot() && member->lag() <= kLagMax) {
      std::fprintf(stderr, "node %d has caught up\n", id);
      return absl::OkStatus();
    }
    std::fprintf(stderr, "node %d %s, %llu entries behind\n", id,
                 !member->active()              ? "does not answer yet"
                 : member->receiving_snapshot() ? "receives a snapshot"
                                                : "receives the log",
                 static_cast<unsigned long long>(member->lag()));
    Pause(kProgressInterval);
  }
}

absl::Status Add(const MetadataOptions& options, absl::Duration timeout) {
  FALAJ_ASSIGN_OR_RETURN(const auto member, ParseMember(options.member));
  pb::ChangeMembershipRequest request;
  request.set_node_id(member.first);
  request.set_address(member.second);
  request.set_change(pb::MEMBERSHIP_CHANGE_ADD_LEARNER);
  FALAJ_RETURN_IF_ERROR(Change(options, timeout, request));
  std::fprintf(stderr, "node %d is a learner at %s\n", member.first, member.second.c_str());
  if (options.learner) return absl::OkStatus();
  FALAJ_RETURN_IF_ERROR(WaitUntilCaughtUp(options, timeout, member.first));
  request.clear_address();
  request.set_change(pb::MEMBERSHIP_CHANGE_PROMOTE);
  FALAJ_RETURN_IF_ERROR(Change(options, timeout, request));
  std::fprintf(stderr, "node %d votes\n", member.first);
  return absl::OkStatus();
}

absl::Status PrintMembers(const MetadataOptions& options, absl::Duration timeout) {
  FALAJ_ASSIGN_OR_RETURN(const pb::GetStatusResponse status, AskLeader(options, timeout));
  Table table({"NODE", "ADDRESS", "MEMBER", "STATE", "MATCH", "LAG"});
  for (const pb::MetadataMember& member : status.members()) {
    const bool leads = member.node_id() == status.node_id();
    table.Add({member.node_id(), member.address(), member.voter() ? "voter" : "learner",
               leads                         ? "leader"
               : member.receiving_snapshot() ? "snapshot"
               : member.active()             ? "active"
                                             : "silent",
               static_cast<int64_t>(member.match_index()), static_cast<int64_t>(member.lag())});
  }
  table.Print(options.common.output);
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<pb::MetadataService::Stub> MetadataStub(const std::string& address) {
  return pb::MetadataService::NewStub(rpc::MakeChannel(address));
}

absl::StatusOr<pb::GetStatusResponse> AskMetadataNode(const std::string& address,
                                                      absl::Duration timeout) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + timeout));
  pb::GetStatusResponse response;
  const grpc::Status status =
      MetadataStub(address)->GetStatus(&context, pb::GetStatusRequest(), &response);
  if (!status.ok()) return rpc::FromGrpc(status);
  return response;
}

absl::StatusOr<std::string> FindMetadataLeader(const std::vector<std::string>& addresses,
                                               absl::Duration timeout) {
  for (const std::string& address : addresses) {
    const absl::StatusOr<pb::GetStatusResponse> node =
        AskMetadataNode(address, std::min(timeout, kAskMax));
    if (node.ok() && node->role() == "leader") return address;
  }
  return MakeError(Reason::kMetadataUnavailable, "none of these metadata nodes leads");
}

absl::StatusOr<std::pair<int32_t, std::string>> ParseMember(const std::string& text) {
  const size_t equals = text.find('=');
  int32_t id = 0;
  if (equals == std::string::npos || !absl::SimpleAtoi(text.substr(0, equals), &id) || id < 1 ||
      text.find(':', equals) == std::string::npos || text.back() == ':') {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("'", text, "' is not ID=HOST:PORT with an id of 1 or more"),
                     {{"field", "member"}});
  }
  return std::make_pair(id, text.substr(equals + 1));
}

absl::Status ChangeMembers(const MetadataOptions& options, absl::Duration timeout) {
  if (options.action == "list") return PrintMembers(options, timeout);
  if (options.action == "add") return Add(options, timeout);
  pb::ChangeMembershipRequest request;
  request.set_node_id(options.node);
  if (options.action == "move") {
    FALAJ_ASSIGN_OR_RETURN(const auto member, ParseMember(options.member));
    request.set_node_id(member.first);
    request.set_address(member.second);
    request.set_change(pb::MEMBERSHIP_CHANGE_SET_ADDRESS);
  } else {
    request.set_change(options.action == "remove" ? pb::MEMBERSHIP_CHANGE_REMOVE
                                                  : pb::MEMBERSHIP_CHANGE_PROMOTE);
  }
  return Change(options, timeout, request);
}

}  // namespace falaj::cli
