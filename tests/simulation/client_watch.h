#ifndef TESTS_SIMULATION_CLIENT_WATCH_H_
#define TESTS_SIMULATION_CLIENT_WATCH_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/coordination/znode_watch_hub.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/replay.h"

namespace falaj::simulation {

// ClientWatch is a client that watches znodes for the whole run: when a stream ends, or is silent
// for too long, it goes on at another node behind what it has got; when that is no longer kept, it
// begins anew.
//
// Every message is held to the log: between the index before and its own there is exactly what it
// brings, in order, nothing missing, nothing twice, and all of one entry.
class ClientWatch {
 public:
  // Nothing is owned. `watches` is what is watched; its after_index is filled in.
  ClientWatch(const World& world, Caller* caller, v1::WatchZnodesRequest watches, uint64_t seed)
      : world_(world), caller_(caller), watches_(std::move(watches)), random_(seed) {}

  void Start() { Connect(); }
  // All changes up to this index have come.
  LogIndex cursor() const { return cursor_; }

 private:
  class Stream;

  void Connect();
  void ConnectLater();
  void OnMessage(uint64_t stream, const v1::WatchZnodesResponse& message);
  void OnClosed(uint64_t stream, const absl::Status& status);
  void WatchSilence(uint64_t stream);
  void CheckMessage(const v1::WatchZnodesResponse& message);
  bool Matches(const coordination::ZnodeChange& change) const;

  const World world_;
  Caller* const caller_;
  v1::WatchZnodesRequest watches_;
  Random random_;
  NodeId node_;            // Asked last.
  uint64_t stream_ = 0;    // The one in use; messages of earlier ones are ignored.
  bool began_ = false;     // cursor_ is known.
  bool resuming_ = false;  // No message has come since the last Connect().
  LogIndex cursor_;
  SimTime last_message_ = 0;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_CLIENT_WATCH_H_
