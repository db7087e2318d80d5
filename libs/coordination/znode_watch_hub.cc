#include "libs/coordination/znode_watch_hub.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/coordination/command_rules.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

// Positions in an entry's changes; distinct, rising.
using Positions = std::vector<uint32_t>;

constexpr size_t kChangeBytes = 256;  // What a change takes besides path and data, about.

ZnodeWatchMessage MakeMessage(LogIndex index, const ZnodeChanges& changes,
                              const Positions& matches) {
  v1::WatchZnodesResponse response;
  response.set_index(index.value());
  response.mutable_events()->Reserve(static_cast<int>(matches.size()));
  for (const uint32_t position : matches) {
    const ZnodeChange& change = changes[position];
    v1::ZnodeEvent* const event = response.add_events();
    event->set_type(change.type);
    if (change.type == v1::ZNODE_EVENT_TYPE_DELETED) {
      FillWithoutData(*change.znode, event->mutable_znode());
    } else {
      FillWithData(*change.znode, event->mutable_znode());
    }
  }
  const size_t size = response.ByteSizeLong();
  return {std::make_shared<const v1::WatchZnodesResponse>(std::move(response)), size};
}

// Calls `visit(scope, path)` for every watch that would match the change.
template <typename Visit>
void VisitScopes(const ZnodeChange& change, Visit&& visit) {
  absl::string_view path = change.znode->path();
  visit(v1::WATCH_SCOPE_ZNODE, path);
  visit(v1::WATCH_SCOPE_SUBTREE, path);
  if (path == kRootPath) return;
  // Setting a child's data is nothing to who watches the list of children.
  if (change.type != v1::ZNODE_EVENT_TYPE_CHANGED) {
    visit(v1::WATCH_SCOPE_CHILDREN, ParentOf(path));
  }
  do {
    path = ParentOf(path);
    visit(v1::WATCH_SCOPE_SUBTREE, path);
  } while (path != kRootPath);
}

absl::Status Compacted(absl::string_view why, uint64_t first_index, uint64_t last_index) {
  return MakeError(
      Reason::kWatchCompacted, why,
      {{"first_index", absl::StrCat(first_index)}, {"last_index", absl::StrCat(last_index)}});
}

}  // namespace

bool ZnodeWatchHub::Watching::Matches(const ZnodeChange& change) const {
  bool matches = false;
  VisitScopes(change, [&](v1::WatchScope scope, absl::string_view path) {
    if (matches) return;
    const auto at = std::lower_bound(scopes.begin(), scopes.end(), path,
                                     [scope](const Scope& a, absl::string_view b) {
                                       const int order = absl::string_view(a.path).compare(b);
                                       return order < 0 || (order == 0 && a.scope < scope);
                                     });
    matches = at != scopes.end() && at->path == path && at->scope == scope;
  });
  return matches;
}

ZnodeWatchHub::Index& ZnodeWatchHub::IndexOf(v1::WatchScope scope) {
  if (scope == v1::WATCH_SCOPE_ZNODE) return znode_watchers_;
  return scope == v1::WATCH_SCOPE_CHILDREN ? children_watchers_ : subtree_watchers_;
}

void ZnodeWatchHub::Reset(LogIndex index) {
  floor_ = index;
  history_.clear();
  history_bytes_ = 0;
  CloseAll(Compacted("the state was replaced by a snapshot", index.value(), index.value()));
}

void ZnodeWatchHub::Publish(LogIndex index, const ZnodeChanges& changes) {
  if (changes.empty()) return;
  Keep(index, changes);
  std::vector<std::pair<WatcherId, uint32_t>> found;
  for (size_t i = 0; i < changes.size(); ++i) {
    FindWatchers(changes[i], static_cast<uint32_t>(i), &found);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());

  std::map<Positions, ZnodeWatchMessage> messages;  // Most watchers of an entry want the same one.
  std::vector<WatcherId> gone;
  for (size_t at = 0; at < found.size();) {
    const WatcherId id = found[at].first;
    Positions matches;
    for (; at < found.size() && found[at].first == id; ++at) matches.push_back(found[at].second);
    ZnodeWatchMessage& message = messages[matches];
    if (message.response == nullptr) message = MakeMessage(index, changes, matches);
    if (!Deliver(watchers_.find(id)->second.watcher.get(), message)) gone.push_back(id);
  }
  for (const WatcherId id : gone) Drop(id);
}

void ZnodeWatchHub::FindWatchers(const ZnodeChange& change, uint32_t position,
                                 std::vector<std::pair<WatcherId, uint32_t>>* found) const {
  VisitScopes(change, [&](v1::WatchScope scope, absl::string_view path) {
    const Index& index = scope == v1::WATCH_SCOPE_ZNODE      ? znode_watchers_
                         : scope == v1::WATCH_SCOPE_CHILDREN ? children_watchers_
                                                             : subtree_watchers_;
    if (index.empty()) return;
    const auto watching = index.find(path);
    if (watching == index.end()) return;
    for (const WatcherId id : watching->second) found->emplace_back(id, position);
  });
}

