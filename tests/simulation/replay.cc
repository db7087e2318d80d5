#include "tests/simulation/replay.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;

// Node clocks differ by at most one part in a hundred.
SimTime AtLeast(SimTime timeout) { return timeout - timeout / 50; }

const v1::WriteOptions* OptionsOf(const pb::CoordinationCommand& command) {
  switch (command.command_case()) {
    case pb::CoordinationCommand::kCreate:
      return &command.create().options();
    case pb::CoordinationCommand::kSet:
      return &command.set().options();
    case pb::CoordinationCommand::kDelete:
      return &command.delete_().options();
    case pb::CoordinationCommand::kMulti:
      return &command.multi().options();
    default:
      return nullptr;
  }
}

uint64_t ValueWritten(const pb::CoordinationCommand& command) {
  switch (command.command_case()) {
    case pb::CoordinationCommand::kCreate:
      return ValueOf(command.create().data());
    case pb::CoordinationCommand::kSet:
      return ValueOf(command.set().data());
    case pb::CoordinationCommand::kMulti:
      for (const v1::MultiOperation& operation : command.multi().operations()) {
        if (operation.has_create()) return ValueOf(operation.create().data());
        if (operation.has_set()) return ValueOf(operation.set().data());
      }
      return 0;
    default:
      return 0;
  }
}

}  // namespace

uint64_t ValueOf(absl::string_view data) {
  uint64_t value = 0;
  return absl::SimpleAtoi(data, &value) ? value : 0;
}

RequestKey KeyOf(const pb::CoordinationCommand& command) {
  const v1::WriteOptions* options = OptionsOf(command);
  if (options != nullptr && options->request_id() != 0) {
    return {options->session().session_id(), options->request_id()};
  }
  return {0, ValueWritten(command)};
}

void Replay::Apply(const pb::RaftEntry& entry) {
  const LogIndex at(entry.index());
  Step step;
  pb::ClusterCommand command;
  metadata::MetadataState::Applied applied;
  if (entry.type() == pb::RAFT_ENTRY_TYPE_COMMAND && command.ParseFromString(entry.data())) {
    applied = state_.Apply(at, command);
    step.response = applied.response;
    step.changes = applied.znodes;
  } else {
    state_.Skip(at);
    pb::ExecuteResponse response;  // Of a change of the membership.
    response.set_index(at.value());
    step.response = std::move(response);
  }
  step.digest = state_.Digest();
  steps_.push_back(std::move(step));
  if (command.command_case() == pb::ClusterCommand::COMMAND_NOT_SET) return;
  FollowZnodes(at, applied.znodes);
  FollowSessions(at, Term(entry.term()), command, applied);
  FollowEffects(at, command);
  if (on_applied_) on_applied_(command, applied);
}

void Replay::CheckState(NodeId node, const metadata::MetadataState& state) {
  if (state.index() <= index() && state.Digest() == steps_[state.index().value()].digest) return;
  findings_->Report("equal states",
                    absl::StrCat("node ", node, " differs from the log at index ", state.index()));
}

void Replay::FollowEffects(LogIndex index, const pb::ClusterCommand& command) {
  if (!command.has_coordination()) return;
  const Step& step = steps_.back();
  const RequestKey key = KeyOf(command.coordination());
  if (key.second == 0) return;
  if (step.changes.empty()) {
    const auto effect = effects_.find(key);
    if (step.response.ok() && effect != effects_.end()) findings_->Reach(Mark::kRepeated);
    return;
  }
  const auto [effect, is_first] = effects_.try_emplace(key, index);
  if (is_first) return;
  findings_->Report(
      "effects are single",
      absl::StrCat("request ", key.second, " of session ", key.first, " took effect at ", index,
                   effect->second == LogIndex()
                       ? ", after its client was told that it had none"
                       : absl::StrCat(", and before at ", effect->second)));
}

void Replay::NoteRefused(RequestKey key) {
  if (key.second == 0) return;
  const auto [effect, is_first] = effects_.try_emplace(key, LogIndex());
  if (is_first || effect->second == LogIndex()) return;
  findings_->Report("effects are single",
                    absl::StrCat("a client was told that request ", key.second, " of session ",
                                 key.first, " had no effect; it had, at ", effect->second));
}

