#include "tests/simulation/raft_invariants.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"

#include "libs/base/crc32c.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;
using View = SimDisk::View;

uint64_t ContentOf(const pb::RaftEntry& entry) {
  return static_cast<uint64_t>(crc32c::Of(entry.data())) << 32 |
         static_cast<uint64_t>(entry.data().size()) << 8 | static_cast<uint64_t>(entry.type());
}

}  // namespace

RaftInvariants::RaftInvariants(Findings* findings, const EventQueue* queue, DiskOf disk_of,
                               OnCommit on_commit)
    : findings_(findings),
      queue_(queue),
      disk_of_(std::move(disk_of)),
      on_commit_(std::move(on_commit)) {}

void RaftInvariants::Report(absl::string_view invariant, NodeId node, absl::string_view what) {
  findings_->Report(invariant, absl::StrCat("node ", node, ": ", what));
}

void RaftInvariants::OnSend(const pb::RaftMessage& message) {
  for (const pb::RaftEntry& entry : message.entries()) NoteMembership(entry);
  if (message.type() != pb::RAFT_MESSAGE_TYPE_VOTE_REPLY || message.reject()) return;
  const NodeId voter(message.from());
  const NodeId candidate(message.to());
  if (on_vote_) on_vote_(voter);
  const auto [vote, is_new] = votes_.try_emplace({voter, Term(message.term())}, candidate);
  if (vote->second == candidate) return;
  Report("one vote per term", voter,
         absl::StrCat("voted for ", vote->second, " and for ", candidate, " in term ",
                      message.term()));
}

void RaftInvariants::OnWrite(const NodeProbe& node, const raft::Ready& ready) {
  if (ready.snapshot) findings_->Reach(Mark::kSnapshotInstalled);
  if (ready.entries.empty()) return;
  for (const pb::RaftEntry& entry : ready.entries) NoteMembership(entry);
  CheckOverwriting(node, ready);
  CheckLogMatching(node, ready);
}

void RaftInvariants::NoteMembership(const pb::RaftEntry& entry) {
  pb::RaftMembership members;
  if (entry.type() != pb::RAFT_ENTRY_TYPE_MEMBERSHIP || !members.ParseFromString(entry.data())) {
    return;
  }
  const auto brought = raft::Membership::FromProto(members);
  if (brought.ok()) proposed_[{LogIndex(entry.index()), Term(entry.term())}] = *brought;
}

std::vector<raft::Membership> RaftInvariants::OpenMemberships() const {
  std::vector<raft::Membership> open;
  for (auto it = proposed_.upper_bound({applied(), Term(UINT64_MAX)}); it != proposed_.end();
       ++it) {
    open.push_back(it->second);
  }
  return open;
}

void RaftInvariants::CheckOverwriting(const NodeProbe& node, const raft::Ready& ready) {
  const LogIndex first(ready.entries.front().index());
  const LogIndex last = node.disk->last_index(View::kWritten);
  if (ready.snapshot || first > last) return;
  const std::optional<Term> replaced = node.disk->TermAt(first, View::kWritten);
  if (!replaced || *replaced == Term(ready.entries.front().term())) return;
  findings_->Reach(Mark::kDivergentLog);
  const auto leader = leaders_.find(*replaced);
  if (leader != leaders_.end() && leader->second.node == node.id) {
    findings_->Reach(Mark::kOwnEntryLost);
  }
  if (first <= committed_.index && log_.size() >= first.value() &&
      log_[first.value() - 1].term == *replaced) {
    Report("commit is for ever", node.id, absl::StrCat("replaces committed entry ", first));
  }
  if (node.core->is_leader() && seen_[node.id].leader && seen_[node.id].term == node.core->term()) {
    Report("leader append-only", node.id, absl::StrCat("replaces entry ", first));
  }
}

void RaftInvariants::CheckLogMatching(const NodeProbe& node, const raft::Ready& ready) {
  const LogIndex before(ready.entries.front().index() - 1);
  std::optional<Term> previous = ready.snapshot ? std::optional(Term(ready.snapshot->meta.term()))
                                                : node.disk->TermAt(before, View::kWritten);
  if (!previous) {
    return Report("log matching", node.id, absl::StrCat("writes behind a gap at ", before));
  }
  for (const pb::RaftEntry& entry : ready.entries) {
    const EntryPrint print{ContentOf(entry), *previous};
    previous = Term(entry.term());
    const auto [known, is_new] =
        prints_.try_emplace({LogIndex(entry.index()), Term(entry.term())}, print);
    if (known->second == print) continue;
    Report("log matching", node.id,
           absl::StrCat("entry ", entry.index(), "/", entry.term(), " differs between two logs"));
  }
}

