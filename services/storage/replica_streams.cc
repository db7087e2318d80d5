// What must reach all replica streams of the node.
#include <algorithm>
#include <utility>

#include "services/storage/replica_stream.h"

namespace falaj::storage {

void ReplicaStreams::Add(std::weak_ptr<ReplicaStream> stream) {
  MutexLock lock(&mu_);
  streams_.erase(std::remove_if(streams_.begin(), streams_.end(),
                                [](const auto& one) { return one.expired(); }),
                 streams_.end());
  streams_.push_back(std::move(stream));
}

void ReplicaStreams::set_on_marks(std::function<void()> on_marks) {
  MutexLock lock(&mu_);
  on_marks_ = std::move(on_marks);
}

void ReplicaStreams::HasMarks() {
  MutexLock lock(&mu_);
  if (on_marks_) on_marks_();
}

std::vector<std::shared_ptr<ReplicaStream>> ReplicaStreams::Open() {
  MutexLock lock(&mu_);
  std::vector<std::shared_ptr<ReplicaStream>> open;
  for (const auto& one : streams_) {
    if (auto stream = one.lock()) open.push_back(std::move(stream));
  }
  return open;
}

void ReplicaStreams::OnAttached(const ReplicaStream* on, NodeId follower,
                                const Partition* partition) {
  for (const auto& stream : Open()) {
    if (stream.get() != on) stream->OnAttachedElsewhere(follower, partition);
  }
}

void ReplicaStreams::SendMarks() {
  for (const auto& stream : Open()) stream->SendMarks();
}

}  // namespace falaj::storage
