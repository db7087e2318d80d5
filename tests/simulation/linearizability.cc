#include "tests/simulation/linearizability.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "libs/base/random.h"

namespace falaj::simulation {
namespace {

using Outcome = Operation::Outcome;
using State = std::vector<ZnodeView>;

struct Executed {
  Outcome outcome = Outcome::kOk;
  size_t failed_step = 0;
};

Outcome Check(const ZnodeView& znode, const std::optional<int64_t>& expected_version) {
  if (!znode.exists()) return Outcome::kNotFound;
  if (expected_version && *expected_version != znode.version) return Outcome::kVersionMismatch;
  return Outcome::kOk;
}

// One step on the state; the state is meaningless after an error.
Outcome Execute(const Step& step, ZnodeView* znode) {
  switch (step.kind) {
    case Step::Kind::kGet:
      return Outcome::kOk;
    case Step::Kind::kCreate:
      if (znode->exists()) return Outcome::kAlreadyExists;
      *znode = {0, step.value};
      return Outcome::kOk;
    case Step::Kind::kSet: {
      const Outcome outcome = Check(*znode, step.expected_version);
      if (outcome == Outcome::kOk) *znode = {znode->version + 1, step.value};
      return outcome;
    }
    case Step::Kind::kDelete: {
      const Outcome outcome = Check(*znode, step.expected_version);
      if (outcome == Outcome::kOk) *znode = {};
      return outcome;
    }
    case Step::Kind::kCheck:
      return Check(*znode, step.expected_version);
  }
  return Outcome::kUnknown;
}

bool AnswerIsRight(const Step& step, const ZnodeView& znode) {
  switch (step.kind) {
    case Step::Kind::kGet:
      return step.seen == znode;
    case Step::Kind::kCreate:
    case Step::Kind::kSet:
      return step.seen.version == znode.version;
    default:
      return true;
  }
}

// Changes the state as the operation would. False: its answer is wrong in this state, or its
// outcome is unknown and it would change nothing, which is as good as not at all.
bool Apply(const Operation& operation, State* state) {
  State after = *state;
  Executed executed;
  bool right = true;
  for (size_t i = 0; i < operation.steps.size() && executed.outcome == Outcome::kOk; ++i) {
    const Step& step = operation.steps[i];
    ZnodeView& znode = after[static_cast<size_t>(step.znode)];
    executed = {Execute(step, &znode), i};
    right &= AnswerIsRight(step, znode);
  }
  const bool done = executed.outcome == Outcome::kOk;
  if (operation.outcome == Outcome::kUnknown) {
    if (!done || after == *state) return false;
  } else {
    if (executed.outcome != operation.outcome) return false;
    if (done ? !right : executed.failed_step != operation.failed_step) return false;
  }
  if (done) *state = std::move(after);
  return true;
}

std::string Describe(const Operation& operation) {
  static constexpr const char* kKinds[] = {"get", "create", "set", "delete", "check"};
  std::string text =
      absl::StrCat("[", operation.invoked, ", ",
                   operation.returned == Operation::kNever ? std::string("never")
                                                           : absl::StrCat(operation.returned),
                   "] outcome ", static_cast<int>(operation.outcome));
  for (const Step& step : operation.steps) {
    absl::StrAppend(&text, ", ", kKinds[static_cast<size_t>(step.kind)], " znode ", step.znode,
                    " value ", step.value);
    if (step.expected_version) absl::StrAppend(&text, " if version ", *step.expected_version);
    absl::StrAppend(&text, " saw ", step.seen.value, " version ", step.seen.version);
  }
  return text;
}

// Search finds an order for operations on a few znodes. Invocations and returns are a list in the
// order of time. An operation may come next in the order if no return stands before its invocation
// in what is left of the list; chosen ones are taken out of the list, and put back on the way back.
// Done when only operations of unknown outcome are left: they may never have happened.
//
// Two things keep the search small. What changes nothing, and is right where it stands, is right to
// stand there: no other place is tried. And writes of unknown outcome whose value nobody has seen
// are alike if they do the same to the same znode: of those invoked, one stands for all.
class Search {
 public:
  Search(std::vector<Operation> history, int znodes, size_t configurations_max)
      : history_(std::move(history)),
        state_(static_cast<size_t>(znodes)),
        configurations_max_(configurations_max) {
    std::stable_sort(history_.begin(), history_.end(),
                     [](const auto& a, const auto& b) { return a.invoked < b.invoked; });
    FindAlike();
    MakeList();
    known_left_ = static_cast<size_t>(std::count_if(history_.begin(), history_.end(), IsKnown));
    Random random(1);
    keys_.resize(history_.size());
    for (auto& [high, low] : keys_) high = random.Next(), low = random.Next();
  }

