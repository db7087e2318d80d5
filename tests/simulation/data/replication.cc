#include "tests/simulation/data/replication.h"

#include <algorithm>
#include <memory>
#include <string>

#include "libs/base/status.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/storage_node.h"
#include "tests/simulation/data/storage_process.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kTick = 25 * kMillisecond;
constexpr int kTicksPerCheck = 2;
constexpr SimTime kProposalPause = 10 * kMillisecond;
constexpr SimTime kProposalPatience = 300 * kMillisecond;
constexpr SimTime kNoticeMax = 400 * kMillisecond;

// True if the partition is as it was, and the change will not be made.
bool IsRefusal(Reason reason) {
  return reason == Reason::kIneligibleReplica || reason == Reason::kInvalidRequest;
}

// Lets the process that runs on `node` when it arrives do something.
template <typename F>
void Reach(World* world, NodeId node, F action) {
  StorageNode* const there = world->nodes.at(node).get();
  there->Deliver([there, action] { action(&there->process()->replication()); });
}

}  // namespace

void Replication::Start(const Parts& parts) {
  world_ = parts.world;
  node_ = parts.node;
  shard_ = parts.shard;
  node_->After(random_.Between(1, kTick), EventKind::kTimer, [this] { Tick(); });
  node_->After(random_.Between(1, kProposalPause), EventKind::kTimer, [this] { SendProposals(); });
}

void Replication::SetNodeEpoch(NodeEpoch epoch) {
  if (node_epoch_ == epoch) return;
  node_epoch_ = epoch;
  for (auto& [leader, link] : links_) BreakLink(leader);
  shard_->ReattachDetached();
}

// ---- The follower's end ----

bool Replication::Attach(PartitionNumber partition, NodeId leader,
                         const replica::AttachRequest& request) {
  if (node_epoch_ == NodeEpoch{0} || leader == NodeId{0}) return false;
  Link& link = links_[leader];
  if (link.dead) return false;  // The tick after its end has it asked for again.
  if (link.stream == 0) {
    link.stream = world_->NextId();
    link.next.hello = replica::IsrMember{node_->id(), node_epoch_};
    link.next.credit = world_->laws.credit;
  }
  const uint64_t index = world_->NextId();
  if (const auto it = link.indexes.find(partition); it != link.indexes.end()) {
    link.attached.erase(it->second);
  }
  link.indexes[partition] = index;
  link.attached[index] = {partition, request.attach_id};
  link.next.attaches.push_back({index, partition, request});
  return true;
}

void Replication::Acknowledge(PartitionNumber partition, NodeId leader,
                              const replica::FollowerAck& ack) {
  Link& link = links_[leader];
  const auto index = link.indexes.find(partition);
  if (index == link.indexes.end()) return;
  if (link.attached.at(index->second).second != ack.attach_id) return;
  link.next.acks.emplace_back(index->second, ack);
}

void Replication::Consumed(NodeId leader, int batches) {
  Link& link = links_[leader];
  if (link.stream != 0) link.next.credit += batches;
}

void Replication::Flush() {
  for (auto& [leader, link] : links_) {
    if (link.stream == 0 || link.dead || link.next.empty()) continue;
    const bool sent =
        world_->network->Call(At(node_->id()), At(leader),
                              [world = world_, stream = link.stream, self = node_->id(),
                               to = leader, frame = std::exchange(link.next, FollowerFrame())] {
                                Reach(world, to, [stream, self, frame](Replication* replication) {
                                  replication->OnFollowerFrame(stream, self, frame);
                                });
                              });
    if (!sent) LoseStream(link.stream, node_->id(), leader);
  }
}

void Replication::BreakLink(NodeId leader) {
  const uint64_t stream = links_.at(leader).stream;
  if (stream == 0) return;
  LoseStream(stream, node_->id(), leader);
  OnLinkBroken(stream);
}

// Both ends learn of it in their own time; nothing more is sent on it by this one.
void Replication::LoseStream(uint64_t stream, NodeId follower, NodeId leader) {
  world_->findings->Reach(Mark::kStreamBroken);
  if (follower == node_->id()) links_.at(leader).dead = true;
  if (const auto it = streams_.find(stream); it != streams_.end()) it->second.dead = true;
  World* const world = world_;
  world->queue->After(random_.Between(1, kNoticeMax), EventKind::kTimer, [=] {
    Reach(world, follower, [stream](Replication* one) { one->OnLinkBroken(stream); });
  });
  world->queue->After(random_.Between(1, kNoticeMax), EventKind::kTimer, [=] {
    Reach(world, leader, [stream](Replication* one) { one->OnStreamEnded(stream); });
  });
}

