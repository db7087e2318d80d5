#include "libs/raft/core_state.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"
#include "libs/base/status.h"

namespace falaj::raft {
namespace {

// The entry before the first one held. Entries that reach back behind the snapshot are kept for
// slow followers; the oldest of them then serves as the anchor, since the one before it is unknown.
EntryId TakeAnchor(const pb::RaftSnapshot& meta, std::vector<pb::RaftEntry>* entries) {
  if (entries->empty() || IndexOf(entries->front()) == LogIndex(meta.index() + 1)) {
    return {LogIndex(meta.index()), Term(meta.term())};
  }
  if (IndexOf(entries->front()) == LogIndex(1)) return {};
  const EntryId anchor{IndexOf(entries->front()), TermOf(entries->front())};
  entries->erase(entries->begin());
  return anchor;
}

RaftEntries RestoreEntries(Restored* restored) {
  const EntryId anchor = TakeAnchor(restored->snapshot.meta, &restored->entries);
  const LogIndex applied(restored->snapshot.meta.index());
  const LogIndex committed = std::max(applied, LogIndex(restored->hard_state.commit()));
  return RaftEntries(anchor, std::move(restored->entries), committed, applied);
}

// What promises are made on: a vote, an acknowledgement, a candidacy.
bool AsksForPromise(pb::RaftMessageType type) {
  switch (type) {
    case pb::RAFT_MESSAGE_TYPE_PRE_VOTE:
    case pb::RAFT_MESSAGE_TYPE_VOTE:
    case pb::RAFT_MESSAGE_TYPE_APPEND:
    case pb::RAFT_MESSAGE_TYPE_HEARTBEAT:
    case pb::RAFT_MESSAGE_TYPE_TIMEOUT_NOW:
    case pb::RAFT_MESSAGE_TYPE_SNAPSHOT:
      return true;
    default:
      return false;
  }
}

// The low bits count the batches of one life.
constexpr int kReadBatchBits = 20;

uint64_t FirstReadBatch(uint64_t seed) {
  return Random(seed ^ 0x7265616473ULL).Next() << kReadBatchBits;
}

}  // namespace

CoreState::CoreState(const Options& core_options, Restored restored, Membership base)
    : options(core_options),
      term(restored.hard_state.term()),
      vote(restored.hard_state.vote()),
      log(RestoreEntries(&restored)),
      members(LogIndex(restored.snapshot.meta.index()), std::move(base)),
      timer(core_options.election_ticks_min, core_options.election_ticks_max,
            core_options.random_seed),
      snapshot(std::move(restored.snapshot)),
      read_batch(FirstReadBatch(core_options.random_seed)),
      durable_term(term),
      durable_vote(vote),
      told_hard_(restored.hard_state) {}

pb::RaftMessage CoreState::NewMessage(pb::RaftMessageType type, NodeId to) const {
  pb::RaftMessage message;
  message.set_type(type);
  message.set_from(options.self.value());
  message.set_to(to.value());
  message.set_term(term.value());
  if (!options.directory.is_nil()) {
    message.set_from_directory(std::string(options.directory.bytes()));
  }
  const Uuid directory = AsksForPromise(type) ? members.current().DirectoryOf(to) : Uuid();
  if (!directory.is_nil()) message.set_to_directory(std::string(directory.bytes()));
  return message;
}

void CoreState::SendAck(NodeId to, LogIndex index) {
  pb::RaftMessage reply = NewMessage(pb::RAFT_MESSAGE_TYPE_APPEND_REPLY, to);
  reply.set_log_index(index.value());
  SendAfterPersist(std::move(reply));
}

// What is committed: nobody is refused, or let in, by a membership that may be overwritten.
void CoreState::SendMembership(NodeId to, const Uuid& directory) {
  pb::RaftMessage message = NewMessage(pb::RAFT_MESSAGE_TYPE_FOUNDING_REPLY, to);
  message.set_to_directory(std::string(directory.bytes()));
  message.set_reject(true);
  *message.mutable_membership() = members.At(log.committed()).ToProto();
  SendAfterPersist(std::move(message));
}

void CoreState::Found(Membership membership) {
  *snapshot.meta.mutable_membership() = membership.ToProto();
  members = MembershipHistory(LogIndex(0), membership);
  founded_ = std::move(membership);
  timer.Reset();
}

void CoreState::SetTerm(Term new_term) {
  if (new_term == term) return;
  term = new_term;
  vote = NodeId();
  leader = NodeId();
}

EntryId CoreState::AppendOwn(pb::RaftEntryType type, std::string data) {
  const EntryId id{log.last_index() + 1, term};
  pb::RaftEntry entry;
  entry.set_index(id.index.value());
  entry.set_term(term.value());
  entry.set_type(type);
  entry.set_data(std::move(data));
  log.Append(std::move(entry));
  return id;
}

absl::Status CoreState::AppendFromLeader(const EntryList& entries) {
  const int first = log.FirstMissing(entries);
  if (first == entries.size()) return absl::OkStatus();
  const LogIndex first_index = IndexOf(entries[first]);
  std::vector<std::pair<LogIndex, Membership>> changes;
  for (int i = first; i < entries.size(); ++i) {
    if (entries[i].type() != pb::RAFT_ENTRY_TYPE_MEMBERSHIP) continue;
    pb::RaftMembership proto;
    if (!proto.ParseFromString(entries[i].data())) {
      return MakeError(Reason::kInvalidRequest, "an entry holds a malformed membership");
    }
    FALAJ_ASSIGN_OR_RETURN(Membership membership, Membership::FromProto(proto));
    changes.emplace_back(IndexOf(entries[i]), std::move(membership));
  }
  if (first_index <= log.last_index()) {
    log.TruncateFrom(first_index);
    members.TruncateFrom(first_index);
  }
  for (int i = first; i < entries.size(); ++i) log.Append(entries[i]);
  for (auto& [index, membership] : changes) members.Add(index, std::move(membership));
  return absl::OkStatus();
}

void CoreState::Install(Snapshot received, Membership membership) {
  const LogIndex index(received.meta.index());
  log.Reset({index, Term(received.meta.term())});
  members = MembershipHistory(index, std::move(membership));
  snapshot = std::move(received);
  snapshot_to_install = true;
}

pb::RaftHardState CoreState::HardState() const {
  pb::RaftHardState hard;
  hard.set_term(term.value());
  hard.set_vote(vote.value());
  hard.set_commit(log.committed().value());
  return hard;
}

bool CoreState::HasEffects() const {
  if (storage_failed) return !dropped_reads.empty();
  return !messages.empty() || !messages_after_persist.empty() || !reads.empty() ||
         !dropped_reads.empty() || snapshot_to_install || founded_.has_value() ||
         log.HasUnwritten() || log.HasCommitted() || told_hard_.term() != term.value() ||
         told_hard_.vote() != vote.value() || told_hard_.commit() != log.committed().value();
}

Ready CoreState::TakeReady() {
  Ready ready;
  ready.number = ++last_number_;
  ready.dropped_reads = std::exchange(dropped_reads, {});
  if (storage_failed) return ready;
  ready.messages = std::exchange(messages, {});
  if (std::exchange(snapshot_to_install, false)) ready.snapshot = snapshot;
  ready.initial_membership = std::exchange(founded_, std::nullopt);
  ready.entries = log.TakeUnwritten(ready.number);
  const pb::RaftHardState hard = HardState();
  const bool promised = hard.term() != told_hard_.term() || hard.vote() != told_hard_.vote();
  if (promised || hard.commit() != told_hard_.commit()) ready.hard_state = hard;
  told_hard_ = hard;
  ready.must_sync = promised || !ready.entries.empty() || ready.snapshot.has_value() ||
                    ready.initial_membership.has_value();
  if (has_bug(PlantedBug::kVoteNotPersisted) && ready.hard_state) ready.hard_state->clear_vote();
  ready.messages_after_persist = std::exchange(messages_after_persist, {});
  ready.committed_entries = log.TakeCommitted(options.apply_bytes_max);
  ready.reads = std::exchange(reads, {});
  writing_.push_back({ready.number, term, vote});
  return ready;
}

void CoreState::Persisted(uint64_t number) {
  log.Persisted(number);
  while (!writing_.empty() && writing_.front().number <= number) {
    durable_term = writing_.front().term;
    durable_vote = writing_.front().vote;
    writing_.pop_front();
  }
}

}  // namespace falaj::raft
