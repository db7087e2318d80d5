#include "libs/coordination/znode_watch_hub.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>

#include "libs/base/random.h"
#include "libs/coordination/coordination_test_support.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

using testing::Command;
using testing::CreateCommand;
using testing::DeleteCommand;
using testing::EphemeralCommand;
using testing::MultiCommand;
using testing::SetCommand;
using testing::Tree;

// Writes down what it is told: "5:" is a sign of life, "6:+/a *b -/c" the changes of an entry,
// "(7)" a keepalive, "end:REASON" its end.
class Recorder : public ZnodeWatcher {
 public:
  bool Push(const ZnodeWatchMessage& message) override {
    EXPECT_EQ(message.size_bytes, message.response->ByteSizeLong());
    std::string text = absl::StrCat(message.response->index(), ":");
    for (const v1::ZnodeEvent& event : message.response->events()) {
      text += event.type() == v1::ZNODE_EVENT_TYPE_CREATED   ? "+"
              : event.type() == v1::ZNODE_EVENT_TYPE_CHANGED ? "*"
                                                             : "-";
      text += event.znode().path();
    }
    Say(text);
    newest = message;
    if (on_push != nullptr) on_push();
    return alive;
  }
  bool PushKeepalive(uint64_t index) override {
    Say(absl::StrCat("(", index, ")"));
    return alive;
  }
  void Close(const absl::Status& status) override {
    Say(absl::StrCat("end:", ReasonName(ReasonOf(status))));
    end = status;
  }

  // What it was told since the last call.
  std::string Heard() { return std::exchange(heard_, ""); }

  bool alive = true;
  ZnodeWatchMessage newest;
  absl::Status end;
  std::function<void()> on_push;

 private:
  void Say(const std::string& text) { heard_ += (heard_.empty() ? "" : " ") + text; }
  std::string heard_;
};

v1::WatchZnodesRequest Watch(const std::string& path, v1::WatchScope scope,
                             uint64_t after_index = 0) {
  v1::WatchZnodesRequest request;
  v1::ZnodeWatch* const watch = request.add_watches();
  watch->set_path(path);
  watch->set_scope(scope);
  request.set_after_index(after_index);
  return request;
}

class ZnodeWatchHubTest : public ::testing::Test {
 protected:
  // Applies and publishes.
  void Do(const Command& command) {
    const auto result = tree_.Apply(command);
    ASSERT_TRUE(result.ok()) << result.status();
    hub_.Publish(tree_.index, tree_.changes);
  }
  std::shared_ptr<Recorder> Add(const v1::WatchZnodesRequest& request) {
    auto watcher = std::make_shared<Recorder>();
    const absl::Status added = hub_.Add(tree_.index, request, watcher);
    EXPECT_TRUE(added.ok()) << added;
    return watcher;
  }
  Reason ReasonFor(const v1::WatchZnodesRequest& request) {
    const auto watcher = std::make_shared<Recorder>();
    status_ = hub_.Add(tree_.index, request, watcher);
    EXPECT_EQ(watcher->Heard(), "");
    return ReasonOf(status_);
  }