void Replication::OnLinkBroken(uint64_t stream) {
  for (auto& [leader, link] : links_) {
    if (link.stream != stream) continue;
    link = Link();
    link.broken = true;
  }
}

void Replication::OnLeaderFrame(uint64_t stream, NodeId leader, const LeaderFrame& frame) {
  Link& link = links_[leader];
  if (link.stream != stream) return;
  for (const LeaderFrame::Attached& one : frame.attached) {
    const auto it = link.attached.find(one.index);
    if (it == link.attached.end()) continue;  // Attached anew since.
    if (!one.accepted) {
      link.refused.push_back(one.index);
      continue;
    }
    shard_->AttachAnswered(it->second.first, {.attach_id = it->second.second,
                                              .diverging = one.answer.diverging,
                                              .log_start = one.answer.log_start,
                                              .high_watermark = one.answer.high_watermark});
  }
  for (const LeaderFrame::News& news : frame.news) TakeNews(leader, &link, news);
  Flush();
}

void Replication::TakeNews(NodeId leader, Link* link, const LeaderFrame::News& news) {
  const auto it = link->attached.find(news.index);
  if (it == link->attached.end()) {
    link->next.credit += static_cast<int>(news.batches.size());  // Of an attach that is over.
    return;
  }
  shard_->Replicate({.partition = it->second.first,
                     .leader = leader,
                     .marks = {.attach_id = it->second.second,
                               .log_start = news.log_start,
                               .high_watermark = news.high_watermark},
                     .batches = news.batches});
}

// ---- The leader's end ----

void Replication::OnFollowerFrame(uint64_t id, NodeId follower, const FollowerFrame& frame) {
  if (!streams_.contains(id)) {
    if (!frame.hello.has_value()) {
      // Of a process that is no more, or of a stream that this end has given up: reset.
      world_->network->Call(At(node_->id()), At(follower), [world = world_, id, follower] {
        Reach(world, follower, [id](Replication* one) { one->OnLinkBroken(id); });
      });
      return;
    }
    streams_[id].follower = follower;
    streams_[id].from = *frame.hello;
  }
  Stream& stream = streams_.at(id);
  stream.credit += frame.credit;
  for (const FollowerFrame::Attach& attach : frame.attaches) TakeAttach(id, attach);
  for (const auto& [index, ack] : frame.acks) {
    const Copy* const copy = FindAcknowledged(stream, index);
    if (copy == nullptr) continue;  // Of an attach that is over.
    shard_->TakeProgress(copy->partition, {.stream = id,
                                           .from = stream.from,
                                           .epoch = copy->epoch,
                                           .written_end = ack.written_end,
                                           .flushed_end = ack.flushed_end,
                                           .log_start = ack.log_start});
  }
  Push(id);
}

void Replication::TakeAttach(uint64_t id, const FollowerFrame::Attach& attach) {
  const replica::AttachFollower input{.token = attach.index,
                                      .stream = id,
                                      .from = streams_.at(id).from,
                                      .epoch = attach.request.epoch,
                                      .last_epoch = attach.request.last_epoch,
                                      .log_end = attach.request.log_end,
                                      .flushed_end = attach.request.flushed_end,
                                      .log_start = attach.request.log_start};
  shard_->AttachFollower(attach.partition, input,
                         [this, id, attach](const absl::StatusOr<replica::AttachAnswer>& answer) {
                           Attached(id, attach, answer);
                         });
}

void Replication::Attached(uint64_t id, const FollowerFrame::Attach& attach,
                           const absl::StatusOr<replica::AttachAnswer>& answer) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  Stream& stream = it->second;
  LeaderFrame::Attached& out = stream.next.attached.emplace_back();
  out.index = attach.index;
  out.accepted = answer.ok();
  if (answer.ok()) out.answer = *answer;
  if (answer.ok() && !answer->diverging.has_value()) {
    // What was attached before of this partition is over.
    if (const auto old = stream.indexes.find(attach.partition); old != stream.indexes.end()) {
      Drop(&stream, old->second);
    }
    stream.indexes[attach.partition] = attach.index;
    stream.copies[attach.index] = {.partition = attach.partition,
                                   .epoch = attach.request.epoch,
                                   .next = attach.request.log_end,
                                   .sent_log_start = answer->log_start,
                                   .sent_high_watermark = answer->high_watermark};
    MakeDue(&stream, attach.index);
  }
  Push(id);
}

void Replication::OnStreamEnded(uint64_t id) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  const Stream ended = std::move(it->second);
  streams_.erase(it);
  for (const auto& [index, copy] : ended.copies) {
    shard_->FollowerLeft(copy.partition, {.stream = id, .from = ended.from});
  }
}

