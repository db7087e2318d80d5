#ifndef TESTS_SIMULATION_CALLER_H_
#define TESTS_SIMULATION_CALLER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/coordination.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"
#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/coordination/znode.h"
#include "services/metadata/metadata_node.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/network.h"
#include "tests/simulation/sim_node.h"

namespace falaj::simulation {

// Nodes by id, those that are down and gone included.
using SimNodes = std::map<NodeId, std::unique_ptr<SimNode>>;

// What a node answers. Which fields count depends on what was asked.
struct Answer {
  absl::Status status = absl::OkStatus();
  internal::v1::CoordinationResult result = {};  // Of a command on the tree.
  internal::v1::ExecuteResponse executed = {};   // Of one on the cluster.
  LogIndex index = {};                           // Of a read: the state it was served from.
  coordination::ZnodePtr znode = nullptr;        // Of a read.
  std::vector<std::string> names = {};           // Of a list.
  v1::CampaignResponse campaign = {};
  bool by_leader = false;  // Who answered leads the newest term there is.
};

// Caller is a client's way to the metadata nodes: it knows their addresses, follows hints to the
// leader, tries another one when an answer does not come, and gives up after a time.
//
// A client owns one. Answers that come after the caller has given up are dropped, as by gRPC.
class Caller {
 public:
  using Done = std::function<void(std::optional<Answer> answer)>;  // nullopt: none came in time.
  // Sends an answer back over the network. Copies answer the same call; the first one counts.
  class Responder {
   public:
    void operator()(Answer answer) const;

   private:
    friend class Caller;
    Caller* caller_;
    SimNode* node_;
    uint64_t call_;
  };
  using Serve = std::function<void(metadata::MetadataNode* node, const Responder& respond)>;

  // Nothing is owned.
  Caller(const World& world, const SimNodes* nodes, Endpoint endpoint, uint64_t seed)
      : world_(world), nodes_(nodes), endpoint_(endpoint), random_(seed) {}

  Endpoint endpoint() const { return endpoint_; }
  SimNode* Find(NodeId node) const;
  // Whom the client believes to lead; anybody, if it has no idea.
  NodeId Leader();
  NodeId Anybody();
  NodeId AnybodyBut(NodeId node);  // Unless there is nobody else.

  // Lets `serve` happen at the node; then `done`, or after `timeout`, at the client.
  void Call(NodeId node, SimTime timeout, Serve serve, Done done);
  // Learns from an error where the leader is, or that it must look for it.
  void Heed(const std::optional<Answer>& answer);

 private:
  void Finish(uint64_t call, std::optional<Answer> answer);

  const World world_;
  const SimNodes* const nodes_;
  const Endpoint endpoint_;
  Random random_;
  NodeId leader_;  // 0: no idea.
  uint64_t last_call_ = 0;
  std::map<uint64_t, Done> waiting_;
};

// True if it is certain that a request that got this answer had no effect and may be sent
// elsewhere.
bool MayGoElsewhere(const absl::Status& status);

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_CALLER_H_
