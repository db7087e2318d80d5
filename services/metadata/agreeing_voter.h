// What a voter that agrees with everything answers, for tests that are the other nodes of a quorum.
#ifndef SERVICES_METADATA_AGREEING_VOTER_H_
#define SERVICES_METADATA_AGREEING_VOTER_H_

#include <cstdint>
#include <optional>

#include "libs/raft/ready.h"

namespace falaj::metadata {

// nullopt: to what needs no answer.
inline std::optional<raft::pb::RaftMessage> AgreeingAnswer(const raft::pb::RaftMessage& message) {
  raft::pb::RaftMessage answer;
  answer.set_from(message.to());
  answer.set_to(message.from());
  answer.set_term(message.term());
  switch (message.type()) {
    case raft::pb::RAFT_MESSAGE_TYPE_PRE_VOTE:
      answer.set_type(raft::pb::RAFT_MESSAGE_TYPE_PRE_VOTE_REPLY);
      return answer;
    case raft::pb::RAFT_MESSAGE_TYPE_VOTE:
      answer.set_type(raft::pb::RAFT_MESSAGE_TYPE_VOTE_REPLY);
      return answer;
    case raft::pb::RAFT_MESSAGE_TYPE_APPEND:
      answer.set_type(raft::pb::RAFT_MESSAGE_TYPE_APPEND_REPLY);
      answer.set_log_index(message.log_index() + static_cast<uint64_t>(message.entries_size()));
      return answer;
    case raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT:
      answer.set_type(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY);
      answer.set_read_round(message.read_round());
      return answer;
    default:
      return std::nullopt;
  }
}

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_AGREEING_VOTER_H_
