// One version of one znode, and how versions are ordered in the tree.
#ifndef LIBS_COORDINATION_ZNODE_H_
#define LIBS_COORDINATION_ZNODE_H_

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "falaj/internal/v1/coordination.pb.h"
#include "falaj/v1/coordination_service.pb.h"

#include "libs/base/ids.h"
#include "libs/coordination/content_hash.h"

namespace falaj::coordination {

// Znode is one version of one znode. Immutable once it is in the tree, so that the tree, its copies
// and watchers share it; versions share path and data as long as these are equal.
struct Znode {
  SharedBytes shared_path;  // Never null.
  SharedBytes shared_data;  // Never null.
  LogIndex create_index;
  LogIndex modify_index;
  LogIndex children_index;
  int64_t version = 0;
  int64_t children_version = 0;
  int64_t child_count = 0;
  SessionId ephemeral_session;  // 0 = it stays.
  int64_t create_time_ms = 0;
  int64_t modify_time_ms = 0;
  uint64_t next_sequence = 0;

  const std::string& path() const { return shared_path->bytes; }
  const std::string& data() const { return shared_data->bytes; }
  bool is_ephemeral() const { return ephemeral_session != SessionId(0); }
  // What it counts for in the quota.
  int64_t size_bytes() const { return static_cast<int64_t>(path().size() + data().size()); }
  // Of all fields. Never of the address of anything.
  uint64_t Hash() const;
};
using ZnodePtr = std::shared_ptr<const Znode>;

// What one step did to one znode: the version it left, or for DELETED the last one.
struct ZnodeChange {
  v1::ZnodeEventType type = v1::ZNODE_EVENT_TYPE_UNSPECIFIED;
  ZnodePtr znode;
};
using ZnodeChanges = std::vector<ZnodeChange>;

// ZnodeKey orders the tree by (path of the parent, name), so that the children of a znode stand
// side by side. "/" comes first, and every parent before its children. Views the path it was made
// of.
struct ZnodeKey {
  // Requires: a valid path.
  explicit ZnodeKey(absl::string_view path) {
    const size_t slash = path.rfind('/');
    parent = path.substr(0, slash);
    name = path.substr(slash + 1);
  }
  // `parent_path` as in Znode::path: "/" for the root.
  ZnodeKey(absl::string_view parent_path, absl::string_view the_name)
      : parent(parent_path.size() == 1 ? absl::string_view() : parent_path), name(the_name) {}

  absl::string_view parent;  // Empty for children of "/", and for "/" itself.
  absl::string_view name;    // Empty for "/" only.

  friend std::strong_ordering operator<=>(const ZnodeKey& a, const ZnodeKey& b) {
    if (const int order = a.parent.compare(b.parent); order != 0) return order <=> 0;
    return a.name.compare(b.name) <=> 0;
  }
  friend bool operator==(const ZnodeKey& a, const ZnodeKey& b) {
    return a.name == b.name && a.parent == b.parent;
  }
};

// The wire's idea of a znode.
void FillStat(const Znode& znode, v1::ZnodeStat* stat);
void FillWithoutData(const Znode& znode, v1::Znode* message);
void FillWithData(const Znode& znode, v1::Znode* message);

// A snapshot's idea of a znode.
void FillState(const Znode& znode, internal::v1::ZnodeState* state);
Znode ZnodeOf(const internal::v1::ZnodeState& state);

}  // namespace falaj::coordination

#endif  // LIBS_COORDINATION_ZNODE_H_
