// falaj znode create -e, elect, lock: what lasts as long as a session does.
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/client/coordination.h"
#include "libs/client/coordination_session.h"
#include "libs/client/election.h"
#include "services/cli/held_command.h"
#include "services/cli/session.h"
#include "services/cli/values.h"
#include "services/cli/wakeups.h"
#include "services/cli/znode_hold.h"

namespace falaj::cli {
namespace {

constexpr size_t kDataBytesMax = 1 << 20;

void Say(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

std::string DefaultValue() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return absl::StrCat(host.data(), ":", getpid());
}

// Waits for the lead while Ctrl-C still works. CANCELLED after it.
absl::StatusOr<v1::CampaignResponse> WinElection(const ZnodeOptions& options,
                                                 client::Election* election, Wakeups* wakeups) {
  absl::StatusOr<v1::CampaignResponse> lead;
  std::atomic<bool> done = false;
  std::thread campaign([&] {
    lead = election->Campaign(options.value.empty() ? DefaultValue() : options.value,
                              absl::InfiniteDuration());
    done = true;
    wakeups->Wake();
  });
  while (!done) {
    const int signal = wakeups->Wait(absl::InfiniteDuration());
    if (signal == SIGINT || signal == SIGTERM) election->Cancel();
  }
  campaign.join();
  return lead;
}

// Knows whether a lead goes on, from a thread that waits for its end.
class LeadGuard {
 public:
  LeadGuard(client::Election* election, const v1::CampaignResponse& lead, Wakeups* wakeups)
      : election_(election), thread_([this, lead, wakeups] {
          const absl::Status end = election_->WaitUntilLeadEnds(lead);
          {
            MutexLock lock(&mu_);
            status_ = end;
          }
          wakeups->Wake();
        }) {}
  ~LeadGuard() {
    election_->Cancel();
    thread_.join();
  }

  absl::Status status() const {
    MutexLock lock(&mu_);
    return status_;
  }

 private:
  client::Election* const election_;
  mutable Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

struct Hold {
  const ZnodeOptions& options;
  absl::Duration grace;
  client::CoordinationSession* session;
  Wakeups* wakeups;
};

ExitCode HoldLead(const Hold& hold) {
  client::Election election(hold.session, hold.options.path);
  Say(absl::StrCat("waiting for ", hold.options.path));
  const auto lead = WinElection(hold.options, &election, hold.wakeups);
  if (!lead.ok()) return Fail(lead.status());
  Say(absl::StrCat("holding ", hold.options.path, ", fencing token ", lead->fencing_token()));
  ExitCode code = ExitCode::kFailed;
  {
    LeadGuard guard(&election, *lead, hold.wakeups);
    HeldCommand held{hold.options.command,
                     {{"FALAJ_FENCING_TOKEN", absl::StrCat(lead->fencing_token())},
                      {"FALAJ_ZNODE", lead->znode_path()}},
                     hold.grace,
                     [&] {
                       const absl::Status status = hold.session->status();
                       return status.ok() ? guard.status() : status;
                     }};
    code = RunHeld(held, hold.wakeups);
  }
  IgnoreError(election.Resign(), "the session is closed next");
  return code;
}

ExitCode HoldZnode(const Hold& hold) {
  absl::StatusOr<v1::CreateZnodeRequest> request = CreateRequestOf(hold.options);
  if (!request.ok()) return Fail(request.status());
  request->set_ephemeral(true);
  *request->mutable_options() = hold.session->NextWrite();
  const auto created = hold.session->coordination()->CreateZnode(*request);
  if (!created.ok()) return Fail(created.status());
  PrintWritten(created->znode(), created->index(), hold.options.common.output);
  if (hold.options.command.empty()) Say("the znode goes when this command ends: Ctrl-C");
  return RunHeld({hold.options.command,
                  {{"FALAJ_ZNODE", created->znode().path()}},
                  hold.grace,
                  [&] { return hold.session->status(); }},
                 hold.wakeups);
}

}  // namespace

ExitCode RunZnodeHold(const ZnodeOptions& options) {
  Wakeups wakeups;  // Before gRPC has threads.
  const absl::StatusOr<Session> cluster = OpenSession(options.common);
  if (!cluster.ok()) return FailUsage(cluster.status());
  const absl::StatusOr<absl::Duration> timeout = ParseDuration(options.session_timeout);
  if (!timeout.ok()) return FailUsage(timeout.status());
  const absl::StatusOr<absl::Duration> grace = ParseDuration(options.grace);
  if (!grace.ok()) return FailUsage(grace.status());
  if (options.action != "create" && options.command.empty()) {
    return FailUsage(MakeError(Reason::kInvalidRequest,
                               absl::StrCat(options.action, " needs a command: falaj znode ",
                                            options.action, " PATH -- COMMAND"),
                               {{"field", "command"}}));
  }
  client::Coordination tree(cluster->admin_options());
  const auto session = client::CoordinationSession::Open(
      &tree, {.timeout = *timeout, .on_lost = [&](const absl::Status&) { wakeups.Wake(); }});
  if (!session.ok()) return Fail(session.status());
  const Hold hold{options, *grace, session->get(), &wakeups};
  return options.action == "create" ? HoldZnode(hold) : HoldLead(hold);
}

absl::StatusOr<v1::CreateZnodeRequest> CreateRequestOf(const ZnodeOptions& options) {
  v1::CreateZnodeRequest request;
  request.set_path(options.path);
  FALAJ_ASSIGN_OR_RETURN(*request.mutable_data(), ReadZnodeData(options.data));
  request.set_sequential(options.sequential);
  request.set_create_parents(options.parents);
  return request;
}

absl::StatusOr<std::string> ReadZnodeData(const std::string& text) {
  if (text != "-") return text;
  std::string data;
  std::array<char, 65536> piece{};
  while (true) {
    const ssize_t size = read(STDIN_FILENO, piece.data(), piece.size());
    if (size == 0) return data;
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("standard input: ", std::strerror(errno)));
    }
    data.append(piece.data(), static_cast<size_t>(size));
    if (data.size() > kDataBytesMax) {
      return MakeError(Reason::kZnodeTooLarge, "standard input has more than 1 MiB",
                       {{"limit_bytes", absl::StrCat(kDataBytesMax)}});
    }
  }
}

void PrintWritten(const v1::Znode& znode, uint64_t index, OutputMode mode) {
  Table table({"PATH", "VERSION", "INDEX"});
  table.Add({znode.path(), znode.stat().version(), static_cast<int64_t>(index)});
  table.Print(mode);
}

}  // namespace falaj::cli
