#include "tests/simulation/caller.h"

#include <iterator>
#include <utility>

#include "libs/base/status.h"

namespace falaj::simulation {

bool MayGoElsewhere(const absl::Status& status) {
  if (ReasonOf(status) != Reason::kMetadataUnavailable) return false;
  const ErrorMetadata metadata = MetadataOf(status);
  const auto outcome = metadata.find("outcome");
  return outcome != metadata.end() && outcome->second == "none";
}

SimNode* Caller::Find(NodeId node) const {
  const auto found = nodes_->find(node);
  return found == nodes_->end() ? nullptr : found->second.get();
}

NodeId Caller::Anybody() {
  return std::next(nodes_->begin(), static_cast<std::ptrdiff_t>(random_.Below(nodes_->size())))
      ->first;
}

NodeId Caller::AnybodyBut(NodeId node) {
  auto found = nodes_->find(Anybody());
  if (found->first == node && ++found == nodes_->end()) found = nodes_->begin();
  return found->first;
}

NodeId Caller::Leader() {
  if (leader_ == NodeId()) leader_ = Anybody();
  return leader_;
}

void Caller::Call(NodeId node, SimTime timeout, Serve serve, Done done) {
  const uint64_t call = ++last_call_;
  waiting_.emplace(call, std::move(done));
  world_.queue->After(timeout, EventKind::kTimer, [this, call] { Finish(call, std::nullopt); });
  world_.network->Call(
      endpoint_, node.value(), [this, call, node, serve = std::move(serve)]() mutable {
        Responder respond;
        respond.caller_ = this;
        respond.node_ = Find(node);
        respond.call_ = call;
        const bool taken =
            respond.node_->Give([respond, serve = std::move(serve)](metadata::MetadataNode* at) {
              serve(at, respond);
            });
        if (!taken) {  // Nobody listens at this address.
          respond({.status = MakeError(Reason::kMetadataUnavailable, "connection refused",
                                       {{"outcome", "none"}})});
        }
      });
}

void Caller::Responder::operator()(Answer answer) const {
  if (node_->running()) {
    const raft::RaftCore& core = node_->node().core();
    answer.by_leader = core.is_leader() && core.term() == caller_->world_.invariants->leader_term();
  }
  caller_->world_.network->Call(
      node_->id().value(), caller_->endpoint_,
      [caller = caller_, call = call_, answer = std::move(answer)]() mutable {
        caller->Finish(call, std::move(answer));
      });
}

void Caller::Finish(uint64_t call, std::optional<Answer> answer) {
  const auto found = waiting_.find(call);
  if (found == waiting_.end()) return;
  Done done = std::move(found->second);
  waiting_.erase(found);
  done(std::move(answer));
}

void Caller::Heed(const std::optional<Answer>& answer) {
  if (answer && ReasonOf(answer->status) != Reason::kMetadataUnavailable) return;
  leader_ = NodeId();
  if (!answer) return;
  const ErrorMetadata metadata = MetadataOf(answer->status);
  const auto hint = metadata.find("leader");
  if (hint != metadata.end()) leader_ = NodeAt(hint->second);
}

}  // namespace falaj::simulation