  Judgement Run() {
    size_t at = links_[kHead].next;
    while (known_left_ != 0) {
      const Event& event = events_[at];
      if (!event.is_return) {
        if (TryChoose(event.operation)) {
          at = links_[kHead].next;
        } else {
          at = links_[at].next;
        }
        if (seen_.size() > configurations_max_) return {Verdict::kUndecided, ""};
        continue;
      }
      // An operation had to return before any other could follow: back.
      if (chosen_.size() >= longest_) {
        longest_ = chosen_.size();
        stuck_at_ = event.operation;
      }
      const std::optional<size_t> back = GoBack();
      if (!back) return {Verdict::kNotLinearizable, Describe(history_[stuck_at_])};
      at = links_[*back].next;
    }
    return {};
  }

 private:
  static constexpr size_t kHead = 0;
  static constexpr uint64_t kUnseenValue = std::numeric_limits<uint64_t>::max();
  struct Event {
    size_t operation = 0;
    bool is_return = false;
  };
  struct Link {
    size_t previous = 0;
    size_t next = 0;
  };
  struct Chosen {
    size_t operation = 0;
    State state_before;
  };
  // One of those that are alike: chosen in the order of their numbers.
  struct Alike {
    size_t kind = 0;
    size_t number = 0;
  };
  using Key = std::pair<uint64_t, uint64_t>;

  static bool IsKnown(const Operation& operation) { return operation.outcome != Outcome::kUnknown; }

  // Certainly without an effect.
  static bool ChangesNothing(const Operation& operation) {
    if (!IsKnown(operation)) return false;
    if (operation.outcome != Outcome::kOk) return true;
    return std::all_of(operation.steps.begin(), operation.steps.end(), [](const Step& step) {
      return step.kind == Step::Kind::kGet || step.kind == Step::Kind::kCheck;
    });
  }

  // Sorts what is alike into kinds. The history is in the order of invocation.
  void FindAlike() {
    absl::flat_hash_set<uint64_t> seen_values;
    for (const Operation& operation : history_) {
      for (const Step& step : operation.steps) {
        if (step.kind == Step::Kind::kGet) seen_values.insert(step.seen.value);
      }
    }
    std::map<std::tuple<Step::Kind, int, std::optional<int64_t>>, size_t> kinds;
    alike_.resize(history_.size());
    for (size_t i = 0; i < history_.size(); ++i) {
      Operation& operation = history_[i];
      if (IsKnown(operation) || operation.steps.size() != 1) continue;
      Step& step = operation.steps.front();
      const bool writes = step.kind == Step::Kind::kCreate || step.kind == Step::Kind::kSet;
      if (writes && seen_values.contains(step.value)) continue;
      step.value = kUnseenValue;
      const size_t kind =
          kinds.emplace(std::tuple(step.kind, step.znode, step.expected_version), kinds.size())
              .first->second;
      alike_chosen_.resize(kinds.size());
      alike_size_.resize(kinds.size());
      alike_[i] = {kind, alike_size_[kind]++};
    }
  }

