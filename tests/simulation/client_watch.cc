#include "tests/simulation/client_watch.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::simulation {
namespace {

constexpr SimTime kWatchPatience = 2500 * kMillisecond;  // With a node that is not so far yet.
// With a stream. Longer than a node keeps watchers that it cannot keep up to date.
constexpr SimTime kSilenceMax = 5 * kSecond;

absl::string_view ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? absl::string_view("/") : absl::string_view(path).substr(0, slash);
}

bool IsEqual(const coordination::ZnodeChange& change, const v1::ZnodeEvent& event) {
  const v1::Znode& znode = event.znode();
  const bool deleted = change.type == v1::ZNODE_EVENT_TYPE_DELETED;
  return change.type == event.type() && change.znode->path() == znode.path() &&
         (deleted ? znode.data().empty() : change.znode->data() == znode.data()) &&
         change.znode->version == znode.stat().version() &&
         change.znode->create_index.value() == znode.stat().create_index() &&
         change.znode->modify_index.value() == znode.stat().modify_index();
}

}  // namespace

// The server's end of a stream: carries messages over the network, until one is lost.
class ClientWatch::Stream final : public coordination::ZnodeWatcher {
 public:
  Stream(ClientWatch* client, NodeId node, uint64_t number)
      : client_(client), node_(node), number_(number) {}

  bool Push(const coordination::ZnodeWatchMessage& message) override {
    return Carry([client = client_, number = number_, response = message.response] {
      client->OnMessage(number, *response);
    });
  }
  bool PushKeepalive(uint64_t index) override {
    return Carry([client = client_, number = number_, index] {
      v1::WatchZnodesResponse response;
      response.set_index(index);
      client->OnMessage(number, response);
    });
  }
  void Close(const absl::Status& status) override {
    Carry([client = client_, number = number_, status] { client->OnClosed(number, status); });
  }

 private:
  bool Carry(EventQueue::Action arrive) {
    if (!broken_) {
      broken_ = !client_->world_.network->Call(node_.value(), client_->caller_->endpoint(),
                                               std::move(arrive));
    }
    return !broken_;
  }

  ClientWatch* const client_;
  const NodeId node_;
  const uint64_t number_;
  bool broken_ = false;
};

void ClientWatch::Connect() {
  const uint64_t stream = ++stream_;
  // As the gateway: whoever has failed is not asked again at once.
  const NodeId target = node_ = caller_->AnybodyBut(node_);
  const SimNode* const at = caller_->Find(target);
  v1::WatchZnodesRequest request = watches_;
  request.set_after_index(began_ ? cursor_.value() : 0);
  resuming_ = began_;
  auto watcher = std::make_shared<Stream>(this, target, stream);
  caller_->Call(
      target, kSilenceMax,
      [request, watcher, at](metadata::MetadataNode* node, const Caller::Responder& respond) {
        node->WatchZnodes(request, at->Now() + absl::Nanoseconds(kWatchPatience), watcher,
                          [respond](const absl::Status& status) {
                            if (!status.ok()) respond({.status = status});
                          });
      },
      [this, stream](const std::optional<Answer>& answer) {
        if (answer) OnClosed(stream, answer->status);
      });
  last_message_ = world_.queue->now();
  WatchSilence(stream);
}

void ClientWatch::ConnectLater() {
  ++stream_;
  const auto delay = static_cast<SimTime>(random_.Below(100 * kMillisecond)) + kMillisecond;
  world_.queue->After(delay, EventKind::kTimer, [this] { Connect(); });
}

void ClientWatch::WatchSilence(uint64_t stream) {
  world_.queue->After(kSilenceMax / 4, EventKind::kTimer, [this, stream] {
    if (stream != stream_) return;
    if (world_.queue->now() - last_message_ < kSilenceMax) return WatchSilence(stream);
    ConnectLater();
  });
}

void ClientWatch::OnClosed(uint64_t stream, const absl::Status& status) {
  if (stream != stream_) return;
  if (ReasonOf(status) == Reason::kWatchCompacted) {
    world_.findings->Reach(Mark::kWatchCompacted);
    began_ = false;
  }
  ConnectLater();
}

void ClientWatch::OnMessage(uint64_t stream, const v1::WatchZnodesResponse& message) {
  if (stream != stream_) return;
  last_message_ = world_.queue->now();
  if (LogIndex(message.index()) > world_.replay->index()) {
    return world_.findings->Report("watches", absl::StrCat("a message of index ", message.index(),
                                                           ", which nobody has applied"));
  }
  if (!std::exchange(began_, true)) {
    cursor_ = LogIndex(message.index());
    if (message.events_size() != 0) {
      world_.findings->Report("watches", "a watch began with changes of the past");
    }
    return;
  }
  if (std::exchange(resuming_, false)) world_.findings->Reach(Mark::kWatchResumed);
  CheckMessage(message);
}

void ClientWatch::CheckMessage(const v1::WatchZnodesResponse& message) {
  const LogIndex index(message.index());
  if (index < cursor_ || (index == cursor_ && message.events_size() != 0)) {
    return world_.findings->Report(
        "watches", absl::StrCat("a message of index ", index, " came behind one of ", cursor_));
  }
  int next = 0;
  for (LogIndex at = cursor_ + 1; at <= index; ++at) {
    for (const coordination::ZnodeChange& change : world_.replay->ChangesAt(at)) {
      if (!Matches(change)) continue;
      // Changes of an entry before the message's own should have come in a message of their own.
      if (at == index && next < message.events_size() && IsEqual(change, message.events(next))) {
        ++next;
        continue;
      }
      return world_.findings->Report(
          "watches", absl::StrCat("the message of index ", index, " behind ", cursor_,
                                  " leaves out the change of ", change.znode->path(), " at ", at));
    }
  }
  if (next < message.events_size()) {
    world_.findings->Report(
        "watches", absl::StrCat("the message of index ", index, " brings a change of ",
                                message.events(next).znode().path(), " that did not happen"));
  }
  cursor_ = index;
}

bool ClientWatch::Matches(const coordination::ZnodeChange& change) const {
  const std::string& path = change.znode->path();
  for (const v1::ZnodeWatch& watch : watches_.watches()) {
    switch (watch.scope()) {
      case v1::WATCH_SCOPE_ZNODE:
        if (path == watch.path()) return true;
        break;
      case v1::WATCH_SCOPE_CHILDREN:
        if (change.type != v1::ZNODE_EVENT_TYPE_CHANGED && ParentOf(path) == watch.path()) {
          return true;
        }
        break;
      default:
        if (path == watch.path() || watch.path() == "/" ||
            absl::StartsWith(path, absl::StrCat(watch.path(), "/"))) {
          return true;
        }
    }
  }
  return false;
}

}  // namespace falaj::simulation
