#include "libs/client/election.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace falaj::client {
namespace {

// One call waits so long, then we look at the session and go on waiting.
constexpr absl::Duration kCallLimit = absl::Seconds(5);
constexpr absl::Duration kPause = absl::Milliseconds(100);
constexpr absl::Duration kForever = absl::Hours(24 * 365);

bool PassesWithTime(Reason reason) {
  return reason == Reason::kMetadataUnavailable || reason == Reason::kShuttingDown ||
         reason == Reason::kTimedOut || reason == Reason::kQuotaExceeded;
}

}  // namespace

absl::StatusOr<v1::CampaignResponse> Election::Campaign(absl::string_view value,
                                                        absl::Duration limit) {
  const MonotonicTime end = Clock::Real()->MonotonicNow() + std::min(limit, kForever);
  v1::CampaignRequest request;
  *request.mutable_session() = session_->handle();
  request.set_path(path_);
  request.set_value(std::string(value));
  while (true) {
    FALAJ_RETURN_IF_ERROR(session_->status());
    const absl::Duration left = end - Clock::Real()->MonotonicNow();
    if (left <= absl::ZeroDuration()) {
      return MakeError(Reason::kTimedOut, absl::StrCat("somebody else leads ", path_),
                       {{"path", path_}});
    }
    absl::StatusOr<v1::CampaignResponse> lead =
        session_->coordination()->Campaign(request, std::min(left, kCallLimit), &cancellation_);
    FALAJ_RETURN_IF_ERROR(session_->status());
    if (lead.ok()) return lead;
    if (cancellation_.cancelled()) {
      return MakeError(Reason::kCancelled, "the candidate has given up waiting");
    }
    if (!PassesWithTime(ReasonOf(lead.status()))) return lead;
    if (ReasonOf(lead.status()) == Reason::kTimedOut) continue;
    // Waits, and notices at once if the session ends.
    session_->WaitUntilEnded(std::min(kPause, end - Clock::Real()->MonotonicNow()));
  }
}

absl::Status Election::WaitUntilLeadEnds(const v1::CampaignResponse& lead) {
  v1::WatchZnodesRequest watch;
  watch.add_watches()->set_path(lead.znode_path());
  watch.mutable_watches(0)->set_scope(v1::WATCH_SCOPE_ZNODE);
  watch.set_after_index(lead.index());
  bool removed = false;
  const auto event = [&](const v1::WatchZnodesResponse& message) {
    for (const v1::ZnodeEvent& change : message.events()) {
      removed = removed || change.type() == v1::ZNODE_EVENT_TYPE_DELETED;
    }
    watch.set_after_index(std::max(watch.after_index(), message.index()));
    return !removed && session_->status().ok();  // Asked at every sign of life.
  };
  while (true) {
    // No longer than the session may be lost without a word from a gateway that is cut off.
    const absl::Status ended = session_->coordination()->WatchZnodes(watch, event, &cancellation_,
                                                                     session_->timeout() / 4);
    IgnoreError(ended, "whatever it was, the znode is read below");
    FALAJ_RETURN_IF_ERROR(session_->status());
    if (cancellation_.cancelled()) {
      return MakeError(Reason::kCancelled, "the leader has given up waiting");
    }
    v1::GetZnodeRequest request;
    request.set_path(lead.znode_path());
    const absl::StatusOr<v1::GetZnodeResponse> znode = session_->coordination()->GetZnode(request);
    if (ReasonOf(znode.status()) == Reason::kZnodeNotFound) return znode.status();
    if (znode.ok() && znode->znode().stat().create_index() != lead.fencing_token()) {
      return MakeError(Reason::kZnodeNotFound, "another candidacy has taken this one's place",
                       {{"znode_path", lead.znode_path()}});
    }
    removed = false;
    if (znode.ok()) watch.set_after_index(znode->index());
    session_->WaitUntilEnded(kPause);
  }
}

absl::Status Election::Resign() {
  v1::ResignCampaignRequest request;
  *request.mutable_session() = session_->handle();
  request.set_path(path_);
  return session_->coordination()->ResignCampaign(request);
}

}  // namespace falaj::client
