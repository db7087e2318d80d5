// MetadataNodes is the list of metadata nodes and which of them to ask next. JudgeOutcome says what
// an error of theirs means for the call that got it. Together they are the rules by which Falaj
// follows the leader of the metadata service; MetadataChannel (calls that block) and the gateway's
// forwarded calls (that never do) share them.
//
// A node that does not lead says who does (the metadata key "leader" of METADATA_UNAVAILABLE); that
// hint wins over the list until it fails. Without one, the addresses are asked in turn.
//
// Threads: any. It makes channels, and calls nobody.
#ifndef LIBS_RPC_METADATA_NODES_H_
#define LIBS_RPC_METADATA_NODES_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "libs/base/mutex.h"
#include "libs/rpc/client_metrics.h"

namespace falaj::rpc {

class MetadataNodes {
 public:
  struct Node {
    std::string address;
    std::shared_ptr<grpc::Channel> channel;
  };

  // At least one address, host:port. `first` is the place in the list to begin at; it may lie
  // beyond the end. `metrics` counts the calls, and may be null.
  explicit MetadataNodes(std::vector<std::string> addresses, size_t first = 0,
                         std::shared_ptr<ClientMetrics> metrics = nullptr);

  // Whom to ask now.
  Node Current();
  // `failed` did not answer or does not lead; `leader` is who it says does, or empty.
  void MoveOn(const std::string& failed, const std::string& leader);

  size_t size() const { return addresses_.size(); }  // Of the list.

 private:
  const std::string& CurrentAddress() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::vector<std::string> addresses_;
  const std::shared_ptr<ClientMetrics> metrics_;
  mutable Mutex mu_;
  size_t index_ ABSL_GUARDED_BY(mu_);
  std::string hint_ ABSL_GUARDED_BY(mu_);  // The leader by its own peers' account.
  std::map<std::string, Node> nodes_ ABSL_GUARDED_BY(mu_);
};

// What an error says about the call that got it.
enum class Outcome {
  kFinal,     // The service's own answer: asking again changes nothing.
  kNoEffect,  // Nothing happened, for certain; somebody else may be able to.
  kUnknown,   // The connection broke, or the leader fell, while the call was under way.
};

// `status` is `wire` as FromGrpc() reads it. Requires !wire.ok().
Outcome JudgeOutcome(const grpc::Status& wire, const absl::Status& status);

// Who leads, according to an error; empty if it does not say.
std::string LeaderHint(const absl::Status& status);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_METADATA_NODES_H_
