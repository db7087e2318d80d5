#include "services/metadata/watch_hub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

WatchEvent MakeEvent(pb::WatchClusterResponse message) {
  const size_t size = message.ByteSizeLong();
  return {std::make_shared<const pb::WatchClusterResponse>(std::move(message)), size};
}

}  // namespace

void WatchHub::Reset(LogIndex index) {
  floor_ = index.value();
  history_.clear();
  history_bytes_ = 0;
  snapshot_ = {};
  CloseAll(MakeError(Reason::kWatchCompacted, "the state was replaced by a snapshot"));
}

void WatchHub::Publish(pb::ClusterDelta delta) {
  pb::WatchClusterResponse message;
  message.set_index(delta.index());
  *message.mutable_delta() = std::move(delta);
  history_.push_back(MakeEvent(std::move(message)));
  const WatchEvent event = history_.back();
  history_bytes_ += event.size_bytes;
  while (history_.size() > options_.history_entries || history_bytes_ > options_.history_bytes) {
    floor_ = history_.front().message->index();
    history_bytes_ -= history_.front().size_bytes;
    history_.pop_front();
  }
  std::erase_if(watchers_, [&event](const auto& watcher) { return !watcher->Push(event); });
}

absl::Status WatchHub::Add(const cluster::ClusterState& state, uint64_t after_index,
                           std::shared_ptr<Watcher> watcher) {
  if (watchers_.size() >= options_.watchers_max) {
    return MakeError(Reason::kQuotaExceeded, "too many watches are open");
  }
  if (after_index == 0) {
    if (watcher->Push(SnapshotOf(state))) watchers_.push_back(std::move(watcher));
    return absl::OkStatus();
  }
  if (after_index > state.index().value()) {
    // Not WATCH_COMPACTED: with a snapshot of this state it would go back.
    return MakeError(Reason::kMetadataUnavailable,
                     absl::StrCat("this node is at ", state.index(), " and does not know ",
                                  after_index, " yet"));
  }
  if (after_index < floor_) {
    return MakeError(
        Reason::kWatchCompacted,
        absl::StrCat("changes after ", after_index, " are not kept; they are from ", floor_, " to ",
                     state.index()),
        {{"first_index", absl::StrCat(floor_)}, {"last_index", absl::StrCat(state.index())}});
  }
  const auto next = std::upper_bound(
      history_.begin(), history_.end(), after_index,
      [](uint64_t index, const WatchEvent& event) { return index < event.message->index(); });
  for (auto event = next; event != history_.end(); ++event) {
    if (!watcher->Push(*event)) return absl::OkStatus();
  }
  pb::WatchClusterResponse alive;  // So that the watcher knows at once that it is up to date.
  alive.set_index(state.index().value());
  if (watcher->PushKeepalive(MakeEvent(std::move(alive)))) watchers_.push_back(std::move(watcher));
  return absl::OkStatus();
}

void WatchHub::Keepalive(LogIndex index) {
  pb::WatchClusterResponse alive;
  alive.set_index(index.value());
  const WatchEvent event = MakeEvent(std::move(alive));
  std::erase_if(watchers_,
                [&event](const auto& watcher) { return !watcher->PushKeepalive(event); });
}

void WatchHub::CloseAll(const absl::Status& status) {
  for (const auto& watcher : watchers_) watcher->Close(status);
  watchers_.clear();
}

const WatchEvent& WatchHub::SnapshotOf(const cluster::ClusterState& state) {
  if (snapshot_.message == nullptr || snapshot_.message->index() != state.index().value()) {
    pb::WatchClusterResponse message;
    message.set_index(state.index().value());
    *message.mutable_snapshot() = state.Snapshot();
    snapshot_ = MakeEvent(std::move(message));
  }
  return snapshot_;
}

}  // namespace falaj::metadata