  Tree tree_;
  ZnodeWatchHub hub_{{.history_entries = 8,
                      .history_bytes = 10'000,
                      .watchers_max = 3,
                      .watches_total_max = 6,
                      .message_bytes_max = 5'000}};
  absl::Status status_;
};

TEST_F(ZnodeWatchHubTest, AZnodeItself) {
  const auto watcher = Add(Watch("/a", v1::WATCH_SCOPE_ZNODE));
  EXPECT_EQ(watcher->Heard(), "0:");
  Do(CreateCommand("/a", "1"));
  EXPECT_EQ(watcher->newest.response->events(0).znode().data(), "1");
  Do(CreateCommand("/a/b"));  // No change of /a but of its count.
  Do(SetCommand("/a", "2"));
  EXPECT_EQ(watcher->newest.response->events(0).znode().data(), "2");
  EXPECT_EQ(watcher->newest.response->events(0).znode().stat().version(), 1);
  Do(DeleteCommand("/a/b"));
  Do(DeleteCommand("/a"));
  EXPECT_EQ(watcher->newest.response->events(0).znode().data(), "");
  EXPECT_EQ(watcher->newest.response->events(0).znode().stat().version(), 1);
  Do(CreateCommand("/aa"));
  EXPECT_EQ(watcher->Heard(), "1:+/a 3:*/a 5:-/a");
}

TEST_F(ZnodeWatchHubTest, Children) {
  Do(CreateCommand("/a"));
  const auto watcher = Add(Watch("/a", v1::WATCH_SCOPE_CHILDREN));
  const auto root = Add(Watch("/", v1::WATCH_SCOPE_CHILDREN));
  Do(CreateCommand("/a/b"));
  Do(CreateCommand("/a/b/c"));
  Do(SetCommand("/a/b", "x"));
  Do(SetCommand("/a", "x"));
  Do(DeleteCommand("/a/b/c"));
  Do(DeleteCommand("/a/b"));
  Do(DeleteCommand("/a"));
  Do(SetCommand("/", "x"));
  EXPECT_EQ(watcher->Heard(), "1: 2:+/a/b 7:-/a/b");
  EXPECT_EQ(root->Heard(), "1: 8:-/a");
}

TEST_F(ZnodeWatchHubTest, Subtrees) {
  const auto watcher = Add(Watch("/a", v1::WATCH_SCOPE_SUBTREE));
  const auto root = Add(Watch("/", v1::WATCH_SCOPE_SUBTREE));
  Do(CreateCommand("/a"));
  Do(CreateCommand("/ab"));
  Do(CreateCommand("/a/b"));
  Do(CreateCommand("/a/b/c"));
  Do(SetCommand("/a/b/c", "x"));
  Do(SetCommand("/", "x"));
  Do(DeleteCommand("/a/b/c"));
  EXPECT_EQ(watcher->Heard(), "0: 1:+/a 3:+/a/b 4:+/a/b/c 5:*/a/b/c 7:-/a/b/c");
  EXPECT_EQ(root->Heard(), "0: 1:+/a 2:+/ab 3:+/a/b 4:+/a/b/c 5:*/a/b/c 6:*/ 7:-/a/b/c");
}

TEST_F(ZnodeWatchHubTest, AnEntryIsOneMessageWithoutDuplicates) {
  v1::WatchZnodesRequest request = Watch("/a", v1::WATCH_SCOPE_SUBTREE);
  for (int i = 0; i < 2; ++i) {
    *request.add_watches() = Watch("/a", v1::WATCH_SCOPE_ZNODE).watches(0);
    *request.add_watches() = Watch("/", v1::WATCH_SCOPE_CHILDREN).watches(0);
  }
  const auto watcher = Add(request);
  EXPECT_EQ(hub_.watch_count(), 3u);
  Do(MultiCommand({CreateCommand("/x"), CreateCommand("/a"), SetCommand("/a", "1"),
                   SetCommand("/x", "1"), SetCommand("/a", "2")}));
  EXPECT_EQ(watcher->Heard(), "0: 1:+/x+/a*/a*/a");
}

TEST_F(ZnodeWatchHubTest, EqualMessagesAreShared) {
  const auto one = Add(Watch("/a", v1::WATCH_SCOPE_ZNODE));
  const auto two = Add(Watch("/", v1::WATCH_SCOPE_SUBTREE));
  Do(CreateCommand("/a"));
  EXPECT_EQ(one->newest.response, two->newest.response);
}

TEST_F(ZnodeWatchHubTest, ResumesWithoutGapOrDuplicate) {
  const auto steady = Add(Watch("/a", v1::WATCH_SCOPE_SUBTREE));
  Do(CreateCommand("/a"));
  Do(CreateCommand("/other"));
  Do(CreateCommand("/a/b"));
  Do(DeleteCommand("/a/b"));
  EXPECT_EQ(Add(Watch("/a", v1::WATCH_SCOPE_SUBTREE, 1))->Heard(), "1: 3:+/a/b 4:-/a/b");
  const auto late = Add(Watch("/a", v1::WATCH_SCOPE_SUBTREE, 4));
  EXPECT_EQ(late->Heard(), "4:");
  Do(SetCommand("/a", "x"));
  EXPECT_EQ(late->Heard(), "5:*/a");
  EXPECT_EQ(steady->Heard(), "0: 1:+/a 3:+/a/b 4:-/a/b 5:*/a");
}

TEST_F(ZnodeWatchHubTest, ForgottenIndexesAreCompacted) {
  for (int i = 0; i < 10; ++i) Do(SetCommand("/", "x"));
  EXPECT_EQ(ReasonFor(Watch("/", v1::WATCH_SCOPE_ZNODE, 1)), Reason::kWatchCompacted);
  EXPECT_EQ(MetadataOf(status_)["first_index"], "2");
  EXPECT_EQ(MetadataOf(status_)["last_index"], "10");
  const auto resumed = Add(Watch("/", v1::WATCH_SCOPE_ZNODE, 2));
  EXPECT_EQ(resumed->Heard(), "2: 3:*/ 4:*/ 5:*/ 6:*/ 7:*/ 8:*/ 9:*/ 10:*/");
  // By bytes too.
  for (int i = 0; i < 3; ++i) Do(SetCommand("/", std::string(4'000, 'x')));
  EXPECT_LE(hub_.history_bytes(), 10'000u);
  EXPECT_EQ(ReasonFor(Watch("/", v1::WATCH_SCOPE_ZNODE, 10)), Reason::kWatchCompacted);
  EXPECT_EQ(MetadataOf(status_)["first_index"], "11");
}

TEST_F(ZnodeWatchHubTest, AnIndexThatIsNotAppliedIsForTheCallerToAwait) {
  Do(CreateCommand("/a"));
  EXPECT_EQ(ReasonFor(Watch("/", v1::WATCH_SCOPE_ZNODE, 2)), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(status_)["field"], "after_index");
  EXPECT_EQ(MetadataOf(status_)["limit"], "1");
}

TEST_F(ZnodeWatchHubTest, AResetEndsAllWatches) {
  const auto watcher = Add(Watch("/", v1::WATCH_SCOPE_SUBTREE));
  Do(CreateCommand("/a"));
  tree_.index = LogIndex(50);
  hub_.Reset(tree_.index);
  EXPECT_EQ(watcher->Heard(), "0: 1:+/a end:WATCH_COMPACTED");
  EXPECT_EQ(MetadataOf(watcher->end)["last_index"], "50");
  EXPECT_EQ(hub_.watcher_count(), 0u);
  EXPECT_EQ(hub_.watch_count(), 0u);
  EXPECT_EQ(ReasonFor(Watch("/", v1::WATCH_SCOPE_ZNODE, 49)), Reason::kWatchCompacted);
  const auto next = Add(Watch("/", v1::WATCH_SCOPE_SUBTREE, 50));
  Do(CreateCommand("/b"));
  EXPECT_EQ(next->Heard(), "50: 51:+/b");
  EXPECT_EQ(watcher->Heard(), "");
}

TEST_F(ZnodeWatchHubTest, WhoIsGoneIsForgotten) {
  const auto one = Add(Watch("/a", v1::WATCH_SCOPE_ZNODE));
  const auto two = Add(Watch("/a", v1::WATCH_SCOPE_ZNODE));
  const auto three = Add(Watch("/a", v1::WATCH_SCOPE_ZNODE));
  one->alive = false;
  Do(CreateCommand("/a"));
  EXPECT_EQ(hub_.watcher_count(), 2u);
  hub_.Remove(two.get());
  hub_.Remove(two.get());
  Do(SetCommand("/a", "x"));
  EXPECT_EQ(one->Heard(), "0: 1:+/a");
  EXPECT_EQ(two->Heard(), "0: 1:+/a");
  EXPECT_EQ(three->Heard(), "0: 1:+/a 2:*/a");
  three->alive = false;
  hub_.Keepalive(LogIndex(9));
  EXPECT_EQ(three->Heard(), "(9)");
  EXPECT_EQ(hub_.watcher_count(), 0u);
  EXPECT_EQ(hub_.watch_count(), 0u);

  auto ended = std::make_shared<Recorder>();
  ended->alive = false;
  EXPECT_TRUE(hub_.Add(tree_.index, Watch("/a", v1::WATCH_SCOPE_ZNODE, 1), ended).ok());
  EXPECT_EQ(ended->Heard(), "1:");
  EXPECT_EQ(hub_.watcher_count(), 0u);
}

TEST_F(ZnodeWatchHubTest, CountsAreBounded) {
  v1::WatchZnodesRequest several;
  for (const char* path : {"/a", "/b", "/c", "/d", "/e"}) {
    *several.add_watches() = Watch(path, v1::WATCH_SCOPE_ZNODE).watches(0);
  }
  const auto one = Add(several);
  EXPECT_EQ(ReasonFor(several), Reason::kQuotaExceeded);
  EXPECT_EQ(MetadataOf(status_)["field"], "watches");
  EXPECT_EQ(MetadataOf(status_)["limit"], "6");
  hub_.Remove(one.get());
  const auto watch = Watch("/a", v1::WATCH_SCOPE_ZNODE);
  const auto two = Add(watch), three = Add(watch), four = Add(watch);
  EXPECT_EQ(ReasonFor(watch), Reason::kQuotaExceeded);
  EXPECT_EQ(MetadataOf(status_)["field"], "watchers");
  hub_.CloseAll(MakeError(Reason::kShuttingDown, "bye"));
  EXPECT_EQ(two->Heard(), "0: end:SHUTTING_DOWN");
  EXPECT_EQ(hub_.watcher_count(), 0u);
}

TEST_F(ZnodeWatchHubTest, ServesInTheOrderInWhichTheyCame) {
  std::vector<int> order;
  std::vector<std::shared_ptr<Recorder>> watchers;
  for (int i = 0; i < 3; ++i) {
    const char* const path = i == 1 ? "/" : "/a";
    watchers.push_back(Add(Watch(path, v1::WATCH_SCOPE_SUBTREE)));
    watchers.back()->on_push = [&order, i] { order.push_back(i); };
  }
  Do(CreateCommand("/a"));
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

TEST_F(ZnodeWatchHubTest, AnEntryLargerThanAMessageEndsTheWatch) {
  const auto whole = Add(Watch("/", v1::WATCH_SCOPE_SUBTREE));
  const auto part = Add(Watch("/a", v1::WATCH_SCOPE_ZNODE));
  Do(MultiCommand({CreateCommand("/a", std::string(3'000, 'x')),
                   CreateCommand("/b", std::string(3'000, 'x'))}));
  EXPECT_EQ(whole->Heard(), "0: end:WATCH_COMPACTED");
  EXPECT_EQ(MetadataOf(whole->end)["first_index"], "1");
  EXPECT_EQ(part->Heard(), "0: 1:+/a");
  EXPECT_EQ(hub_.watcher_count(), 1u);
}

TEST_F(ZnodeWatchHubTest, RefusesWhatIsNoWatch) {
  EXPECT_EQ(ReasonFor({}), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonFor(Watch("a", v1::WATCH_SCOPE_ZNODE)), Reason::kInvalidPath);
  EXPECT_EQ(MetadataOf(status_)["field"], "watches.path");
  EXPECT_EQ(ReasonFor(Watch("/a", v1::WATCH_SCOPE_UNSPECIFIED)), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonFor(Watch("/a", static_cast<v1::WatchScope>(9))), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(status_)["value"], "9");
  v1::WatchZnodesRequest many;
  for (int i = 0; i <= kWatchesMax; ++i) {
    *many.add_watches() = Watch("/a", v1::WATCH_SCOPE_ZNODE).watches(0);
  }
  EXPECT_EQ(ReasonFor(many), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(status_)["limit"], "1000");
}

// What a watcher would be told of one entry, by looking at every watch and every change.
std::string Expected(const v1::WatchZnodesRequest& request, uint64_t index,
                     const ZnodeChanges& changes) {
  std::string text;
  for (const ZnodeChange& change : changes) {
    const std::string& path = change.znode->path();
    const bool set = change.type == v1::ZNODE_EVENT_TYPE_CHANGED;
    bool matches = false;
    for (const v1::ZnodeWatch& watch : request.watches()) {
      const std::string below = watch.path() == "/" ? "/" : watch.path() + "/";
      switch (watch.scope()) {
        case v1::WATCH_SCOPE_ZNODE:
          matches = matches || path == watch.path();
          break;
        case v1::WATCH_SCOPE_CHILDREN:
          matches = matches || (!set && path != "/" && ParentOf(path) == watch.path());
          break;
        default:
          matches = matches || path == watch.path() || path.compare(0, below.size(), below) == 0;
      }
    }
    if (!matches) continue;
    text += change.type == v1::ZNODE_EVENT_TYPE_CREATED ? "+" : set ? "*" : "-";
    text += path;
  }
  return text.empty() ? "" : absl::StrCat(" ", index, ":", text);
}

// One client: it watches, loses its connection, resumes where it was.
struct Client {
  v1::WatchZnodesRequest request;
  std::shared_ptr<Recorder> watcher;
  uint64_t seen = 0;     // Resumes after this.
  std::string expected;  // Since it began this connection.
};

Command RandomCommand(Random* random, const v1::SessionHandle& session) {
  const auto path = [random] {
    std::string text;
    for (int64_t depth = random->Between(1, 3); depth > 0; --depth) {
      text += "/";
      text += "abc"[random->Below(3)];
    }
    return text;
  };
  switch (random->Below(5)) {
    case 0:
      return SetCommand(path(), "x");
    case 1:
      return DeleteCommand(path());
    case 2:
      return EphemeralCommand(path(), session);
    case 3:
      return MultiCommand({SetCommand("/", "x"), CreateCommand(path()), SetCommand("/", "y")});
    default:
      return CreateCommand(path());
  }
}

std::vector<Client> RandomClients(Random* random) {
  const char* const paths[] = {"/", "/a", "/b", "/a/b", "/a/b/c", "/c"};
  std::vector<Client> clients(8);
  for (Client& client : clients) {
    for (int64_t count = random->Between(1, 4); count > 0; --count) {
      const auto scope = static_cast<v1::WatchScope>(random->Between(1, 3));
      *client.request.add_watches() = Watch(paths[random->Below(6)], scope).watches(0);
    }
  }
  return clients;
}

TEST(ZnodeWatchHubRandomTest, ClientsThatComeAndGoMissNothing) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    Tree tree;
    ZnodeWatchHub hub({.history_entries = 30});
    std::deque<std::pair<uint64_t, ZnodeChanges>> all;  // The model's history is never cut.
    std::vector<Client> clients = RandomClients(&random);
    v1::SessionHandle session = tree.Open();
    int resumed = 0;
    int compacted = 0;
    for (int step = 0; step < 1'500; ++step) {
      Client& client = clients[random.Below(clients.size())];
      if (random.Below(8) == 0 && client.watcher != nullptr) {
        ASSERT_EQ(client.watcher->Heard(), client.expected);
        client.seen =
            random.Below(2) == 0 ? tree.index.value() : client.watcher->newest.response->index();
        hub.Remove(client.watcher.get());
        client.watcher = nullptr;
      } else if (random.Below(4) == 0 && client.watcher == nullptr) {
        client.request.set_after_index(client.seen);
        client.watcher = std::make_shared<Recorder>();
        const absl::Status added = hub.Add(tree.index, client.request, client.watcher);
        if (!added.ok()) {
          ASSERT_EQ(ReasonOf(added), Reason::kWatchCompacted);
          ASSERT_LT(client.seen, all[all.size() - 30].first);
          client.watcher = nullptr;
          client.seen = tree.index.value();  // It reads the state anew.
          ++compacted;
          continue;
        }
        ++resumed;
        if (client.seen == 0) client.seen = tree.index.value();
        client.expected = absl::StrCat(client.seen, ":");
        for (const auto& [index, changes] : all) {
          if (index > client.seen) client.expected += Expected(client.request, index, changes);
        }
      }
      if (random.Below(30) == 0) {
        tree.End(session);
        hub.Publish(tree.index, tree.changes);
        if (!tree.changes.empty()) all.emplace_back(tree.index.value(), tree.changes);
        for (Client& other : clients) {
          other.expected += Expected(other.request, tree.index.value(), tree.changes);
        }
        session = tree.Open();
        continue;
      }
      tree.Apply(RandomCommand(&random, session)).IgnoreError();
      hub.Publish(tree.index, tree.changes);
      if (tree.changes.empty()) continue;
      all.emplace_back(tree.index.value(), tree.changes);
      for (Client& other : clients) {
        other.expected += Expected(other.request, tree.index.value(), tree.changes);
      }
    }
    EXPECT_LT(20, resumed);
    EXPECT_LT(0, compacted);
    for (Client& client : clients) {
      if (client.watcher == nullptr) continue;
      ASSERT_EQ(client.watcher->Heard(), client.expected);
    }
  }
}

}  // namespace
}  // namespace falaj::coordination
