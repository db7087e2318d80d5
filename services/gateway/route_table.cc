#include "services/gateway/route_table.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kLeaderRetryDelay = absl::Milliseconds(100);
constexpr size_t kClientIdBytesMax = 255;

absl::Status TopicNotFound(absl::string_view name) {
  return MakeError(Reason::kTopicNotFound, absl::StrCat("there is no topic '", name, "'"),
                   {{"topic", std::string(name)}});
}

absl::StatusOr<Route> FindIn(const cluster::ClusterView& view, const cluster::TopicInfo& topic,
                             PartitionIndex partition) {
  FALAJ_RETURN_IF_ERROR(CheckPartition(topic, partition));
  const cluster::PartitionInfo& info = topic.partitions[static_cast<size_t>(partition.value())];
  const cluster::NodeInfo* leader = view.FindLeader(info);
  if (leader == nullptr) {
    return WithRetryAfter(
        MakeError(
            Reason::kLeaderUnavailable,
            absl::StrCat("partition ", partition, " of topic '", topic.name, "' has no leader now"),
            {{"topic", topic.name}, {"partition", absl::StrCat(partition)}}),
        kLeaderRetryDelay);
  }
  return Route{topic.id, info.leader_epoch, leader->address};
}

}  // namespace

RouteTable::RouteTable(rpc::MetadataChannel* metadata, Clock* clock)
    : metadata_(metadata), clock_(clock) {}

RouteTable::~RouteTable() { Stop(); }

void RouteTable::Start() {
  // The first events may come, and ask for age(), before this has returned.
  auto watch = metadata_->WatchCluster(Uuid(), [this](const auto& event) { return Take(event); });
  MutexLock lock(&mu_);
  watch_ = std::move(watch);
}

void RouteTable::Stop() {
  std::unique_ptr<rpc::MetadataChannel::Watch> watch;  // Ends without the lock: it calls Take().
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
    watch = std::move(watch_);
  }
}

absl::Status RouteTable::Take(const internal::v1::WatchClusterResponse& event) {
  absl::StatusOr<cluster::ClusterView::Ptr> next = cluster::ClusterView::Advance(View(), event);
  if (!next.ok()) {
    log::Error("a metadata event does not fit; starting again from a snapshot",
               {{"error", next.status()}});
    return next.status();
  }
  {
    MutexLock lock(&mu_);
    view_ = *next;
    if (!event.has_snapshot() && !event.has_delta()) confirmed_ = clock_->MonotonicNow();
  }
  {
    MutexLock lock(&listeners_->mu);
    for (const auto& [id, listener] : listeners_->by_id) listener(*next, event);
  }
  MutexLock lock(&mu_);
  told_ = (*next)->index();
  changed_.NotifyAll();
  return absl::OkStatus();
}

cluster::ClusterView::Ptr RouteTable::View() const {
  MutexLock lock(&mu_);
  return view_;
}

absl::StatusOr<TopicPtr> RouteTable::FindTopic(absl::string_view name) const {
  const cluster::ClusterView::Ptr view = View();
  if (view->cluster_id().is_nil()) {
    return WithRetryAfter(MakeError(Reason::kMetadataUnavailable,
                                    "this gateway has not reached the metadata service yet"),
                          kLeaderRetryDelay);
  }
  const auto it = view->topics().find(name);
  if (it == view->topics().end()) return TopicNotFound(name);
  return it->second;
}

absl::Status RouteTable::Exists(absl::string_view topic, PartitionIndex partition) const {
  FALAJ_ASSIGN_OR_RETURN(const TopicPtr info, FindTopic(topic));
  return CheckPartition(*info, partition);
}

absl::StatusOr<Route> RouteTable::Find(absl::string_view topic, PartitionIndex partition) const {
  FALAJ_ASSIGN_OR_RETURN(const TopicPtr info, FindTopic(topic));
  return FindIn(*View(), *info, partition);
}

absl::StatusOr<Route> RouteTable::Find(const TopicId& topic, PartitionIndex partition) const {
  const cluster::ClusterView::Ptr view = View();
  const cluster::TopicInfo* info = view->FindTopic(topic);
  if (info == nullptr) return TopicNotFound(topic.ToString());
  return FindIn(*view, *info, partition);
}

