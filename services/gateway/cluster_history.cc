#include "services/gateway/cluster_history.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/gateway/topic_messages.h"

namespace falaj::gateway {
namespace {

constexpr size_t kChangesMax = 4096;

// The public form of what changed: every named node and topic as it is now.
v1::WatchClusterResponse Translate(const cluster::ClusterView& before,
                                   const cluster::ClusterView& after,
                                   const internal::v1::ClusterDelta& delta) {
  v1::WatchClusterResponse response;
  response.set_metadata_index(after.index().value());
  v1::ClusterDelta* change = response.mutable_delta();
  if (!delta.nodes().empty()) {
    const std::vector<v1::StorageNode> all = ToNodes(after);
    for (const internal::v1::NodeState& changed : delta.nodes()) {
      for (const v1::StorageNode& node : all) {
        if (node.node_id() == changed.node_id()) *change->add_nodes() = node;
      }
    }
  }
  for (const internal::v1::TopicDelta& changed : delta.topics()) {
    if (const auto* topic = after.FindTopic(changed.topic().name()); topic != nullptr) {
      *change->add_topics() = ToTopic(*topic, true);
    }
  }
  for (const std::string& id_bytes : delta.deleted_topics()) {
    const auto id = Uuid::FromBytes(id_bytes);
    if (!id.ok()) continue;
    if (const auto* topic = before.FindTopic(*id); topic != nullptr)
      change->add_deleted_topics(topic->name);
  }
  return response;
}

}  // namespace

ClusterHistory::ClusterHistory(RouteTable* routes)
    : routes_(routes), last_view_(cluster::ClusterView::Empty()) {
  listening_ = routes_->Listen([this](const auto& view, const auto& event) { Take(view, event); });
}

ClusterHistory::~ClusterHistory() { listening_.reset(); }

void ClusterHistory::Take(const cluster::ClusterView::Ptr& view,
                          const internal::v1::WatchClusterResponse& event) {
  if (!event.has_snapshot() && !event.has_delta()) return;
  {
    MutexLock lock(&mu_);
    if (event.has_snapshot()) {  // A new start: what lies between is unknown.
      changes_.clear();
      forgotten_index_ = view->index().value();
    } else {
      changes_.push_back(Translate(*last_view_, *view, event.delta()));
      if (changes_.size() > kChangesMax) {
        forgotten_index_ = changes_.front().metadata_index();
        changes_.pop_front();
      }
    }
    last_view_ = view;
  }
  MutexLock lock(&wake_mu_);
  for (const auto& [id, wake] : wakes_) wake();
}

v1::WatchClusterResponse ClusterHistory::Snapshot() const {
  cluster::ClusterView::Ptr view;
  {
    MutexLock lock(&mu_);
    view = last_view_;
  }
  v1::WatchClusterResponse response;
  response.set_metadata_index(view->index().value());
  v1::ClusterSnapshot* snapshot = response.mutable_snapshot();
  for (v1::StorageNode& node : ToNodes(*view)) *snapshot->add_nodes() = std::move(node);
  for (const auto& [name, topic] : view->topics()) *snapshot->add_topics() = ToTopic(*topic, true);
  return response;
}

absl::StatusOr<std::optional<v1::WatchClusterResponse>> ClusterHistory::After(
    uint64_t index) const {
  MutexLock lock(&mu_);
  if (index < forgotten_index_ || index > routes_->View()->index().value()) {
    return MakeError(
        Reason::kWatchCompacted,
        absl::StrCat("changes after index ", index, " are not kept here; start from a snapshot"),
        {{"index", absl::StrCat(index)}, {"first_index", absl::StrCat(forgotten_index_)}});
  }
  for (const v1::WatchClusterResponse& change : changes_) {
    if (change.metadata_index() > index) return change;
  }
  return std::nullopt;
}

uint64_t ClusterHistory::Subscribe(std::function<void()> wake) {
  MutexLock lock(&wake_mu_);
  wakes_[next_id_] = std::move(wake);
  return next_id_++;
}

void ClusterHistory::Unsubscribe(uint64_t id) {
  MutexLock lock(&wake_mu_);
  wakes_.erase(id);
}

}  // namespace falaj::gateway