void RaftInvariants::OnApply(const NodeProbe& node, const std::vector<pb::RaftEntry>& entries) {
  for (const pb::RaftEntry& entry : entries) {
    const uint64_t index = entry.index();
    const uint64_t content = ContentOf(entry);
    if (index > log_.size() + 1) {
      return Report("state machine safety", node.id,
                    absl::StrCat("applies ", index, " before anybody applied ", log_.size() + 1));
    }
    if (index <= log_.size()) {
      const AppliedEntry& known = log_[index - 1];
      if (known.term == Term(entry.term()) && known.content == content) continue;
      return Report("state machine safety", node.id,
                    absl::StrCat("applies ", index, "/", entry.term(), ", others applied ", index,
                                 "/", known.term));
    }
    log_.push_back({Term(entry.term()), content});
    if (Term(entry.term()) < leader_term()) findings_->Reach(Mark::kUncommittedAdopted);
    pb::RaftMembership members;
    if (entry.type() == pb::RAFT_ENTRY_TYPE_MEMBERSHIP && members.ParseFromString(entry.data())) {
      const auto after = raft::Membership::FromProto(members);
      if (!after.ok()) return Report("state machine safety", node.id, after.status().message());
      MarkMembership(membership_, *after, Term(entry.term()));
      membership_ = *after;
    }
    on_commit_(entry);
  }
}

void RaftInvariants::MarkMembership(const raft::Membership& before, const raft::Membership& after,
                                    Term term) {
  for (NodeId node : after.learners) {
    if (!before.Contains(node)) findings_->Reach(Mark::kLearnerAdded);
  }
  for (NodeId node : after.voters) {
    if (before.IsLearner(node)) findings_->Reach(Mark::kLearnerPromoted);
  }
  for (NodeId node : before.voters) {
    if (after.Contains(node)) continue;
    findings_->Reach(Mark::kMemberRemoved);
    const auto leader = leaders_.find(term);
    if (leader != leaders_.end() && leader->second.node == node) {
      findings_->Reach(Mark::kLeaderRemoved);
    }
  }
}

void RaftInvariants::OnEvent(const NodeProbe& node) {
  Seen& seen = seen_[node.id];
  if (seen.life != node.life) seen = Seen{.life = node.life};
  const Term term = node.core->term();
  const LogIndex committed = node.core->committed();
  const bool leads = node.core->is_leader();
  if (leads && !(seen.leader && seen.term == term)) OnNewLeader(node);
  if (term < seen.term) Report("election safety", node.id, "its term fell");
  if (committed < seen.committed) Report("commit is for ever", node.id, "its commit index fell");
  if (committed > seen.committed) OnCommitRisen(node, seen);
  if (seen.leader && !leads && seen.term == term && node.core->membership().IsVoter(node.id)) {
    findings_->Reach(Mark::kCheckQuorum);
  }
  if (leads && seen.membership != node.core->membership()) {
    seen.membership = node.core->membership();
  }
  seen.leader = leads;
  seen.term = term;
  seen.committed = committed;
}

void RaftInvariants::OnNewLeader(const NodeProbe& node) {
  const Term term = node.core->term();
  const NodeId before = leader();
  const auto [leader, is_new] = leaders_.try_emplace(term, LeaderOf{node.id, queue_->now()});
  if (leader->second.node != node.id) {
    Report("election safety", node.id,
           absl::StrCat("leads term ", term, ", which node ", leader->second.node, " leads"));
  }
  if (before != NodeId() && before != node.id) findings_->Reach(Mark::kLeaderReplaced);
  if (committed_.index <= node.core->committed()) return;
  // Votes that were long under way may still make a leader of a term that is over: it must have
  // what was committed before its term, not after it.
  if (committed_.term > term) return;
  if (node.core->term_at(committed_.index) != committed_.term) {
    Report("leader completeness", node.id,
           absl::StrCat("leads term ", term, " without committed entry ", committed_.index, "/",
                        committed_.term));
  }
}

void RaftInvariants::OnCommitRisen(const NodeProbe& node, const Seen& before) {
  const LogIndex index = node.core->committed();
  const std::optional<Term> term = node.core->term_at(index);
  if (!term) return;  // It has just installed a snapshot that ends there.
  const raft::EntryId entry{index, *term};
  if (before.leader && node.core->is_leader() && before.term == node.core->term()) {
    if (*term != node.core->term()) {
      Report("commit rule", node.id,
             absl::StrCat("commits entry ", index, "/", *term, " by counting in term ",
                          node.core->term()));
    }
    // An entry may have been counted by the membership that this very event replaced.
    if (!MajorityHolds(node.core->membership(), entry) &&
        !MajorityHolds(before.membership, entry)) {
      Report("commit is durable", node.id,
             absl::StrCat("commits entry ", index, "/", *term,
                          ", which no majority of the voters has on disk"));
    }
  }
  if (index > committed_.index) committed_ = entry;
}

bool RaftInvariants::MajorityHolds(const raft::Membership& membership, raft::EntryId entry) const {
  const auto holds = [&](NodeId voter) {
    const SimDisk* disk = disk_of_(voter);
    return disk != nullptr && disk->Holds(entry.index, entry.term, View::kDurable);
  };
  const auto holding = std::count_if(membership.voters.begin(), membership.voters.end(), holds);
  return static_cast<size_t>(holding) * 2 > membership.voters.size();
}

}  // namespace falaj::simulation
