// PersistentMap: an ordered map whose copies cost nothing.
#ifndef LIBS_BASE_PERSISTENT_MAP_H_
#define LIBS_BASE_PERSISTENT_MAP_H_

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

namespace falaj {

// PersistentMap is an ordered map that is copied in O(1): copies share their nodes, and whoever
// changes a shared node makes its own version of it and of those above it.
//
//   PersistentMap<int64_t, std::shared_ptr<const Session>> sessions;
//   sessions.Assign(7, session);
//   auto then = sessions;               // A pointer.
//   sessions.Erase(7);                  // Clones the way to 7; `then` still has it.
//   for (const auto& [id, session] : then) ...
//
// State machines keep their tables in it, so that a snapshot is a copy of today's, written by
// another thread while the log goes on being applied.
//
// An AVL tree. While no copy is alive a change works in place, as in std::map; with one alive it
// allocates at most one node a level, until the shared ones are replaced. Keys and values are
// copied with their nodes: make them small (ids, shared_ptr). Values are only read in place, and
// replaced by Assign().
//
// Order is a three-way comparison; it may also compare keys with other types, for Find(),
// LowerBound() and Erase().
//
// Invariants: the heights of siblings differ by at most one, so nothing recurses deeper than
// kHeightMax, destruction included. A node may be changed if it and all above it are referred to
// once: nobody else can reach it then.
//
// Threads: two maps are independent even if one is a copy of the other: each may be used, changed
// and destroyed by a thread of its own. The counters of the nodes are atomic; the check for "once"
// acquires what the thread that dropped the other reference released. One map by itself is like a
// std::map. Whoever drops the last reference to a node pays for freeing it.
template <typename K, typename V, typename Order = std::compare_three_way>
class PersistentMap {
  class Ref;
  struct Node;

 public:
  // 1.45 log2(n) levels for n nodes.
  static constexpr size_t kHeightMax = 48;

  // One pair of the map, for `for (const auto& [key, value] : map)`.
  struct Item {
    const K& key;
    const V& value;
  };

  // Goes forward in order. Valid until its map changes or ends.
  class Iterator {
   public:
    Iterator() = default;
    bool at_end() const { return depth_ == 0; }
    Item operator*() const { return {key(), value()}; }
    const K& key() const { return above_[depth_ - 1]->key; }
    const V& value() const { return above_[depth_ - 1]->value; }
    Iterator& operator++() {
      const Node* const node = above_[--depth_];
      DescendLeft(node->right.get());
      return *this;
    }
    friend bool operator==(const Iterator& a, std::default_sentinel_t) { return a.at_end(); }

   private:
    friend class PersistentMap;
    void DescendLeft(const Node* node) {
      for (; node != nullptr; node = node->left.get()) above_[depth_++] = node;
    }
    // The node it is at, on top of those whose turn comes later.
    std::array<const Node*, kHeightMax> above_;
    size_t depth_ = 0;
  };

  PersistentMap() = default;
  // A move is a copy, so that nothing is left half emptied.
  PersistentMap(const PersistentMap&) = default;
  PersistentMap& operator=(const PersistentMap&) = default;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  Iterator begin() const {
    Iterator at;
    at.DescendLeft(root_.get());
    return at;
  }
  std::default_sentinel_t end() const { return {}; }

  // The value of `key`, or null. Valid until the map changes or ends.
  template <typename Q>
  const V* Find(const Q& key) const {
    const Node* node = root_.get();
    while (node != nullptr) {
      const auto order = Order()(key, node->key);
      if (std::is_eq(order)) return &node->value;
      node = std::is_lt(order) ? node->left.get() : node->right.get();
    }
    return nullptr;
  }

  // At the first key that is not less than `key`.
  template <typename Q>
  Iterator LowerBound(const Q& key) const {
    Iterator at;
    const Node* node = root_.get();
    while (node != nullptr) {
      if (std::is_lteq(Order()(key, node->key))) {
        at.above_[at.depth_++] = node;
        node = node->left.get();
      } else {
        node = node->right.get();
      }
    }
    return at;
  }

  // Inserts the pair, or replaces key and value of an equal key. True if it is new.
  bool Assign(K key, V value) {
    const bool is_new = AssignBelow(&root_, &key, &value);
    if (is_new) ++size_;
    return is_new;
  }

  // Removes `key`. False, without any effect, if it is not there. Requires: `key` is not a
  // reference into the map; it may be a view of what a value points to.
  template <typename Q>
  bool Erase(const Q& key) {
    if (Find(key) == nullptr) return false;
    EraseBelow(&root_, key);
    --size_;
    return true;
  }