void ZnodeWatchHub::Keep(LogIndex index, const ZnodeChanges& changes) {
  Published published{index, changes};
  for (const ZnodeChange& change : changes) {
    published.bytes += static_cast<size_t>(change.znode->size_bytes()) + kChangeBytes;
  }
  history_bytes_ += published.bytes;
  history_.push_back(std::move(published));
  while (history_.size() > options_.history_entries || history_bytes_ > options_.history_bytes) {
    floor_ = history_.front().index;
    history_bytes_ -= history_.front().bytes;
    history_.pop_front();
  }
}

bool ZnodeWatchHub::Deliver(ZnodeWatcher* watcher, const ZnodeWatchMessage& message) const {
  if (message.size_bytes <= options_.message_bytes_max) return watcher->Push(message);
  const uint64_t index = message.response->index();
  watcher->Close(Compacted(
      absl::StrCat("the changes of entry ", index, " are larger than a message: read again"), index,
      index));
  return false;
}

absl::Status ZnodeWatchHub::Add(LogIndex applied, const v1::WatchZnodesRequest& request,
                                std::shared_ptr<ZnodeWatcher> watcher) {
  FALAJ_RETURN_IF_ERROR(ValidateWatch(request));
  Watching watching{std::move(watcher), {}};
  for (const v1::ZnodeWatch& watch : request.watches()) {
    watching.scopes.push_back({watch.path(), watch.scope()});
  }
  std::sort(watching.scopes.begin(), watching.scopes.end());
  watching.scopes.erase(std::unique(watching.scopes.begin(), watching.scopes.end()),
                        watching.scopes.end());
  const auto limit = [](size_t value) { return static_cast<int64_t>(value); };
  if (watchers_.size() >= options_.watchers_max) {
    return QuotaExceeded("watchers", limit(watchers_.size() + 1), limit(options_.watchers_max));
  }
  if (const size_t count = watch_count_ + watching.scopes.size();
      count > options_.watches_total_max) {
    return QuotaExceeded("watches", limit(count), limit(options_.watches_total_max));
  }
  const LogIndex after = request.after_index() == 0 ? applied : LogIndex(request.after_index());
  if (after > applied) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("after_index ", after, " is not applied yet, only ", applied),
                     {{"field", "after_index"},
                      {"value", absl::StrCat(after)},
                      {"limit", absl::StrCat(applied)}});
  }
  if (after < floor_) {
    return Compacted(absl::StrCat("changes after ", after, " are not kept; they are from ", floor_,
                                  " to ", applied),
                     floor_.value(), applied.value());
  }
  if (!Replay(watching, after)) return absl::OkStatus();  // It has ended; it knows.

  const WatcherId id = next_id_++;
  for (const Scope& scope : watching.scopes) IndexOf(scope.scope)[scope.path].push_back(id);
  watch_count_ += watching.scopes.size();
  ids_[watching.watcher.get()] = id;
  watchers_.emplace(id, std::move(watching));
  return absl::OkStatus();
}

bool ZnodeWatchHub::Replay(const Watching& watching, LogIndex after) const {
  ZnodeWatcher* const watcher = watching.watcher.get();
  if (!Deliver(watcher, MakeMessage(after, {}, {}))) return false;
  auto entry = std::upper_bound(
      history_.begin(), history_.end(), after,
      [](LogIndex index, const Published& published) { return index < published.index; });
  for (; entry != history_.end(); ++entry) {
    Positions matches;
    for (uint32_t i = 0; i < entry->changes.size(); ++i) {
      if (watching.Matches(entry->changes[i])) matches.push_back(i);
    }
    if (matches.empty()) continue;
    if (!Deliver(watcher, MakeMessage(entry->index, entry->changes, matches))) return false;
  }
  return true;
}

void ZnodeWatchHub::Drop(WatcherId id) {
  const auto dropped = watchers_.find(id);
  for (const Scope& scope : dropped->second.scopes) {
    Index& index = IndexOf(scope.scope);
    const auto watching = index.find(scope.path);
    std::vector<WatcherId>& ids = watching->second;
    ids.erase(std::lower_bound(ids.begin(), ids.end(), id));
    if (ids.empty()) index.erase(watching);
  }
  watch_count_ -= dropped->second.scopes.size();
  ids_.erase(dropped->second.watcher.get());
  watchers_.erase(dropped);
}

void ZnodeWatchHub::Remove(const ZnodeWatcher* watcher) {
  if (const auto found = ids_.find(watcher); found != ids_.end()) Drop(found->second);
}

void ZnodeWatchHub::Keepalive(LogIndex index) {
  std::vector<WatcherId> gone;
  for (const auto& [id, watching] : watchers_) {
    if (!watching.watcher->PushKeepalive(index.value())) gone.push_back(id);
  }
  for (const WatcherId id : gone) Drop(id);
}

void ZnodeWatchHub::CloseAll(const absl::Status& status) {
  const std::map<WatcherId, Watching> watchers = std::exchange(watchers_, {});
  ids_.clear();
  znode_watchers_.clear();
  children_watchers_.clear();
  subtree_watchers_.clear();
  watch_count_ = 0;
  for (const auto& [id, watching] : watchers) watching.watcher->Close(status);
}

}  // namespace falaj::coordination
