#include "tests/simulation/client_operations.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr SimTime kAnswerPatience = 700 * kMillisecond;  // For one answer.
constexpr SimTime kEndurance = 8 * kSecond;              // For an operation.
constexpr SimTime kRetryDelay = 30 * kMillisecond;
constexpr uint64_t kGroups = 2;
constexpr uint64_t kRegistersPerGroup = 3;
constexpr uint64_t kValuesPerClient = 1'000'000;

v1::WriteOptions* OptionsIn(pb::CoordinationCommand* command) {
  switch (command->command_case()) {
    case pb::CoordinationCommand::kCreate:
      return command->mutable_create()->mutable_options();
    case pb::CoordinationCommand::kSet:
      return command->mutable_set()->mutable_options();
    case pb::CoordinationCommand::kDelete:
      return command->mutable_delete_()->mutable_options();
    default:
      return command->mutable_multi()->mutable_options();
  }
}

void ServeRead(metadata::MetadataNode* node, const ReadRequest& read, MonotonicTime deadline,
               const Caller::Responder& respond) {
  metadata::PendingReads::Options options;
  options.linearizable = read.linearizable;
  options.min_index = read.min_index;
  options.deadline = deadline;
  node->Read(options, [node, read, respond](const absl::Status& status) {
    Answer answer;
    answer.status = status;
    if (status.ok()) {
      const metadata::MetadataState& state = node->state();
      answer.index = state.index();
      answer.znode = state.coordination().FindZnode(read.path);
      if (read.list && answer.znode != nullptr) {
        v1::ListChildrenRequest request;
        request.set_path(read.path);
        const auto listed = state.coordination().List(request);
        if (listed.ok()) answer.names = {listed->names().begin(), listed->names().end()};
      }
    }
    respond(std::move(answer));
  });
}

}  // namespace

void ClientOperations::ThinkThenBegin() {
  const auto think = static_cast<SimTime>(random_.Below(static_cast<uint64_t>(options_.think_max)));
  world_.queue->After(think + kMillisecond, EventKind::kTimer, [this] { Begin(); });
}

void ClientOperations::Begin() {
  if (random_.Below(100) < 45) return BeginRead();
  // The process dies, and another one begins.
  if (session_ != nullptr && random_.Below(400) == 0) session_->FallSilent();
  BeginWrite();
}

std::string ClientOperations::AnyRegister(uint64_t group) {
  return absl::StrCat("/r/", group, "/", random_.Below(kRegistersPerGroup));
}

std::string ClientOperations::NextValue() {
  return absl::StrCat(static_cast<uint64_t>(caller_->endpoint()) * kValuesPerClient +
                      ++last_value_);
}

void ClientOperations::BeginRead() {
  ReadRequest read;
  const uint64_t dice = random_.Below(100);
  read.path = AnyRegister(random_.Below(kGroups));
  if (dice < 8) read.path = dice < 4 ? "/e" : "/r/0", read.list = true;
  read.linearizable = random_.Below(100) < 75;
  read.min_index = seen_;
  TryRead(history_->Begin(read), read, world_.queue->now() + kEndurance);
}

void ClientOperations::TryRead(size_t operation, const ReadRequest& read, SimTime deadline) {
  if (world_.queue->now() >= deadline) {
    history_->EndRefused(operation);
    return ThinkThenBegin();
  }
  const NodeId target = random_.Below(2) == 0 ? caller_->Leader() : caller_->Anybody();
  const SimNode* const at = caller_->Find(target);
  caller_->Call(
      target, kAnswerPatience,
      [read, at](metadata::MetadataNode* node, const Caller::Responder& respond) {
        ServeRead(node, read, at->Now() + absl::Nanoseconds(kAnswerPatience), respond);
      },
      [this, operation, read, deadline](const std::optional<Answer>& answer) {
        if (!answer || !answer->status.ok()) {
          caller_->Heed(answer);
          world_.queue->After(kRetryDelay, EventKind::kTimer, [this, operation, read, deadline] {
            TryRead(operation, read, deadline);
          });
          return;
        }
        if (read.linearizable && !answer->by_leader) {
          world_.findings->Reach(Mark::kFollowerRead);
        }
        history_->End(operation, read, *answer);
        ++reads_done_;
        seen_ = std::max(seen_, answer->index);
        if (!read.list) versions_[read.path] = answer->znode ? answer->znode->version : -1;
        ThinkThenBegin();
      });
}

void ClientOperations::BeginWrite() {
  Write write;
  const v1::SessionHandle* const session = session_ == nullptr ? nullptr : session_->handle();
  if (session_ != nullptr && session == nullptr) return ThinkThenBegin();
  const uint64_t dice = random_.Below(100);
  if (session != nullptr && dice < 12) {
    FillEphemeral(write.command.mutable_create());
  } else if (dice < 30) {
    FillMulti(write.command.mutable_multi());
  } else {
    FillRegisterWrite(&write.command);
  }
  if (session != nullptr) {
    v1::WriteOptions* const options = OptionsIn(&write.command);
    *options->mutable_session() = *session;
    options->set_request_id(session_->NextRequest());
    write.session = session_->id();
  }
  write.operation = history_->Begin(write.command);
  write.deadline = world_.queue->now() + kEndurance;
  TryWrite(std::move(write));
}

