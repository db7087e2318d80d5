#ifndef TESTS_SIMULATION_NETWORK_H_
#define TESTS_SIMULATION_NETWORK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/random.h"
#include "tests/simulation/event_queue.h"

namespace falaj::simulation {

// Who is at the end of a link: metadata nodes by their id, clients behind them.
using Endpoint = int;
constexpr Endpoint kEndpointsMax = 48;
constexpr Endpoint kFirstClient = 32;

// NetworkWeather is how all links behave at present. Chances are per mille.
struct NetworkWeather {
  SimTime latency_min = 100 * kMicrosecond;
  SimTime latency_mean = 400 * kMicrosecond;  // Exponential above the minimum.
  uint64_t loss = 0;
  uint64_t duplication = 0;
  uint64_t reordering = 0;  // Of messages between nodes; they keep their order otherwise.
};

// SimNetwork carries messages between metadata nodes and calls between clients and nodes, over one
// link for each pair and direction, which can be blocked or clogged alone.
//
// A message between nodes may be lost, doubled, late, or overtaken. What goes between a client and
// a node travels like a gRPC stream: in order and once, or not at all; the sender is not told, as
// on a connection that dies silently.
class SimNetwork {
 public:
  using Receiver = std::function<void(internal::v1::RaftMessage message)>;

  // `queue` is not owned.
  SimNetwork(EventQueue* queue, uint64_t seed) : queue_(queue), random_(seed) {}

  // Where messages to nodes arrive.
  void set_receiver(Receiver receiver) { receiver_ = std::move(receiver); }
  NetworkWeather& weather() { return weather_; }

  void Send(internal::v1::RaftMessage message);
  // Lets `arrive` happen at the other end of the link. False: it is lost.
  bool Call(Endpoint from, Endpoint to, EventQueue::Action arrive);

  // One direction only.
  void Block(Endpoint from, Endpoint to, bool blocked) { link(from, to).blocked = blocked; }
  // What is sent until then arrives only then.
  void Clog(Endpoint from, Endpoint to, SimTime until) { link(from, to).clogged_until = until; }
  // Opens all links.
  void Heal();
  bool IsOpen(Endpoint from, Endpoint to) { return !link(from, to).blocked; }

  uint64_t messages_lost() const { return messages_lost_; }

 private:
  struct Link {
    bool blocked = false;
    SimTime clogged_until = 0;
    SimTime last_arrival = 0;
  };

  Link& link(Endpoint from, Endpoint to) {
    return links_[static_cast<size_t>(from * kEndpointsMax + to)];
  }
  bool Chance(uint64_t per_mille) { return per_mille != 0 && random_.Below(1000) < per_mille; }
  bool IsLost(const Link& link);
  // How long from now a message takes that must not overtake the one before it.
  SimTime DelayInOrder(Link* link);
  SimTime Latency();
  void Deliver(SimTime delay, internal::v1::RaftMessage message);

  EventQueue* const queue_;
  Random random_;
  Receiver receiver_;
  NetworkWeather weather_;
  std::array<Link, static_cast<size_t>(kEndpointsMax) * kEndpointsMax> links_{};
  uint64_t messages_lost_ = 0;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_NETWORK_H_
