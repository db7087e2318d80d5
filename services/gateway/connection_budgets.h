// ConnectionBudgets counts the bytes a gateway holds for its clients twice, for all of them
// together and for each connection, so that one client cannot use up what is there for everybody.
//
//   CallBudget budget = budgets.Open(context->peer());  // once for each call or stream
//   budget.Add(frame_bytes); ... budget.Remove(frame_bytes);
//
// A connection is one TCP connection, known by its peer address ("ipv4:10.0.0.7:40112"). Clients
// behind a proxy that merges their connections share one budget.
//
// Ownership: the gateway owns the ConnectionBudgets, which outlives every CallBudget. What is
// counted of a connection is kept by its calls and goes with the last of them, so that there are
// never more entries than open calls.
//
// Threads: any.
#ifndef SERVICES_GATEWAY_CONNECTION_BUDGETS_H_
#define SERVICES_GATEWAY_CONNECTION_BUDGETS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "libs/base/mutex.h"
#include "services/gateway/byte_budget.h"

namespace falaj::gateway {

// What is used up.
enum class BudgetScope { kConnection, kGateway };

// CallBudget is one call's share in the two budgets it counts against. Copies count together. Who
// adds bytes removes them again, at the latest when the call ends. Threads: any.
class CallBudget {
 public:
  void Add(int64_t bytes) const;
  // Runs what waits for room, on this thread: call it without a lock held.
  void Remove(int64_t bytes) const;
  // The budget that has no room; nullopt if both have.
  std::optional<BudgetScope> Full() const;
  // The same, and if one has no room `resume` is called, once, when it has: look again then.
  std::optional<BudgetScope> AwaitRoom(std::function<void()> resume) const;

 private:
  friend class ConnectionBudgets;
  class Connection;
  CallBudget(std::shared_ptr<Connection> connection, ByteBudget* total);

  std::shared_ptr<Connection> connection_;
  ByteBudget* total_;
};

class ConnectionBudgets {
 public:
  ConnectionBudgets(int64_t connection_bytes_max, int64_t total_bytes_max)
      : connection_bytes_max_(connection_bytes_max), total_(total_bytes_max) {}
  ConnectionBudgets(const ConnectionBudgets&) = delete;
  ConnectionBudgets& operator=(const ConnectionBudgets&) = delete;

  // For one call of the connection from `peer`.
  CallBudget Open(const std::string& peer);

  int64_t used_bytes() const { return total_.used_bytes(); }  // Of all connections.
  size_t connections() const;                                 // With a call open.

 private:
  friend class CallBudget::Connection;
  void Forget(const std::string& peer);

  const int64_t connection_bytes_max_;
  mutable Mutex mu_;
  absl::flat_hash_map<std::string, std::weak_ptr<CallBudget::Connection>> connections_
      ABSL_GUARDED_BY(mu_);
  ByteBudget total_;  // Destroyed first: whoever still waits in it refers to a connection.
};

// QUOTA_EXCEEDED naming the budget, with the time to wait: for calls that are refused.
absl::Status BudgetExceeded(BudgetScope scope);

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_CONNECTION_BUDGETS_H_
