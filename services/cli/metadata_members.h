// falaj metadata members, and how the metadata commands talk to the nodes: each directly, so that
// they also answer when the gateway does not.
#ifndef SERVICES_CLI_METADATA_MEMBERS_H_
#define SERVICES_CLI_METADATA_MEMBERS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "services/cli/commands.h"

namespace falaj::cli {

std::unique_ptr<internal::v1::MetadataService::Stub> MetadataStub(const std::string& address);
absl::StatusOr<internal::v1::GetStatusResponse> AskMetadataNode(const std::string& address,
                                                                absl::Duration timeout);
// The address of the node that leads; METADATA_UNAVAILABLE if none of these does.
absl::StatusOr<std::string> FindMetadataLeader(const std::vector<std::string>& addresses,
                                               absl::Duration timeout);

// "4=host:7400". INVALID_REQUEST otherwise.
absl::StatusOr<std::pair<int32_t, std::string>> ParseMember(const std::string& text);

// The actions list, add, move, remove, promote. Adding waits until the new member has the log, and
// tells on standard error how far it is; `timeout` is that of each call.
absl::Status ChangeMembers(const MetadataOptions& options, absl::Duration timeout);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_METADATA_MEMBERS_H_
