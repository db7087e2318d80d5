#include "tests/simulation/history.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;

LogIndex IndexOf(const pb::CoordinationResult& result) {
  switch (result.result_case()) {
    case pb::CoordinationResult::kOpenSession:
      return LogIndex(result.open_session().index());
    case pb::CoordinationResult::kCloseSession:
      return LogIndex(result.close_session().index());
    case pb::CoordinationResult::kCreate:
      return LogIndex(result.create().index());
    case pb::CoordinationResult::kSet:
      return LogIndex(result.set().index());
    case pb::CoordinationResult::kDelete:
      return LogIndex(result.delete_().index());
    case pb::CoordinationResult::kMulti:
      return LogIndex(result.multi().index());
    case pb::CoordinationResult::kResign:
      return LogIndex(result.resign().index());
    default:
      return LogIndex();
  }
}

// nullopt: an error that says nothing about registers.
std::optional<Operation::Outcome> OutcomeOf(const absl::Status& status) {
  if (status.ok()) return Operation::Outcome::kOk;
  switch (ReasonOf(status)) {
    case Reason::kZnodeNotFound:
      return Operation::Outcome::kNotFound;
    case Reason::kZnodeAlreadyExists:
      return Operation::Outcome::kAlreadyExists;
    case Reason::kVersionMismatch:
      return Operation::Outcome::kVersionMismatch;
    default:
      return std::nullopt;
  }
}

size_t FailedStep(const absl::Status& status) {
  const ErrorMetadata metadata = MetadataOf(status);
  const auto operation = metadata.find("operation");
  uint64_t step = 0;
  if (operation == metadata.end() || !absl::SimpleAtoi(operation->second, &step)) return 0;
  return step;
}

template <typename Request>
std::optional<int64_t> ExpectedVersion(const Request& request) {
  if (!request.has_expected_version()) return std::nullopt;
  return request.expected_version();
}

}  // namespace

int History::NumberOf(const std::string& path) {
  return numbers_.emplace(path, static_cast<int>(numbers_.size())).first->second;
}

// False if the command touches what the search does not know.
bool History::ToSteps(const pb::CoordinationCommand& command, std::vector<Step>* steps) {
  const auto add = [&](Step::Kind kind, const std::string& path, absl::string_view data,
                       std::optional<int64_t> version) {
    if (!IsRegister(path)) return false;
    steps->push_back({kind, NumberOf(path), ValueOf(data), version, {}});
    return true;
  };
  const auto add_create = [&](const v1::CreateZnodeRequest& create) {
    return !create.sequential() && !create.ephemeral() &&
           add(Step::Kind::kCreate, create.path(), create.data(), std::nullopt);
  };
  const auto add_set = [&](const v1::SetZnodeRequest& set) {
    return add(Step::Kind::kSet, set.path(), set.data(), ExpectedVersion(set));
  };
  const auto add_delete = [&](const v1::DeleteZnodeRequest& remove) {
    return add(Step::Kind::kDelete, remove.path(), "", ExpectedVersion(remove));
  };
  if (command.has_create()) return add_create(command.create());
  if (command.has_set()) return add_set(command.set());
  if (command.has_delete_()) return add_delete(command.delete_());
  if (!command.has_multi()) return false;
  for (const v1::MultiOperation& operation : command.multi().operations()) {
    const bool known = operation.has_create()    ? add_create(operation.create())
                       : operation.has_set()     ? add_set(operation.set())
                       : operation.has_delete_() ? add_delete(operation.delete_())
                                                 : add(Step::Kind::kCheck, operation.check().path(),
                                                       "", ExpectedVersion(operation.check()));
    if (!known) return false;
  }
  return true;
}

size_t History::Add(std::vector<Step> steps) {
  Operation operation;
  operation.invoked = queue_->now();
  operation.steps = std::move(steps);
  registers_.push_back(std::move(operation));
  return registers_.size() - 1;
}

size_t History::Begin(const pb::CoordinationCommand& command) {
  std::vector<Step> steps;
  const bool known = ToSteps(command, &steps);
  begun_.push_back({newest_, known ? Add(std::move(steps)) : kNowhere});
  return begun_.size() - 1;
}

size_t History::Begin(const ReadRequest& read) {
  const bool known = read.linearizable && !read.list && IsRegister(read.path);
  begun_.push_back({newest_, known ? Add({{.znode = NumberOf(read.path)}}) : kNowhere});
  return begun_.size() - 1;
}

void History::EndRefused(size_t operation) {
  const size_t at = begun_[operation].in_registers;
  if (at != kNowhere) registers_[at].steps.clear();
}

void History::End(size_t operation, const pb::CoordinationCommand& command, const Answer& answer) {
  const Begun& begun = begun_[operation];
  EndRegisters(begun, command, answer);
  if (!answer.status.ok()) return;
  const LogIndex index = IndexOf(answer.result);
  if (index == LogIndex() || index > replay_->index()) {
    return findings_->Report("answers", absl::StrCat("a write was answered index ", index,
                                                     ", which nobody has applied"));
  }
  const Replay::ClusterResponse& replayed = replay_->ResponseAt(index);
  if (!replayed.ok() ||
      replayed->coordination().SerializeAsString() != answer.result.SerializeAsString()) {
    findings_->Report("answers", absl::StrCat("the answer to the write at ", index,
                                              " is not what its entry was answered: ",
                                              answer.result.ShortDebugString()));
  }
  if (index <= begun.newest) {
    findings_->Report("real time", absl::StrCat("a write at ", index, " began when ", begun.newest,
                                                " had been answered"));
  }
  Saw(index);
}