void ClientOperations::FillRegisterWrite(pb::CoordinationCommand* command) {
  const std::string path = AnyRegister(random_.Below(kGroups));
  const auto version = versions_.find(path);
  const bool exists = version != versions_.end() && version->second >= 0;
  const uint64_t dice = random_.Below(100);
  if (dice < (exists ? 5u : 70u)) {
    command->mutable_create()->set_path(path);
    command->mutable_create()->set_data(NextValue());
    command->mutable_create()->set_create_parents(true);
  } else if (dice < 90) {
    command->mutable_set()->set_path(path);
    command->mutable_set()->set_data(NextValue());
    if (exists && dice % 2 == 0) command->mutable_set()->set_expected_version(version->second);
  } else {
    command->mutable_delete_()->set_path(path);
    if (exists && dice % 2 == 0) command->mutable_delete_()->set_expected_version(version->second);
  }
}

void ClientOperations::FillMulti(v1::ExecuteMultiRequest* multi) {
  const uint64_t group = random_.Below(kGroups);
  const std::string value = NextValue();
  for (uint64_t i = 0; i < kRegistersPerGroup; ++i) {
    const std::string path = absl::StrCat("/r/", group, "/", i);
    const auto version = versions_.find(path);
    const bool exists = version != versions_.end() && version->second >= 0;
    v1::MultiOperation* const operation = multi->add_operations();
    const uint64_t dice = random_.Below(10);
    if (!exists) {
      operation->mutable_create()->set_path(path);
      operation->mutable_create()->set_data(value);
      operation->mutable_create()->set_create_parents(true);
    } else if (dice < 2) {
      operation->mutable_check()->set_path(path);
      operation->mutable_check()->set_expected_version(version->second);
    } else if (dice < 3) {
      operation->mutable_delete_()->set_path(path);
    } else {
      operation->mutable_set()->set_path(path);
      operation->mutable_set()->set_data(value);
    }
    if (random_.Below(2) == 0) return;
  }
}

void ClientOperations::FillEphemeral(v1::CreateZnodeRequest* create) {
  create->set_ephemeral(true);
  create->set_create_parents(true);
  create->set_data(NextValue());
  create->set_sequential(random_.Below(2) == 0);
  create->set_path(create->sequential()
                       ? "/e/s-"
                       : absl::StrCat("/e/", caller_->endpoint(), "-", random_.Below(3)));
}

void ClientOperations::TryWrite(Write write) {
  const NodeId target = caller_->Leader();
  pb::ClusterCommand command;
  *command.mutable_coordination() = write.command;
  caller_->Call(
      target, kAnswerPatience,
      [command = std::move(command)](metadata::MetadataNode* node,
                                     const Caller::Responder& respond) {
        node->Execute(command, [respond](absl::StatusOr<pb::ExecuteResponse> executed) {
          Answer answer;
          answer.status = executed.status();
          if (executed.ok()) answer.result = std::move(*executed->mutable_coordination());
          respond(std::move(answer));
        });
      },
      [this, write = std::move(write)](const std::optional<Answer>& answer) {
        OnWriteAnswered(write, answer);
      });
}

void ClientOperations::OnWriteAnswered(Write write, const std::optional<Answer>& answer) {
  caller_->Heed(answer);
  const Reason reason = answer ? ReasonOf(answer->status) : Reason::kTimedOut;
  if (reason == Reason::kSessionExpired) session_->Lost(write.session);
  // Not the answer to the request, whatever became of an earlier attempt.
  const bool refused = reason == Reason::kSessionExpired || reason == Reason::kRequestTooOld ||
                       reason == Reason::kQuotaExceeded;
  const bool elsewhere = answer && MayGoElsewhere(answer->status);
  if (!refused && !elsewhere && (reason == Reason::kNone || IsDefinite(reason))) {
    return EndWrite(write, &*answer);
  }
  if (!refused && !elsewhere) write.maybe_done = true;
  const bool may_repeat = !refused && (elsewhere || write.session != SessionId());
  if (!may_repeat || world_.queue->now() >= write.deadline) return EndWrite(write, nullptr);
  world_.queue->After(kRetryDelay, EventKind::kTimer,
                      [this, write = std::move(write)]() mutable { TryWrite(std::move(write)); });
}

// No answer: either no attempt had an effect, or nobody knows.
void ClientOperations::EndWrite(const Write& write, const Answer* answer) {
  if (answer != nullptr) {
    history_->End(write.operation, write.command, *answer);
    ++writes_done_;
    Learn(write, *answer);
  } else if (write.maybe_done) {
    world_.findings->Reach(Mark::kUnknownOutcome);
  } else {
    history_->EndRefused(write.operation);
    world_.replay->NoteRefused(KeyOf(write.command));
  }
  ThinkThenBegin();
}

void ClientOperations::Learn(const Write& write, const Answer& answer) {
  if (!answer.status.ok()) {
    for (auto& [path, version] : versions_) version = random_.Below(2) == 0 ? -1 : version;
    return;
  }
  const auto learn = [this](const v1::Znode& znode) {
    versions_[znode.path()] = znode.stat().version();
  };
  if (answer.result.has_create()) learn(answer.result.create().znode());
  if (answer.result.has_set()) learn(answer.result.set().znode());
  if (answer.result.has_delete_()) versions_[write.command.delete_().path()] = -1;
  for (const v1::Znode& znode : answer.result.multi().znodes()) {
    if (znode.has_stat()) learn(znode);
  }
}

}  // namespace falaj::simulation
