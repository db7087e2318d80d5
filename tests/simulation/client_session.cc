#include "tests/simulation/client_session.h"

#include <utility>

#include "libs/base/status.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr SimTime kSessionPatience = 600 * kMillisecond;

}  // namespace

const v1::SessionHandle* ClientSession::handle() {
  if (handle_) return &*handle_;
  if (!opening_) Open();
  return nullptr;
}

void ClientSession::Open() {
  opening_ = true;
  pb::ClusterCommand command;
  command.mutable_coordination()->mutable_open_session()->set_timeout_ms(
      static_cast<int32_t>(timeout_ / kMillisecond));
  caller_->Call(
      caller_->Leader(), kSessionPatience,
      [command](metadata::MetadataNode* node, const Caller::Responder& respond) {
        node->Execute(command, [respond](absl::StatusOr<pb::ExecuteResponse> executed) {
          Answer answer;
          answer.status = executed.status();
          if (executed.ok()) answer.result = executed->coordination();
          respond(std::move(answer));
        });
      },
      [this](const std::optional<Answer>& answer) {
        opening_ = false;
        caller_->Heed(answer);
        if (!answer || !answer->status.ok()) return;
        handle_ = answer->result.open_session().session();
        last_request_ = 0;
        KeepLater();
      });
}

void ClientSession::KeepLater() {
  world_.queue->After(timeout_ / 4, EventKind::kTimer, [this, id = id()] {
    if (handle_ && id == this->id()) Keep();
  });
}

void ClientSession::Keep() {
  const SimTime sent = world_.queue->now();
  caller_->Call(
      caller_->Leader(), timeout_ / 4,
      [session = *handle_](metadata::MetadataNode* node, const Caller::Responder& respond) {
        Answer answer;
        answer.status = node->KeepSession(session).status();
        respond(std::move(answer));
      },
      [this, sent, kept = id()](const std::optional<Answer>& answer) {
        caller_->Heed(answer);
        if (answer && answer->status.ok() && answer->by_leader) {
          world_.replay->NoteSignOfLife(kept, sent);
        }
        if (answer && ReasonOf(answer->status) == Reason::kSessionExpired) return Lost(kept);
        if (handle_ && kept == id()) KeepLater();
      });
}

void ClientSession::Lost(SessionId session) {
  if (session == id()) handle_.reset();
}

void ClientSession::FallSilent() { handle_.reset(); }

}  // namespace falaj::simulation
