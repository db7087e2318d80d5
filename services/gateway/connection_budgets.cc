#include "services/gateway/connection_budgets.h"

#include <utility>

#include "absl/time/time.h"

#include "libs/base/status.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kRetryAfter = absl::Milliseconds(100);

}  // namespace

// Shared by the calls of a connection.
class CallBudget::Connection {
 public:
  Connection(ConnectionBudgets* table, std::string peer, int64_t bytes_max)
      : table_(table), peer_(std::move(peer)), budget_(bytes_max) {}
  ~Connection() { table_->Forget(peer_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ByteBudget* budget() { return &budget_; }

 private:
  ConnectionBudgets* const table_;
  const std::string peer_;
  ByteBudget budget_;
};

CallBudget::CallBudget(std::shared_ptr<Connection> connection, ByteBudget* total)
    : connection_(std::move(connection)), total_(total) {}

void CallBudget::Add(int64_t bytes) const {
  connection_->budget()->Add(bytes);
  total_->Add(bytes);
}

void CallBudget::Remove(int64_t bytes) const {
  // In any order: whoever is woken asks both, and waits in the one that has no room.
  total_->Remove(bytes);
  connection_->budget()->Remove(bytes);
}

std::optional<BudgetScope> CallBudget::Full() const {
  if (connection_->budget()->full()) return BudgetScope::kConnection;
  if (total_->full()) return BudgetScope::kGateway;
  return std::nullopt;
}

std::optional<BudgetScope> CallBudget::AwaitRoom(std::function<void()> resume) const {
  if (!connection_->budget()->HasRoomOrWait(resume)) return BudgetScope::kConnection;
  if (!total_->HasRoomOrWait(std::move(resume))) return BudgetScope::kGateway;
  return std::nullopt;
}

CallBudget ConnectionBudgets::Open(const std::string& peer) {
  MutexLock lock(&mu_);
  std::weak_ptr<CallBudget::Connection>& slot = connections_[peer];
  std::shared_ptr<CallBudget::Connection> connection = slot.lock();
  if (connection == nullptr) {
    connection = std::make_shared<CallBudget::Connection>(this, peer, connection_bytes_max_);
    slot = connection;
  }
  return CallBudget(std::move(connection), &total_);
}

void ConnectionBudgets::Forget(const std::string& peer) {
  MutexLock lock(&mu_);
  const auto it = connections_.find(peer);
  // A new call may have made a new entry since the last one of the old entry ended.
  if (it != connections_.end() && it->second.expired()) connections_.erase(it);
}

size_t ConnectionBudgets::connections() const {
  MutexLock lock(&mu_);
  return connections_.size();
}

absl::Status BudgetExceeded(BudgetScope scope) {
  const bool connection = scope == BudgetScope::kConnection;
  return WithRetryAfter(
      MakeError(Reason::kQuotaExceeded,
                connection ? "this gateway holds as many bytes of this connection as it may"
                           : "this gateway holds as many bytes as it may",
                {{"scope", connection ? "connection" : "gateway"}}),
      kRetryAfter);
}

}  // namespace falaj::gateway
