// ProducerIds hands out producer ids, each once in the life of the cluster.
//
// A gateway takes blocks of them from the metadata service, ahead of time, and gives them away from
// memory. What it has not given away when it stops is lost; 2^63 ids bear it.
//
// The server owns it. A thread of its own fetches the next block when half of one is left, and
// tries again every second while that fails. Threads: any; TryTake() does not block.
#ifndef SERVICES_GATEWAY_PRODUCER_IDS_H_
#define SERVICES_GATEWAY_PRODUCER_IDS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"

namespace falaj::gateway {

class ProducerIds {
 public:
  // Reserves `count` ids and returns the first. Called on the thread of ProducerIds; may block for
  // a second or so, which a Stop() waits for.
  using Allocate = std::function<absl::StatusOr<ProducerId>(int32_t count)>;

  ProducerIds(Allocate allocate, Clock* clock);
  ~ProducerIds() { Stop(); }
  ProducerIds(const ProducerIds&) = delete;
  ProducerIds& operator=(const ProducerIds&) = delete;

  // Begins to fetch. Called once.
  void Start();
  void Stop();

  // Nothing if none is in memory now.
  std::optional<ProducerId> TryTake();
  // Waits for one. Returns why Allocate failed, TIMED_OUT or SHUTTING_DOWN.
  absl::StatusOr<ProducerId> Take(absl::Duration timeout);

 private:
  void Run();
  std::optional<ProducerId> TakeOne() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Allocate allocate_;
  Clock* const clock_;

  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // Of the blocks: the ids in hand, and those that come after.
  ProducerId next_ ABSL_GUARDED_BY(mu_){0};
  ProducerId end_ ABSL_GUARDED_BY(mu_){0};
  std::optional<ProducerId> spare_ ABSL_GUARDED_BY(mu_);  // First of the next block.
  absl::Status last_error_ ABSL_GUARDED_BY(mu_);
  int64_t failures_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread thread_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_PRODUCER_IDS_H_
