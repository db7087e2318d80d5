#include "tests/simulation/data/quorum_metadata.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/metadata/watch_hub.h"
#include "tests/simulation/data/storage_node.h"

namespace falaj::simulation::data {
namespace {

constexpr Endpoint kOperator = 0;

// Everything is shorter than on real machines, as the sessions are.
constexpr SimTime kAttempt = 120 * kMillisecond;
constexpr SimTime kPatience = 300 * kMillisecond;
constexpr SimTime kOperatorPatience = kSecond;
constexpr SimTime kBackoffMax = 10 * kMillisecond;
constexpr absl::Duration kWatchKeepalive = absl::Milliseconds(100);
constexpr absl::Duration kUnconfirmedMax = absl::Milliseconds(500);

Cluster::Options DrawCluster(const Uuid& cluster_id, Random* random) {
  Cluster::Options options;
  options.cluster_id = cluster_id;
  options.first_node = kFirstMetadataNode;
  options.node.watch_keepalive = kWatchKeepalive;
  options.node.unconfirmed_max = kUnconfirmedMax;
  options.node.watches.history_entries = 3 + random->Below(30);
  const uint64_t size = random->Below(10);
  options.voters = size < 1 ? 1 : size < 8 ? 3 : 5;
  options.raft = Cluster::DrawRaft(random);
  options.raft.election_ticks_min = 6;
  options.raft.election_ticks_max = 12;
  options.raft.heartbeat_ticks = 2;
  return options;
}

bool IsIsrChange(const std::optional<pb::ClusterCommand>& command) {
  return command.has_value() && command->has_alter_isr();
}

}  // namespace

// Both ends of a watch: what the metadata node's end takes travels to the watcher's, until a
// message is lost, or the watcher has opened another one.
class QuorumMetadata::Stream final : public metadata::Watcher,
                                     public std::enable_shared_from_this<Stream> {
 public:
  struct Ends {
    QuorumMetadata* service = nullptr;
    Endpoint at = 0;  // The watcher.
    NodeId node;
    bool resumed = false;
    OnEvent on_event;
    OnEnd on_end;
  };
  explicit Stream(Ends ends) : ends_(std::move(ends)) {}

  bool Push(const metadata::WatchEvent& event) override {
    return Carry([message = event.message](Stream* stream) {
      stream->ends_.service->OnWatchEvent(stream->ends_.at, stream->ends_.node,
                                          std::exchange(stream->ends_.resumed, false));
      stream->ends_.on_event(*message);
    });
  }
  bool PushKeepalive(const metadata::WatchEvent& event) override { return Push(event); }
  void Close(const absl::Status& status) override {
    Carry([status](Stream* stream) {
      stream->ends_.service->world_->findings->Reach(Mark::kWatchClosed);
      stream->End(status);
    });
  }

  // At the watcher's end.
  void End(const absl::Status& status) {
    if (!std::exchange(cancelled_, true)) ends_.on_end(status);
  }
  void Cancel() { cancelled_ = true; }

 private:
  bool Carry(std::function<void(Stream*)> arrive) {
    if (broken_ || cancelled_) return false;
    broken_ = !ends_.service->world_->network->Call(
        ends_.node.value(), ends_.at, [stream = shared_from_this(), arrive = std::move(arrive)] {
          if (!stream->cancelled_) arrive(stream.get());
        });
    return !broken_;
  }

  Ends ends_;
  bool broken_ = false;
  bool cancelled_ = false;
};

QuorumMetadata::QuorumMetadata(World* world, uint64_t seed) : Metadata(world), random_(seed) {}

QuorumMetadata::~QuorumMetadata() = default;

void QuorumMetadata::Start(const Uuid& cluster_id) {
  const Cluster::Options options = DrawCluster(cluster_id, &random_);
  const Random random(random_.Next());
  cluster_ = std::make_unique<Cluster>(
      options, random,
      Cluster::Surroundings{
          .queue = world_->queue, .network = world_->network, .trace = world_->trace});
  cluster_->replay().set_on_applied([this](const auto& command, const auto& applied) {
    NoteExpired(command, applied.response.ok());
    OnApplied(command, applied.response, applied.cluster);
  });
  nemesis_ = std::make_unique<simulation::Nemesis>(cluster_.get(), random_.Next(),
                                                   simulation::Nemesis::Weather::kOthers);
}

const cluster::ClusterState& QuorumMetadata::state() const {
  return cluster_->replay().state().cluster();
}

std::vector<Endpoint> QuorumMetadata::endpoints() const {
  std::vector<Endpoint> all;
  for (const auto& [id, unused] : cluster_->nodes()) all.push_back(id.value());
  return all;
}

Caller& QuorumMetadata::CallerAt(Endpoint endpoint) {
  std::unique_ptr<Caller>& caller = callers_[endpoint];
  if (caller == nullptr) {
    caller =
        std::make_unique<Caller>(cluster_->world(), &cluster_->nodes(), endpoint, random_.Next());
  }
  return *caller;
}

StorageNode* QuorumMetadata::HostOf(Endpoint endpoint) const {
  const auto host = world_->nodes.find(NodeId(endpoint));
  return host == world_->nodes.end() ? nullptr : host->second.get();
}

// ---- Commands and signs of life ----

void QuorumMetadata::Execute(Endpoint from, pb::ClusterCommand command, Answer answer) {
  Submit(from, std::move(command), kPatience, std::move(answer));
}

void QuorumMetadata::Order(pb::ClusterCommand command, Answer answer) {
  Submit(kOperator, std::move(command), kOperatorPatience, std::move(answer));
}

void QuorumMetadata::Submit(Endpoint from, pb::ClusterCommand command, SimTime patience,
                            Answer answer) {
  if (command.has_end_session()) {
    cluster_->replay().NoteEndAsked(SessionId{command.end_session().session_id()});
  }
  auto errand = std::make_shared<Errand>();
  errand->from = from;
  errand->command = std::move(command);
  errand->until = world_->now() + patience;
  errand->term = cluster_->invariants().leader_term();
  errand->done = [answer = std::move(answer)](const simulation::Answer& told) {
    if (told.status.ok()) return answer(told.executed);
    answer(told.status);
  };
  Try(errand);
}

void QuorumMetadata::Heartbeat(Endpoint from, SessionId session,
                               std::function<void(absl::Status)> answer) {
  auto errand = std::make_shared<Errand>();
  errand->from = from;
  errand->session = session;
  errand->until = world_->now() + world_->laws.session_timeout / 3;
  errand->done = [this, session, sent = world_->now(),
                  answer = std::move(answer)](const simulation::Answer& told) {
    if (told.status.ok() && told.by_leader) NoteHeard(session, sent);
    answer(told.status);
  };
  Try(errand);
}

// It was sent then, or later, if the first attempts were lost.
void QuorumMetadata::NoteHeard(SessionId session, SimTime sent) {
  cluster_->replay().NoteSignOfLife(session, sent);
  const Term term = cluster_->invariants().leader_term();
  const auto [known, first] = heard_in_.try_emplace(session, term);
  if (!first && std::exchange(known->second, term) < term) {
    world_->findings->Reach(Mark::kSessionAcross);
  }
}

void QuorumMetadata::NoteExpired(const pb::ClusterCommand& command, bool done) {
  const SessionId session{command.end_session().session_id()};
  if (!done || !command.has_end_session() || cluster_->replay().WasEndAsked(session)) return;
  world_->findings->Reach(Mark::kSessionExpired);
}

void QuorumMetadata::Try(const ErrandPtr& errand) {
  Caller& caller = CallerAt(errand->from);
  Caller::Done done = [this, errand](const std::optional<simulation::Answer>& answer) {
    OnTried(errand, answer);
  };
  if (StorageNode* const host = HostOf(errand->from)) done = host->Guarded(std::move(done));
  const SimTime patience = std::min(kAttempt, errand->until - world_->now());
  caller.Call(
      caller.Leader(), patience,
      [this, errand](metadata::MetadataNode* node, const Caller::Responder& respond) {
        Serve(errand, node, respond);
      },
      std::move(done));
}

void QuorumMetadata::Serve(const ErrandPtr& errand, metadata::MetadataNode* node,
                           const Caller::Responder& respond) {
  if (!errand->command.has_value()) {
    simulation::Answer answer;
    answer.status = node->Heartbeat(errand->session);
    return respond(std::move(answer));
  }
  const pb::ClusterCommand& command = *errand->command;
  const pb::RegisterNodeCommand& registration = command.register_node();
  if (command.has_register_node() && !world_->nodes.at(NodeId{registration.node_id()})
                                          ->MayRegister(registration.incarnation_id())) {
    return;
  }
  node->Execute(command, [this, errand, respond](absl::StatusOr<pb::ExecuteResponse> executed) {
    simulation::Answer answer;
    answer.status = executed.status();
    if (executed.ok()) {
      answer.executed = *std::move(executed);
      errand->committed = true;
    } else if (ReasonOf(answer.status) == Reason::kMetadataUnavailable &&
               !MayGoElsewhere(answer.status)) {
      world_->findings->Reach(Mark::kCommandUnknown);
    }
    respond(std::move(answer));
  });
  NoteProposer(command, *node);
}

void QuorumMetadata::NoteProposer(const pb::ClusterCommand& command,
                                  const metadata::MetadataNode& node) {
  if (!command.has_register_node()) return;
  LogIndex& at = registered_at_[NodeId{command.register_node().node_id()}];
  at = std::max(at, node.core().last_index());
}

// Until its index has been applied somewhere, an entry of a leader that is gone may yet come back.
bool QuorumMetadata::IsSettled(NodeId node) const {
  const auto at = registered_at_.find(node);
  return at == registered_at_.end() || at->second <= cluster_->replay().index();
}

void QuorumMetadata::OnTried(const ErrandPtr& errand,
                             const std::optional<simulation::Answer>& answer) {
  CallerAt(errand->from).Heed(answer);
  if (!answer.has_value() && errand->committed) {
    world_->findings->Reach(Mark::kCommandUnheard);
  }
  const bool known = answer.has_value() && ReasonOf(answer->status) != Reason::kMetadataUnavailable;
  if (known || world_->now() >= errand->until) {
    if (IsIsrChange(errand->command) && errand->term < cluster_->invariants().leader_term()) {
      world_->findings->Reach(Mark::kProposedAcross);
    }
    simulation::Answer none;
    none.status = MakeError(Reason::kMetadataUnavailable, "no answer", {{"outcome", "unknown"}});
    return errand->done(answer.value_or(std::move(none)));
  }
  const SimTime pause = random_.Between(1, kBackoffMax);
  const auto again = [this, errand] {
    if (world_->now() < errand->until) return Try(errand);
    OnTried(errand, std::nullopt);
  };
  if (StorageNode* const host = HostOf(errand->from)) {
    return host->After(pause, EventKind::kTimer, again);
  }
  world_->queue->After(pause, EventKind::kTimer, again);
}

// ---- Watches and questions ----

void QuorumMetadata::Watch(Endpoint from, LogIndex after, OnEvent on_event, OnEnd on_end) {
  Caller& caller = CallerAt(from);
  const NodeId target = caller.Anybody();
  std::shared_ptr<Stream>& stream = watches_[from];
  if (stream != nullptr) stream->Cancel();
  stream = std::make_shared<Stream>(Stream::Ends{.service = this,
                                                 .at = from,
                                                 .node = target,
                                                 .resumed = after != LogIndex{0},
                                                 .on_event = std::move(on_event),
                                                 .on_end = std::move(on_end)});
  pb::WatchClusterRequest request;
  request.set_after_index(after.value());
  caller.Call(
      target, kPatience,
      [request, stream = stream](metadata::MetadataNode* node, const Caller::Responder& respond) {
        node->Watch(request, stream, [respond](const absl::Status& begun) {
          if (!begun.ok()) respond({.status = begun});
        });
      },
      [stream = stream](const std::optional<simulation::Answer>& answer) {
        // None: it is open, or nobody knows.
        if (answer.has_value()) stream->End(answer->status);
      });
}

void QuorumMetadata::OnWatchEvent(Endpoint at, NodeId node, bool resumed) {
  const NodeId before = std::exchange(watched_at_[at], node);
  if (before != node) (*world_->trace)("node ", at, " watches at metadata node ", node);
  if (resumed && before != NodeId() && before != node) {
    world_->findings->Reach(Mark::kWatchElsewhere);
  }
}

void QuorumMetadata::Ask(Endpoint from, PartitionNumber number,
                         std::function<void(const pb::PartitionState&)> answer) {
  Caller& caller = CallerAt(from);
  const PartitionName& name = world_->partitions[static_cast<size_t>(number)];
  const auto seen = std::make_shared<pb::PartitionState>();
  caller.Call(
      caller.Anybody(), kAttempt,
      [name, seen](metadata::MetadataNode* node, const Caller::Responder& respond) {
        const auto& topics = node->state().cluster().topics();
        const auto topic = topics.find(name.topic);
        if (topic == topics.end()) return;  // It has not got so far.
        *seen = topic->second.partitions(name.index.value());
        respond({});
      },
      [seen, answer = std::move(answer)](const std::optional<simulation::Answer>& told) {
        if (told.has_value() && told->status.ok()) answer(*seen);
      });
}

// ---- Faults ----

void QuorumMetadata::Disturb(SimTime /*span*/) { nemesis_->BreakSomething(); }

void QuorumMetadata::Calm() { nemesis_->Calm(); }

void QuorumMetadata::Heal(bool all) {
  healed_at_ = cluster_->replay().index();
  if (!all) return nemesis_->HealCore();
  nemesis_->HealAll();
}

std::string QuorumMetadata::Unwell() const {
  for (const NodeId member : cluster_->invariants().membership().All()) {
    if (cluster_->is_wiped(member)) continue;
    const SimNode& node = *cluster_->node(member);
    if (!node.running() || node.node().state().index() < healed_at_) {
      return absl::StrCat("metadata node ", member, " is behind");
    }
  }
  return "";
}

}  // namespace falaj::simulation::data