  void MakeList() {
    std::vector<std::pair<int64_t, Event>> ordered;
    for (size_t i = 0; i < history_.size(); ++i) {
      ordered.push_back({history_[i].invoked, {i, false}});
      ordered.push_back({history_[i].returned, {i, true}});
    }
    // Of one instant, invocations first: who touches may overlap.
    std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first, a.second.is_return) < std::pair(b.first, b.second.is_return);
    });
    events_.resize(ordered.size() + 1);
    links_.resize(ordered.size() + 1);
    places_.resize(history_.size());
    for (size_t i = 0; i < ordered.size(); ++i) {
      const Event& event = events_[i + 1] = ordered[i].second;
      (event.is_return ? places_[event.operation].second : places_[event.operation].first) = i + 1;
    }
    for (size_t i = 0; i < links_.size(); ++i) {
      links_[i] = {i == 0 ? links_.size() - 1 : i - 1, i + 1 == links_.size() ? 0 : i + 1};
    }
  }

  void Unlink(size_t at) {
    links_[links_[at].previous].next = links_[at].next;
    links_[links_[at].next].previous = links_[at].previous;
  }
  void Relink(size_t at) {
    links_[links_[at].previous].next = at;
    links_[links_[at].next].previous = at;
  }

  void Toggle(size_t operation) {
    key_.first ^= keys_[operation].first;
    key_.second ^= keys_[operation].second;
  }

  // Which operations are chosen, and the state: 128 bits of hash stand for the former.
  bool IsNew() { return seen_.emplace(key_, StateKey()).second; }
  uint64_t StateKey() const {
    uint64_t key = 0;
    for (const ZnodeView& znode : state_) {
      key = (key ^ static_cast<uint64_t>(znode.version)) * 0x9e3779b97f4a7c15;
      key = (key ^ (key >> 29) ^ znode.value) * 0xbf58476d1ce4e5b9;
    }
    return key;
  }

  bool TryChoose(size_t operation) {
    const std::optional<Alike>& alike = alike_[operation];
    if (alike && alike->number != alike_chosen_[alike->kind]) return false;
    State before = state_;
    if (!Apply(history_[operation], &state_)) return false;
    Toggle(operation);
    if (!IsNew()) {
      Toggle(operation);
      state_ = std::move(before);
      return false;
    }
    known_left_ -= IsKnown(history_[operation]) ? 1 : 0;
    if (alike) ++alike_chosen_[alike->kind];
    chosen_.push_back({operation, std::move(before)});
    Unlink(places_[operation].first);
    Unlink(places_[operation].second);
    return true;
  }

  // To the last choice that might have been another. Returns the place of its invocation.
  std::optional<size_t> GoBack() {
    while (!chosen_.empty()) {
      const bool settled = ChangesNothing(history_[chosen_.back().operation]);
      const size_t place = TakeBack();
      if (!settled) return place;
    }
    return std::nullopt;
  }

  // Returns the place of the invocation that is open again.
  size_t TakeBack() {
    Chosen last = std::move(chosen_.back());
    chosen_.pop_back();
    state_ = std::move(last.state_before);
    Toggle(last.operation);
    known_left_ += IsKnown(history_[last.operation]) ? 1 : 0;
    if (alike_[last.operation]) --alike_chosen_[alike_[last.operation]->kind];
    Relink(places_[last.operation].second);
    Relink(places_[last.operation].first);
    return places_[last.operation].first;
  }

  std::vector<Operation> history_;
  std::vector<std::optional<Alike>> alike_;  // By operation.
  std::vector<size_t> alike_size_;           // By kind.
  std::vector<size_t> alike_chosen_;         // The same.
  std::vector<Event> events_;                // [0] is the list's head.
  std::vector<Link> links_;
  std::vector<std::pair<size_t, size_t>> places_;  // Of each operation's invocation and return.
  std::vector<Key> keys_;
  Key key_;
  State state_;
  size_t known_left_ = 0;
  std::vector<Chosen> chosen_;
  absl::flat_hash_set<std::pair<Key, uint64_t>> seen_;
  const size_t configurations_max_;
  size_t longest_ = 0;
  size_t stuck_at_ = 0;
};

// Znodes that some operation touches together belong to one group (union-find).
class Groups {
 public:
  explicit Groups(size_t znodes) : parents_(znodes) {
    std::iota(parents_.begin(), parents_.end(), size_t{0});
  }
  size_t Of(size_t znode) {
    while (parents_[znode] != znode) znode = parents_[znode] = parents_[parents_[znode]];
    return znode;
  }
  void Join(size_t a, size_t b) { parents_[Of(a)] = Of(b); }

 private:
  std::vector<size_t> parents_;
};

// Names the znodes 0, 1, ... and returns how many there are.
int Renumber(std::vector<Operation>* history) {
  std::map<int, int> numbers;
  for (Operation& operation : *history) {
    for (Step& step : operation.steps) {
      step.znode = numbers.emplace(step.znode, static_cast<int>(numbers.size())).first->second;
    }
  }
  return static_cast<int>(numbers.size());
}

}  // namespace

Judgement JudgeLinearizability(std::vector<Operation> history, size_t configurations_max) {
  std::erase_if(history, [](const Operation& operation) { return operation.steps.empty(); });
  Groups groups(static_cast<size_t>(Renumber(&history)));
  const auto znode = [](const Step& step) { return static_cast<size_t>(step.znode); };
  for (const Operation& operation : history) {
    for (const Step& step : operation.steps) groups.Join(znode(operation.steps[0]), znode(step));
  }
  std::map<size_t, std::vector<Operation>> by_group;
  for (Operation& operation : history) {
    by_group[groups.Of(znode(operation.steps[0]))].push_back(std::move(operation));
  }
  Judgement worst;
  for (auto& [group, operations] : by_group) {
    const int znodes = Renumber(&operations);
    Judgement judgement = Search(std::move(operations), znodes, configurations_max).Run();
    if (judgement.verdict == Verdict::kNotLinearizable) return judgement;
    if (judgement.verdict == Verdict::kUndecided) worst = std::move(judgement);
  }
  return worst;
}

}  // namespace falaj::simulation
