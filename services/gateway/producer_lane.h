// ProducerLane is a producer the gateway is itself, for the plain records of its clients: an id,
// and how far it has numbered batches on each partition. So the gateway may send such a batch again
// when its outcome is unknown (PartitionAppender).
//
// One call or stream has a lane at a time, and its appenders with it; when the last of them is
// gone the lane goes back to the pool and goes on where it was with the next. So a partition knows
// about as many of the gateway's producers as there are calls at a time, not as there are calls.
//
// Threads: of a lane, one at a time calls Of(); a Numbering belongs to the appender of its
// partition. ProducerLanes: any.
#ifndef SERVICES_GATEWAY_PRODUCER_LANE_H_
#define SERVICES_GATEWAY_PRODUCER_LANE_H_

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "services/gateway/producer_ids.h"

namespace falaj::gateway {

// What the next batch of a lane on one partition is numbered with.
struct Numbering {
  ProducerId producer{-1};
  ProducerEpoch epoch{0};
  Sequence next{0};
};

class ProducerLane {
 public:
  explicit ProducerLane(ProducerId producer) : producer_(producer) {}

  // Stays where it is while the lane lives.
  Numbering* Of(TopicId topic, PartitionIndex partition) {
    return &numberings_.try_emplace({topic, partition}, Numbering{.producer = producer_})
                .first->second;
  }
  size_t size() const { return numberings_.size(); }

 private:
  const ProducerId producer_;
  std::map<std::pair<TopicId, PartitionIndex>, Numbering> numberings_;
};

// ProducerLanes is the pool. The lanes that are out may outlive it.
class ProducerLanes {
 public:
  explicit ProducerLanes(ProducerIds* ids) : ids_(ids) {}

  // Null if all are in use and there is no id for another one: batches then go unnumbered.
  std::shared_ptr<ProducerLane> Take();

 private:
  struct Idle {
    Mutex mu;
    std::vector<std::unique_ptr<ProducerLane>> lanes ABSL_GUARDED_BY(mu);
  };

  ProducerIds* const ids_;
  const std::shared_ptr<Idle> idle_ = std::make_shared<Idle>();
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_PRODUCER_LANE_H_