void Replication::Drop(Stream* stream, uint64_t index) {
  const auto it = stream->copies.find(index);
  if (it == stream->copies.end()) return;
  stream->indexes.erase(it->second.partition);
  if (world_->has_bug(replica::PlantedBug::kOldEpochAckCounts)) stream->over.insert(*it);
  stream->copies.erase(it);
}

const Replication::Copy* Replication::FindAcknowledged(const Stream& stream, uint64_t index) const {
  const auto it = stream.copies.find(index);
  if (it != stream.copies.end()) return &it->second;
  const auto over = stream.over.find(index);
  return over == stream.over.end() ? nullptr : &over->second;
}

void Replication::MakeDue(Stream* stream, uint64_t index) {
  Copy& copy = stream->copies.at(index);
  if (!std::exchange(copy.due, true)) stream->due.push_back(index);
}

void Replication::OnPublished(PartitionNumber partition) {
  const Published state = shard_->state(partition);
  std::vector<uint64_t> due;
  for (auto& [id, stream] : streams_) {
    const auto index = stream.indexes.find(partition);
    if (index == stream.indexes.end()) continue;
    const Copy& copy = stream.copies.at(index->second);
    // Marks alone can wait for the next batch, or for SendMarks().
    if (state.leads && state.written_end == copy.next && state.epoch == copy.epoch) continue;
    MakeDue(&stream, index->second);
    due.push_back(id);
  }
  for (const uint64_t id : due) Push(id);
}

void Replication::SendMarks() {
  std::vector<uint64_t> ids;
  for (auto& [id, stream] : streams_) {
    for (const auto& [index, copy] : stream.copies) {
      const Published state = shard_->state(copy.partition);
      if (state.high_watermark != copy.sent_high_watermark ||
          state.log_start != copy.sent_log_start || copy.next < state.written_end) {
        MakeDue(&stream, index);
      }
    }
    ids.push_back(id);
  }
  for (const uint64_t id : ids) Push(id);
}

bool Replication::AddNews(Stream* stream, uint64_t index) {
  const auto it = stream->copies.find(index);
  if (it == stream->copies.end()) return true;
  Copy& copy = it->second;
  const Published state = shard_->state(copy.partition);
  if (!state.leads || state.epoch != copy.epoch) {  // No longer ours: the follower is told.
    stream->next.attached.emplace_back().index = index;
    Drop(stream, index);
    return true;
  }
  LeaderFrame::News news{.index = index,
                         .log_start = state.log_start,
                         .high_watermark = state.high_watermark,
                         .batches = {}};
  if (copy.next < state.written_end) {
    if (stream->credit <= 0) return false;
    const StoredLog* const log = node_->store().Find(copy.partition, Store::View::kWritten);
    Offset next = std::max(copy.next, log->log_start);
    while (next < state.written_end && stream->credit > 0 &&
           static_cast<int>(news.batches.size()) < world_->laws.push_batches) {
      const Batch* const batch = log->Find(next);
      if (batch == nullptr || batch->end() > state.written_end) break;
      if (batch->damaged) {
        node_->OnDamage(copy.partition);
        return true;
      }
      news.batches.push_back(*batch);
      --stream->credit;
      next = batch->end();
    }
    copy.next = next;
  }
  if (news.batches.empty() && state.high_watermark == copy.sent_high_watermark &&
      state.log_start == copy.sent_log_start) {
    return true;
  }
  copy.sent_log_start = state.log_start;
  copy.sent_high_watermark = state.high_watermark;
  stream->next.news.push_back(std::move(news));
  if (copy.next < state.written_end) MakeDue(stream, index);
  return true;
}

void Replication::Push(uint64_t id) {
  const auto it = streams_.find(id);
  if (it == streams_.end() || it->second.dead) return;
  Stream& stream = it->second;
  for (size_t count = stream.due.size(); count > 0; --count) {
    const uint64_t index = stream.due.front();
    stream.due.pop_front();
    if (const auto copy = stream.copies.find(index); copy != stream.copies.end()) {
      copy->second.due = false;
    }
    const bool added = AddNews(&stream, index);
    if (!node_->running()) return;
    if (added) continue;
    // It keeps its turn: else who always has more would leave it no credit.
    stream.copies.at(index).due = true;
    stream.due.push_front(index);
    break;
  }
  if (stream.next.attached.empty() && stream.next.news.empty()) return;
  const bool sent = world_->network->Call(
      At(node_->id()), At(stream.follower),
      [world = world_, id, self = node_->id(), follower = stream.follower,
       frame = std::exchange(stream.next, LeaderFrame())] {
        Reach(world, follower,
              [id, self, frame](Replication* one) { one->OnLeaderFrame(id, self, frame); });
      });
  if (!sent) LoseStream(id, stream.follower, node_->id());
}

