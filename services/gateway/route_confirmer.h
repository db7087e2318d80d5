// RouteConfirmer makes sure that what the route table lacks does not exist. The table is a moment
// behind the metadata service: a topic that was just created through another gateway, or partitions
// that were just added there, may be missing here, and a client behind a load balancer must not be
// told that they do not exist.
//
//   idle ── Confirm() ──▶ asking: how far has the cluster changed? ──▶ waiting until the table has
//   it ──▶ answered
//
// One question is under way at a time. Who comes meanwhile waits for the next one, since the answer
// to the first may be older than what he asks for; so however many clients ask for topics that do
// not exist, the metadata service is asked once per round trip.
//
// Failures: callers get LEADER_UNAVAILABLE, which promises that nothing was appended and that
// another attempt helps, if the metadata service does not answer: a question takes 2.5 s at most,
// so they hear after 5 s at most. Who has less time looks at his clock again then.
//
// The server owns it. Threads: any; functions run on a thread of its own, or within Confirm() if it
// does not ask. At most kWaitingMax of them wait; others hear QUOTA_EXCEEDED.
#ifndef SERVICES_GATEWAY_ROUTE_CONFIRMER_H_
#define SERVICES_GATEWAY_ROUTE_CONFIRMER_H_

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "services/gateway/route_table.h"

namespace falaj::gateway {

class RouteConfirmer {
 public:
  // Asks the metadata service for the index of the newest change. Called on the thread of the
  // RouteConfirmer; may block for twice `timeout` (to connect, and to hear).
  using Ask = std::function<absl::StatusOr<LogIndex>(absl::Duration timeout)>;
  using Done = std::function<void(const absl::Status& confirmed)>;

  static constexpr size_t kWaitingMax = 10'000;

  RouteConfirmer(RouteTable* routes, Ask ask);  // The table is not owned.
  ~RouteConfirmer() { Stop(); }
  RouteConfirmer(const RouteConfirmer&) = delete;
  RouteConfirmer& operator=(const RouteConfirmer&) = delete;

  void Start();
  // Who waits hears SHUTTING_DOWN, after the question under way.
  void Stop();

  // Calls `done` once the table has every change that was answered before this call: what it lacks
  // then does not exist. LEADER_UNAVAILABLE, SHUTTING_DOWN, QUOTA_EXCEEDED: it may exist.
  void Confirm(Done done);
  // The same for who may block.
  absl::Status ConfirmNow();

 private:
  void Run();
  absl::Status CatchUp();

  RouteTable* const routes_;
  const Ask ask_;

  Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Done> waiting_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
};

// True if the table says that there is no such topic or partition: to be confirmed before a client
// is told.
bool IsMissing(const absl::Status& found);

// What a client is told of a topic or partition of which the table says `found`: that, unless it is
// missing and could not be confirmed to be.
absl::Status AsConfirmed(const absl::Status& found, const absl::Status& confirmed);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_ROUTE_CONFIRMER_H_
