// The changes of the tree, each sure to be allowed: counts, digest and indexes go with them.

#include <utility>

#include "libs/coordination/coordination_state.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {

const ZnodePtr* CoordinationState::FindInTree(absl::string_view path) const {
  return tree_.Find(ZnodeKey(path));
}

void CoordinationState::Put(ZnodePtr znode) {
  const ZnodeKey key(znode->path());
  if (const ZnodePtr* const last = tree_.Find(key); last != nullptr) {
    digest_ ^= (*last)->Hash();
    data_bytes_ -= (*last)->size_bytes();
  } else if (znode->is_ephemeral()) {
    ephemerals_.Assign({znode->ephemeral_session, key}, znode->shared_path);
  }
  digest_ ^= znode->Hash();
  data_bytes_ += znode->size_bytes();
  tree_.Assign(key, std::move(znode));
}

void CoordinationState::Forget(const Znode& znode) {
  const ZnodeKey key(znode.path());
  digest_ ^= znode.Hash();
  data_bytes_ -= znode.size_bytes();
  if (znode.is_ephemeral()) ephemerals_.Erase(EphemeralKey{znode.ephemeral_session, key});
  tree_.Erase(key);
}

void CoordinationState::AddZnode(Entry* entry, std::string path, SharedBytes data,
                                 SessionId owner) {
  auto znode = std::make_shared<Znode>();
  znode->shared_path = ShareBytes(std::move(path));
  znode->shared_data = std::move(data);
  znode->create_index = entry->index;
  znode->modify_index = entry->index;
  znode->children_index = entry->index;
  znode->ephemeral_session = owner;
  znode->create_time_ms = entry->time_ms;
  znode->modify_time_ms = entry->time_ms;
  CountChildren(*entry, ParentOf(znode->path()), 1);
  entry->changes.push_back({v1::ZNODE_EVENT_TYPE_CREATED, znode});
  Put(std::move(znode));
}

void CoordinationState::AddMissingParents(Entry* entry, absl::string_view path) {
  const absl::string_view parent = ParentOf(path);
  if (FindInTree(parent) != nullptr) return;
  AddMissingParents(entry, parent);  // At most as deep as a path has names.
  AddZnode(entry, std::string(parent), ShareBytes(""), SessionId(0));
}

ZnodePtr CoordinationState::ChangeData(Entry* entry, const Znode& znode, SharedBytes data) {
  auto next = std::make_shared<Znode>(znode);
  next->shared_data = std::move(data);
  next->modify_index = entry->index;
  next->modify_time_ms = entry->time_ms;
  ++next->version;
  entry->changes.push_back({v1::ZNODE_EVENT_TYPE_CHANGED, next});
  Put(next);
  return next;
}

void CoordinationState::RemoveZnode(Entry* entry, ZnodePtr znode) {
  Forget(*znode);
  CountChildren(*entry, ParentOf(znode->path()), -1);
  entry->changes.push_back({v1::ZNODE_EVENT_TYPE_DELETED, std::move(znode)});
}

void CoordinationState::CountChildren(const Entry& entry, absl::string_view path, int64_t delta) {
  auto next = std::make_shared<Znode>(**FindInTree(path));
  next->child_count += delta;
  next->children_version += delta < 0 ? -delta : delta;
  next->children_index = entry.index;
  Put(std::move(next));
}

void CoordinationState::RaiseSequence(absl::string_view path) {
  uint64_t number = 0;
  for (const char digit : path.substr(path.size() - kSequenceDigits)) {
    number = number * 10 + static_cast<uint64_t>(digit - '0');
  }
  auto parent = std::make_shared<Znode>(**FindInTree(ParentOf(path)));
  parent->next_sequence = number + 1;
  Put(std::move(parent));
}

}  // namespace falaj::coordination