void Replay::FollowZnodes(LogIndex index, const coordination::ZnodeChanges& changes) {
  for (const coordination::ZnodeChange& change : changes) {
    const coordination::Znode& znode = *change.znode;
    const bool deleted = change.type == v1::ZNODE_EVENT_TYPE_DELETED;
    std::vector<Version>& versions = znodes_[znode.path()];
    if (!versions.empty() && versions.back().first == index) versions.pop_back();
    versions.emplace_back(index, deleted ? nullptr : change.znode);
    if (znode.ephemeral_session == SessionId()) continue;
    SessionRecord& session = sessions_[znode.ephemeral_session];
    if (deleted) {
      session.ephemerals.erase(znode.path());
    } else {
      session.ephemerals.insert(znode.path());
    }
  }
}

void Replay::FollowSessions(LogIndex index, Term term, const pb::ClusterCommand& command,
                            const metadata::MetadataState::Applied& applied) {
  if (applied.ended) {
    SessionRecord& record = sessions_[*applied.ended];
    if (command.has_end_session() && !record.end_asked)
      CheckExpiry(index, term, *applied.ended, record);
    record.ended = true;
    for (const coordination::ZnodeChange& change : applied.znodes) {
      if (change.znode->ephemeral_session == *applied.ended) {
        findings_->Reach(Mark::kEphemeralsGone);
        break;
      }
    }
    if (!record.ephemerals.empty()) {
      findings_->Report("ephemeral znodes",
                        absl::StrCat(*record.ephemerals.begin(), " survives session ",
                                     *applied.ended, ", which ended at ", index));
    }
  }
  if (applied.opened) {
    SessionRecord& record = sessions_[*applied.opened];
    const coordination::Session* session = state_.coordination().FindSession(*applied.opened);
    if (record.ended || session == nullptr) {
      findings_->Report("sessions", absl::StrCat("session ", *applied.opened, " opened anew"));
      return;
    }
    record.timeout = session->timeout_ms * kMillisecond;
    record.last_sign = queue_->now();
  }
  for (const coordination::ZnodeChange& change : applied.znodes) {
    const SessionId owner = change.znode->ephemeral_session;
    if (owner == SessionId() || change.type == v1::ZNODE_EVENT_TYPE_DELETED) continue;
    const SessionRecord& record = sessions_[owner];
    if (record.timeout != 0 && !record.ended) continue;
    findings_->Report("ephemeral znodes", absl::StrCat(change.znode->path(), " belongs to session ",
                                                       owner, ", which does not live at ", index));
  }
}

// Whatever opened or last heard of the session bounds from below when it may end: the clock begins
// anew with every leader.
void Replay::CheckExpiry(LogIndex index, Term term, SessionId session,
                         const SessionRecord& record) {
  findings_->Reach(Mark::kSessionExpired);
  const SimTime begin = std::max(record.last_sign, elected_at_(term));
  const SimTime silent = queue_->now() - begin;
  if (silent >= AtLeast(record.timeout)) return;
  findings_->Report("sessions", absl::StrCat("session ", session, " ended at index ", index,
                                             " after ", FormatTime(silent), " s, its timeout is ",
                                             FormatTime(record.timeout), " s"));
}

void Replay::NoteSignOfLife(SessionId session, SimTime sent) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  found->second.last_sign = std::max(found->second.last_sign, sent);
}

coordination::ZnodePtr Replay::ZnodeAt(const std::string& path, LogIndex index) const {
  const auto found = znodes_.find(path);
  if (found == znodes_.end()) return nullptr;
  const auto later = std::upper_bound(
      found->second.begin(), found->second.end(), index,
      [](LogIndex bound, const Version& version) { return bound < version.first; });
  return later == found->second.begin() ? nullptr : std::prev(later)->second;
}

std::vector<std::string> Replay::ChildrenAt(const std::string& path, LogIndex index) const {
  std::vector<std::string> names;
  const std::string prefix = absl::StrCat(path, "/");
  for (auto it = znodes_.lower_bound(prefix); it != znodes_.end(); ++it) {
    if (!absl::StartsWith(it->first, prefix)) break;
    const std::string name = it->first.substr(prefix.size());
    if (absl::StrContains(name, '/')) continue;
    if (ZnodeAt(it->first, index) != nullptr) names.push_back(name);
  }
  return names;
}

}  // namespace falaj::simulation
