#include "tests/simulation/client_campaign.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr SimTime kCampaignPatience = 4 * kSecond;

}  // namespace

void ClientCampaign::StandLater() {
  const auto delay = static_cast<SimTime>(random_.Below(200 * kMillisecond)) + kMillisecond;
  world_.queue->After(delay, EventKind::kTimer, [this] { Stand(); });
}

void ClientCampaign::Stand() {
  const v1::SessionHandle* const session = session_->handle();
  if (session == nullptr) return StandLater();
  v1::CampaignRequest request;
  *request.mutable_session() = *session;
  request.set_path(path_);
  request.set_value(absl::StrCat(caller_->endpoint()));
  const NodeId target = caller_->Leader();
  const SimNode* const at = caller_->Find(target);
  const History::Campaign campaign = history_->BeginCampaign(path_, session_->id());
  caller_->Call(
      target, kCampaignPatience,
      [request, at](metadata::MetadataNode* node, const Caller::Responder& respond) {
        node->Campaign(request, at->Now() + absl::Nanoseconds(kCampaignPatience - kSecond / 10),
                       nullptr, [respond](absl::StatusOr<v1::CampaignResponse> won) {
                         Answer answer;
                         answer.status = won.status();
                         if (won.ok()) answer.campaign = *std::move(won);
                         respond(std::move(answer));
                       });
      },
      [this, campaign](const std::optional<Answer>& answer) { OnAnswered(campaign, answer); });
}

void ClientCampaign::OnAnswered(const History::Campaign& campaign,
                                const std::optional<Answer>& answer) {
  if (answer && ReasonOf(answer->status) != Reason::kTimedOut) caller_->Heed(answer);
  if (answer && ReasonOf(answer->status) == Reason::kSessionExpired) {
    session_->Lost(campaign.session);
  }
  if (!answer || !answer->status.ok()) return StandLater();
  history_->EndCampaign(campaign, answer->campaign);
  Hold();
}

void ClientCampaign::Hold() {
  const auto hold = static_cast<SimTime>(random_.Below(500 * kMillisecond)) + kMillisecond;
  world_.queue->After(hold, EventKind::kTimer, [this] {
    if (random_.Below(4) == 0) {
      session_->FallSilent();
      return StandLater();
    }
    Resign();
  });
}

void ClientCampaign::Resign() {
  const v1::SessionHandle* const session = session_->handle();
  if (session == nullptr) return StandLater();
  pb::ClusterCommand command;
  v1::ResignCampaignRequest* const resign = command.mutable_coordination()->mutable_resign();
  *resign->mutable_session() = *session;
  resign->set_path(path_);
  caller_->Call(
      caller_->Leader(), kCampaignPatience / 4,
      [command](metadata::MetadataNode* node, const Caller::Responder& respond) {
        node->Execute(command, [respond](absl::StatusOr<pb::ExecuteResponse> executed) {
          respond({.status = executed.status()});
        });
      },
      [this](const std::optional<Answer>& answer) {
        caller_->Heed(answer);
        StandLater();
      });
}

}  // namespace falaj::simulation
