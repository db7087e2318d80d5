// ProducerIdentity gets a producer its id: InitProducer, again with backoff while that fails for
// now.
//
// It asks until it has got one, and never for a second one: who wants an id later is given the
// same.
//
// A Producer owns one. Threads: any. The callbacks come on gRPC's threads or in OnTimer(), with no
// lock held, one at a time; Shutdown() cancels the call and waits for it, so never call it from
// one.
#ifndef LIBS_CLIENT_PRODUCER_IDENTITY_H_
#define LIBS_CLIENT_PRODUCER_IDENTITY_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "falaj/v1/producer_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"

namespace falaj::client {

class ProducerIdentity {
 public:
  struct Events {
    std::function<void(ProducerId)> got;
    std::function<void(const absl::Status&)> failed;  // It will not pass by itself.
    std::function<void(MonotonicTime)> wake_at;       // Asks for OnTimer().
  };

  ProducerIdentity(const std::shared_ptr<grpc::Channel>& channel, std::string client_id,
                   Clock* clock, Events events);
  ~ProducerIdentity() { Shutdown(); }
  ProducerIdentity(const ProducerIdentity&) = delete;
  ProducerIdentity& operator=(const ProducerIdentity&) = delete;

  // An id is wanted. Does not call back, nor wait.
  void Want();
  // Asks, if that is due, or hands out what has come.
  void OnTimer(MonotonicTime now);
  void Shutdown();

 private:
  void Ask(MonotonicTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OnAnswer(const grpc::Status& status);

  const std::unique_ptr<v1::ProducerService::Stub> stub_;
  Clock* const clock_;
  const Events events_;
  v1::InitProducerRequest request_;

  Mutex mu_;
  CondVar idle_;
  bool wanted_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<ProducerId> producer_ ABSL_GUARDED_BY(mu_);
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  int failures_ ABSL_GUARDED_BY(mu_) = 0;  // In a row.
  MonotonicTime ask_at_ ABSL_GUARDED_BY(mu_);
  // Of the call under way; null: none is.
  std::unique_ptr<grpc::ClientContext> context_ ABSL_GUARDED_BY(mu_);
  v1::InitProducerResponse response_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_PRODUCER_IDENTITY_H_