void Replication::Abandon() {
  for (const auto& [id, stream] : streams_) LoseStream(id, stream.follower, node_->id());
  for (auto& [leader, link] : links_) {
    if (link.stream != 0) LoseStream(link.stream, node_->id(), leader);
  }
}

// ---- Time ----

void Replication::Tick() {
  node_->After(kTick, EventKind::kTimer, [this] { Tick(); });
  for (auto& [leader, link] : links_) {
    for (const uint64_t index : std::exchange(link.refused, {})) {
      const auto it = link.attached.find(index);
      if (it != link.attached.end()) shard_->Reattach(it->second.first, leader);
    }
    if (std::exchange(link.broken, false)) shard_->ReattachTo(leader);
  }
  SendMarks();
  if (++ticks_ % kTicksPerCheck == 0) shard_->CheckIsrs();
}

void Replication::Propose(PartitionNumber partition, const replica::IsrProposal& proposal) {
  proposals_.emplace_back(partition, proposal);
}

// An answer tells nothing that the watch does not; it may be lost.
void Replication::ReportDamage(PartitionNumber partition, const Assignment& known) {
  const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
  pb::ClusterCommand command;
  command.mutable_report_damage()->set_node_epoch(node_epoch_.value());
  command.mutable_report_damage()->set_node_id(node_->id().value());
  pb::DamagedReplica& damaged = *command.mutable_report_damage()->add_replicas();
  damaged.set_topic_id(std::string(name.topic_id.bytes()));
  damaged.set_partition(name.index.value());
  damaged.set_leader_epoch(known.epoch.value());
  damaged.set_partition_epoch(known.partition_epoch.value());
  world_->metadata->Execute(At(node_->id()), command,
                            [](const absl::StatusOr<pb::ExecuteResponse>& /*response*/) {});
}

void Replication::SendProposals() {
  node_->After(kProposalPause, EventKind::kTimer, [this] { SendProposals(); });
  if (proposals_.empty() || proposing_ != 0) return;
  pb::ClusterCommand command;
  command.mutable_alter_isr()->set_node_epoch(node_epoch_.value());
  command.mutable_alter_isr()->set_node_id(node_->id().value());
  for (const auto& [partition, proposal] : proposals_) {
    const PartitionName& name = world_->partitions[static_cast<size_t>(partition)];
    pb::IsrChange& change = *command.mutable_alter_isr()->add_changes();
    change.set_topic_id(std::string(name.topic_id.bytes()));
    change.set_partition(name.index.value());
    change.set_leader_epoch(proposal.epoch.value());
    change.set_partition_epoch(proposal.partition_epoch.value());
    for (const replica::IsrMember& member : proposal.isr) {
      pb::IsrMember& out = *change.add_isr();
      out.set_node_id(member.node.value());
      out.set_node_epoch(member.node_epoch.value());
    }
  }
  const auto proposals = std::make_shared<decltype(proposals_)>(std::exchange(proposals_, {}));
  const uint64_t asked = proposing_ = world_->NextId();
  const auto answer = [this, asked,
                       proposals](const absl::StatusOr<pb::ExecuteResponse>& response) {
    if (proposing_ != asked) return;
    proposing_ = 0;
    AnswerProposals(*proposals, response);
  };
  world_->metadata->Execute(At(node_->id()), command, node_->Guarded(answer));
  node_->After(kProposalPatience, EventKind::kTimer, [this, asked, answer] {
    if (proposing_ != asked) return;
    world_->findings->Reach(Mark::kIsrOutcomeLost);
    answer(MakeError(Reason::kMetadataUnavailable, "no answer"));
  });
}

void Replication::AnswerProposals(
    const std::vector<std::pair<PartitionNumber, replica::IsrProposal>>& proposals,
    const absl::StatusOr<pb::ExecuteResponse>& response) {
  for (size_t i = 0; i < proposals.size(); ++i) {
    const auto& [partition, proposal] = proposals[i];
    replica::IsrAnswered answer{.epoch = proposal.epoch,
                                .partition_epoch = proposal.partition_epoch,
                                .outcome = replica::IsrAnswered::Outcome::kUnknown};
    if (response.ok() && static_cast<int>(i) < response->isr_results_size()) {
      const std::string& reason = response->isr_results(static_cast<int>(i)).error_reason();
      // Done, or changed by others meanwhile: the watch tells.
      if (reason.empty() || !IsRefusal(ReasonFromName(reason))) continue;
      world_->findings->Reach(Mark::kIsrRefused);
      answer.outcome = replica::IsrAnswered::Outcome::kRefused;
    }
    shard_->IsrAnswered(partition, answer);
  }
}

}  // namespace falaj::simulation::data
