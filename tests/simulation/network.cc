#include "tests/simulation/network.h"

#include <algorithm>
#include <utility>

namespace falaj::simulation {

bool SimNetwork::IsLost(const Link& link) {
  if (!link.blocked && !Chance(weather_.loss)) return false;
  ++messages_lost_;
  return true;
}

SimTime SimNetwork::Latency() {
  // Sixteen steps of an exponential distribution, in integers: the same on every machine.
  static constexpr std::array<SimTime, 16> kQuantiles = {3,  10, 17,  25,  33,  42,  52,  63,
                                                         75, 89, 105, 125, 151, 186, 243, 381};
  const SimTime spread = weather_.latency_mean - weather_.latency_min;
  const SimTime base = weather_.latency_min + spread * kQuantiles[random_.Below(16)] / 100;
  return base + static_cast<SimTime>(random_.Below(static_cast<uint64_t>(spread / 8 + 1)));
}

SimTime SimNetwork::DelayInOrder(Link* link) {
  SimTime arrival = std::max(queue_->now() + Latency(), link->clogged_until);
  arrival = std::max(arrival, link->last_arrival + 1);
  link->last_arrival = arrival;
  return arrival - queue_->now();
}

void SimNetwork::Send(internal::v1::RaftMessage message) {
  Link& way = link(message.from(), message.to());
  if (IsLost(way)) return;
  if (Chance(weather_.duplication)) Deliver(DelayInOrder(&way) + Latency() * 3, message);
  if (Chance(weather_.reordering)) return Deliver(Latency() * 4, std::move(message));
  Deliver(DelayInOrder(&way), std::move(message));
}

void SimNetwork::Deliver(SimTime delay, internal::v1::RaftMessage message) {
  queue_->After(delay, EventKind::kMessage, [this, message = std::move(message)]() mutable {
    queue_->Note(static_cast<uint64_t>(message.type()) << 16 |
                 static_cast<uint64_t>(message.from()) << 8 | static_cast<uint64_t>(message.to()));
    queue_->Note(message.term());
    queue_->Note(message.log_index());
    receiver_(std::move(message));
  });
}

bool SimNetwork::Call(Endpoint from, Endpoint to, EventQueue::Action arrive) {
  Link& way = link(from, to);
  if (IsLost(way)) return false;
  queue_->After(DelayInOrder(&way), EventKind::kClient,
                [this, from, to, arrive = std::move(arrive)]() mutable {
                  queue_->Note(static_cast<uint64_t>(from) << 8 | static_cast<uint64_t>(to));
                  arrive();
                });
  return true;
}

void SimNetwork::Heal() {
  for (Link& way : links_) way.blocked = false, way.clogged_until = 0;
}

}  // namespace falaj::simulation