void History::EndRegisters(const Begun& begun, const pb::CoordinationCommand& command,
                           const Answer& answer) {
  if (begun.in_registers == kNowhere) return;
  Operation& operation = registers_[begun.in_registers];
  const std::optional<Operation::Outcome> outcome = OutcomeOf(answer.status);
  if (!outcome) {
    operation.steps.clear();  // It was refused for another reason.
    return;
  }
  operation.returned = queue_->now();
  operation.outcome = *outcome;
  operation.failed_step = command.has_multi() ? FailedStep(answer.status) : 0;
  if (!answer.status.ok()) {
    if (operation.failed_step != 0) findings_->Reach(Mark::kMultiRefused);
    return;
  }
  const pb::CoordinationResult& result = answer.result;
  if (result.has_create())
    operation.steps[0].seen.version = result.create().znode().stat().version();
  if (result.has_set()) operation.steps[0].seen.version = result.set().znode().stat().version();
  for (int i = 0; i < result.multi().znodes_size(); ++i) {
    operation.steps[static_cast<size_t>(i)].seen.version =
        result.multi().znodes(i).stat().version();
  }
}

void History::End(size_t operation, const ReadRequest& read, const Answer& answer) {
  const Begun& begun = begun_[operation];
  if (begun.in_registers != kNowhere) {
    Operation& done = registers_[begun.in_registers];
    done.returned = queue_->now();
    done.outcome = Operation::Outcome::kOk;
    if (answer.znode != nullptr) {
      done.steps[0].seen = {answer.znode->version, ValueOf(answer.znode->data())};
    }
  }
  const LogIndex index = answer.index;
  if (index > replay_->index()) {
    return findings_->Report(
        "answers", absl::StrCat("a read saw index ", index, ", which nobody has applied"));
  }
  if (index < read.min_index) {
    findings_->Report("one image",
                      absl::StrCat("a client saw index ", index, " after ", read.min_index));
  }
  if (read.linearizable && index < begun.newest) {
    findings_->Report("real time",
                      absl::StrCat("a read of ", read.path, " at ", index, " began when ",
                                   begun.newest, " had been answered"));
  }
  const coordination::ZnodePtr known = replay_->ZnodeAt(read.path, index);
  const bool equal = known == nullptr || answer.znode == nullptr
                         ? known == answer.znode
                         : known->version == answer.znode->version &&
                               known->data() == answer.znode->data() &&
                               known->create_index == answer.znode->create_index &&
                               known->modify_index == answer.znode->modify_index;
  if (!equal || (read.list && answer.names != replay_->ChildrenAt(read.path, index))) {
    findings_->Report(
        "answers", absl::StrCat("a read of ", read.path, " at ", index, " saw what was not there"));
  }
  if (read.linearizable) Saw(index);
}

History::Campaign History::BeginCampaign(const std::string& path, SessionId session) const {
  const auto lead = leads_.find(path);
  const bool other = lead != leads_.end() && lead->second.session != session;
  return {path, session, other ? lead->second.token : 0};
}

void History::EndCampaign(const Campaign& campaign, const v1::CampaignResponse& won) {
  const LogIndex index(won.index());
  const uint64_t token = won.fencing_token();
  if (index > replay_->index()) {
    return findings_->Report("elections",
                             absl::StrCat("won at ", index, ", which nobody has applied"));
  }
  const coordination::ZnodePtr candidate = replay_->ZnodeAt(won.znode_path(), index);
  if (candidate == nullptr || candidate->create_index.value() != token ||
      candidate->ephemeral_session != campaign.session) {
    return findings_->Report("elections",
                             absl::StrCat(won.znode_path(), " at ", index, " is not the winner's"));
  }
  for (const std::string& name : replay_->ChildrenAt(campaign.path, index)) {
    const auto other = replay_->ZnodeAt(absl::StrCat(campaign.path, "/", name), index);
    if (other->create_index >= candidate->create_index) continue;
    findings_->Report("elections", absl::StrCat(won.znode_path(), " was told to lead at ", index,
                                                " behind ", other->path()));
  }
  const auto [owner, is_first] = token_owners_.emplace(token, campaign.session);
  if (owner->second != campaign.session || token <= campaign.token_floor) {
    findings_->Report("elections", absl::StrCat("token ", token, " of ", campaign.path,
                                                " does not rise above ", campaign.token_floor));
  }
  Lead& lead = leads_[campaign.path];
  if (lead.token != 0 && lead.session != campaign.session) {
    findings_->Reach(Mark::kElectionPassedOn);
  }
  if (token > lead.token) lead = {token, campaign.session};
}

}  // namespace falaj::simulation