 private:
  // A counted reference to a node.
  class Ref {
   public:
    Ref() = default;
    explicit Ref(Node* node) : node_(node) {}  // Takes over the new node's first reference.
    Ref(const Ref& other) : node_(other.node_) {
      // Whoever copies a reference holds one: nothing to synchronise with.
      if (node_ != nullptr) node_->references.fetch_add(1, std::memory_order_relaxed);
    }
    Ref(Ref&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
      std::swap(node_, other.node_);
      return *this;
    }
    ~Ref() {
      if (node_ == nullptr) return;
      if (node_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete node_;
    }

    Node* get() const { return node_; }
    Node* operator->() const { return node_; }
    explicit operator bool() const { return node_ != nullptr; }
    // Acquires, so that reads of a copy that was dropped come before the changes that follow.
    bool unique() const { return node_->references.load(std::memory_order_acquire) == 1; }

   private:
    Node* node_ = nullptr;
  };

  struct Node {
    Node(K the_key, V the_value) : key(std::move(the_key)), value(std::move(the_value)) {}
    Node(const Node& other)
        : height(other.height),
          left(other.left),
          right(other.right),
          key(other.key),
          value(other.value) {}
    Node& operator=(const Node&) = delete;

    std::atomic<uint32_t> references = 1;
    int32_t height = 1;
    Ref left;
    Ref right;
    K key;
    V value;
  };

  // Makes the node of *slot this map's alone. Requires: the one that holds the slot is.
  static Node* Own(Ref* slot) {
    if (!slot->unique()) *slot = Ref(new Node(*slot->get()));
    return slot->get();
  }

  static int32_t Height(const Ref& node) { return node ? node->height : 0; }
  static void Measure(Node* node) {
    const int32_t left = Height(node->left);
    const int32_t right = Height(node->right);
    node->height = 1 + (left > right ? left : right);
  }

  // Lifts the child on `side` above *slot. Requires: *slot and that child are owned.
  template <Ref Node::*side, Ref Node::*other_side>
  static void Lift(Ref* slot) {
    Ref node = std::move(*slot);
    Ref child = std::move(node.get()->*side);
    node.get()->*side = std::move(child.get()->*other_side);
    Measure(node.get());
    child.get()->*other_side = std::move(node);
    Measure(child.get());
    *slot = std::move(child);
  }

  // Restores the invariant at *slot, which is owned, after one side of it grew or shrank by one.
  static void Balance(Ref* slot) {
    Node* const node = slot->get();
    const int32_t lean = Height(node->left) - Height(node->right);
    if (lean > 1) {
      Node* const left = Own(&node->left);
      if (Height(left->left) < Height(left->right)) {
        Own(&left->right);
        Lift<&Node::right, &Node::left>(&node->left);
      }
      Lift<&Node::left, &Node::right>(slot);
    } else if (lean < -1) {
      Node* const right = Own(&node->right);
      if (Height(right->right) < Height(right->left)) {
        Own(&right->left);
        Lift<&Node::left, &Node::right>(&node->right);
      }
      Lift<&Node::right, &Node::left>(slot);
    } else {
      Measure(node);
    }
  }

  static bool AssignBelow(Ref* slot, K* key, V* value) {
    if (!*slot) {
      *slot = Ref(new Node(std::move(*key), std::move(*value)));
      return true;
    }
    Node* const node = Own(slot);
    const auto order = Order()(*key, node->key);
    if (std::is_eq(order)) {
      node->key = std::move(*key);
      node->value = std::move(*value);
      return false;
    }
    const bool is_new = AssignBelow(std::is_lt(order) ? &node->left : &node->right, key, value);
    if (is_new) Balance(slot);
    return is_new;
  }

  // Requires: `key` is there.
  template <typename Q>
  static void EraseBelow(Ref* slot, const Q& key) {
    Node* const node = Own(slot);
    const auto order = Order()(key, node->key);
    if (std::is_lt(order)) {
      EraseBelow(&node->left, key);
    } else if (std::is_gt(order)) {
      EraseBelow(&node->right, key);
    } else if (!node->left || !node->right) {
      Ref rest = std::move(node->left ? node->left : node->right);
      *slot = std::move(rest);
      return;
    } else {
      Ref next = TakeFirst(&node->right);
      next->left = std::move(node->left);
      next->right = std::move(node->right);
      *slot = std::move(next);
    }
    Balance(slot);
  }

  // Unhooks the first node below *slot. It is owned.
  static Ref TakeFirst(Ref* slot) {
    Node* const node = Own(slot);
    if (!node->left) {
      Ref first = std::move(*slot);
      Ref rest = std::move(first->right);
      *slot = std::move(rest);
      return first;
    }
    Ref first = TakeFirst(&node->left);
    Balance(slot);
    return first;
  }

  Ref root_;
  size_t size_ = 0;
};

}  // namespace falaj

#endif  // LIBS_BASE_PERSISTENT_MAP_H_