absl::Status RouteTable::WaitForIndex(LogIndex index, absl::Duration timeout) {
  const MonotonicTime deadline = clock_->MonotonicNow() + timeout;
  MutexLock lock(&mu_);
  while (told_ < index) {
    const absl::Duration left = deadline - clock_->MonotonicNow();
    if (stopping_ || left <= absl::ZeroDuration()) {
      return MakeError(Reason::kTimedOut,
                       "the change is made, but has not reached this gateway in time");
    }
    changed_.WaitFor(&mu_, left);
  }
  return absl::OkStatus();
}

std::shared_ptr<void> RouteTable::Listen(Listener listener) {
  MutexLock lock(&listeners_->mu);
  const uint64_t id = listeners_->next_id++;
  listeners_->by_id[id] = std::move(listener);
  return std::shared_ptr<void>(nullptr, [listeners = listeners_, id](void*) {
    MutexLock drop_lock(&listeners->mu);
    listeners->by_id.erase(id);
  });
}

absl::Duration RouteTable::age() const {
  MutexLock lock(&mu_);
  if (watch_ == nullptr || watch_->last_message().ns == 0) return absl::InfiniteDuration();
  return clock_->MonotonicNow() - watch_->last_message();
}

absl::Duration RouteTable::confirmed_age() const {
  MutexLock lock(&mu_);
  return confirmed_.has_value() ? clock_->MonotonicNow() - *confirmed_ : absl::InfiniteDuration();
}

absl::Status CheckAcks(v1::Acks acks) {
  if (acks == v1::ACKS_NONE || acks == v1::ACKS_LEADER || acks == v1::ACKS_ALL)
    return absl::OkStatus();
  return MakeError(Reason::kInvalidRequest, "acks must be NONE, LEADER or ALL",
                   {{"field", "acks"}, {"value", absl::StrCat(static_cast<int>(acks))}});
}

absl::Status CheckClientId(absl::string_view client_id, absl::string_view field) {
  if (client_id.size() <= kClientIdBytesMax) return absl::OkStatus();
  return MakeError(
      Reason::kInvalidRequest,
      absl::StrCat("client_id has ", client_id.size(), " bytes, the limit is ", kClientIdBytesMax),
      {{"field", std::string(field)}, {"limit_bytes", absl::StrCat(kClientIdBytesMax)}});
}

absl::Status CheckPartition(const cluster::TopicInfo& topic, PartitionIndex partition) {
  const auto count = static_cast<int32_t>(topic.partitions.size());
  if (partition.value() >= 0 && partition.value() < count) return absl::OkStatus();
  return MakeError(
      Reason::kPartitionNotFound,
      absl::StrCat("topic '", topic.name, "' has partitions 0 to ", count - 1, ", not ", partition),
      {{"topic", topic.name},
       {"partition", absl::StrCat(partition)},
       {"partition_count", absl::StrCat(count)}});
}

absl::Status CheckBatch(const cluster::TopicInfo& topic, PartitionIndex partition,
                        size_t size_bytes) {
  FALAJ_RETURN_IF_ERROR(CheckPartition(topic, partition));
  const auto limit = static_cast<size_t>(topic.settings.batch_bytes_max());
  if (size_bytes == 0)
    return MakeError(Reason::kInvalidBatch, "the batch is empty", {{"field", "batch"}});
  if (size_bytes <= limit) return absl::OkStatus();
  return MakeError(
      Reason::kRecordTooLarge,
      absl::StrCat("the batch has ", size_bytes, " bytes, the topic takes at most ", limit),
      {{"field", "batch"},
       {"size_bytes", absl::StrCat(size_bytes)},
       {"limit_bytes", absl::StrCat(limit)}});
}

absl::Status ErrorOfNode(const v1::Error& error) { return OfNode(rpc::FromProto(error)); }

absl::Status OfNode(const absl::Status& status) {
  if (ReasonOf(status) != Reason::kPartitionNotFound) return status;
  return WithRetryAfter(MakeError(Reason::kLeaderUnavailable, status.message(), MetadataOf(status)),
                        kLeaderRetryDelay);
}

bool IsLeaderMissing(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case Reason::kNotLeader:
    case Reason::kLeaderUnavailable:
    case Reason::kShuttingDown:
      return true;
    default:
      return status.code() == absl::StatusCode::kUnavailable;
  }
}

}  // namespace falaj::gateway
