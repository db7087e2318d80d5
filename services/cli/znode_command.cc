// falaj znode: the tree of small values. What holds a session (create -e, elect, lock) is in
// znode_hold_command.cc.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/client/coordination.h"
#include "libs/record/utf8.h"
#include "libs/rpc/retry.h"
#include "services/cli/commands.h"
#include "services/cli/json_line.h"
#include "services/cli/output.h"
#include "services/cli/session.h"
#include "services/cli/znode_format.h"
#include "services/cli/znode_hold.h"

namespace falaj::cli {
namespace {

absl::StatusOr<v1::ReadOptions> ReadOptionsOf(const ZnodeOptions& options) {
  v1::ReadOptions read;
  if (options.consistency == "local") {
    read.set_consistency(v1::READ_CONSISTENCY_LOCAL);
  } else if (options.consistency == "linearizable") {
    read.set_consistency(v1::READ_CONSISTENCY_LINEARIZABLE);
  } else {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("--consistency is '", options.consistency,
                                  "', it must be one of: linearizable, local"),
                     {{"field", "consistency"}});
  }
  return read;
}

absl::StatusOr<v1::Znode> Get(const std::string& path, const v1::ReadOptions& read,
                              client::Coordination* tree) {
  v1::GetZnodeRequest request;
  request.set_path(path);
  *request.mutable_options() = read;
  FALAJ_ASSIGN_OR_RETURN(v1::GetZnodeResponse response, tree->GetZnode(request));
  return std::move(*response.mutable_znode());
}

// Paths of the children of a znode, or of everything below it, parents before their children. The
// tree may change meanwhile: what has gone when its turn comes is left out.
absl::StatusOr<std::vector<std::string>> Below(const std::string& root, bool recursive,
                                               const v1::ReadOptions& read,
                                               client::Coordination* tree) {
  std::vector<std::string> found;
  std::vector<std::string> waiting = {root};  // The last one is next.
  while (!waiting.empty()) {
    const std::string path = waiting.back();
    waiting.pop_back();
    if (path != root) found.push_back(path);
    if (path != root && !recursive) continue;
    const absl::StatusOr<std::vector<std::string>> names = tree->ListAllChildren(path, read);
    if (path != root && ReasonOf(names.status()) == Reason::kZnodeNotFound) continue;
    if (!names.ok()) return names.status();
    for (auto name = names->rbegin(); name != names->rend(); ++name) {
      waiting.push_back(JoinPath(path, *name));
    }
  }
  return found;
}

absl::Status List(const ZnodeOptions& options, client::Coordination* tree) {
  FALAJ_ASSIGN_OR_RETURN(const v1::ReadOptions read, ReadOptionsOf(options));
  FALAJ_ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                         Below(options.path, options.recursive, read, tree));
  Table table = options.long_listing ? ZnodeTable() : Table({"PATH"});
  for (const std::string& path : paths) {
    if (!options.long_listing) {
      table.Add({path});
      continue;
    }
    const absl::StatusOr<v1::Znode> znode = Get(path, read, tree);
    if (ReasonOf(znode.status()) == Reason::kZnodeNotFound) continue;
    if (!znode.ok()) return znode.status();
    AddZnode(path, znode->stat(), &table);
  }
  table.Print(options.common.output);
  return absl::OkStatus();
}

void PrintJson(const v1::Znode& znode) {
  JsonLine line;
  line.Add("path", znode.path());
  if (record::IsUtf8(znode.data())) {
    line.Add("data", znode.data());
  } else {
    line.Add("data_base64", absl::Base64Escape(znode.data()));
  }
  line.Add("version", znode.stat().version());
  line.Add("children", znode.stat().child_count());
  line.Add("ephemeral_session", znode.stat().ephemeral_session_id());
  line.Add("created_index", static_cast<int64_t>(znode.stat().create_index()));
  line.Add("modified_index", static_cast<int64_t>(znode.stat().modify_index()));
  std::puts(line.ToString().c_str());
}

// The bare data, so that it can be piped; a line break only for the eyes.
absl::Status PrintZnode(const ZnodeOptions& options, client::Coordination* tree) {
  FALAJ_ASSIGN_OR_RETURN(const v1::ReadOptions read, ReadOptionsOf(options));
  FALAJ_ASSIGN_OR_RETURN(const v1::Znode znode, Get(options.path, read, tree));
  if (options.common.output == OutputMode::kJson) {
    PrintJson(znode);
  } else if (options.stat) {
    Table table = ZnodeTable();
    AddZnode(znode.path(), znode.stat(), &table);
    table.Print(options.common.output);
  } else {
    std::fwrite(znode.data().data(), 1, znode.data().size(), stdout);
    if (isatty(STDOUT_FILENO) == 1) std::fputc('\n', stdout);
  }
  return absl::OkStatus();
}

absl::Status Create(const ZnodeOptions& options, client::Coordination* tree) {
  FALAJ_ASSIGN_OR_RETURN(const v1::CreateZnodeRequest request, CreateRequestOf(options));
  FALAJ_ASSIGN_OR_RETURN(const v1::CreateZnodeResponse created, tree->CreateZnode(request));
  PrintWritten(created.znode(), created.index(), options.common.output);
  return absl::OkStatus();
}

absl::Status Set(const ZnodeOptions& options, client::Coordination* tree) {
  v1::SetZnodeRequest request;
  request.set_path(options.path);
  FALAJ_ASSIGN_OR_RETURN(*request.mutable_data(), ReadZnodeData(options.data));
  if (options.if_version.has_value()) request.set_expected_version(*options.if_version);
  FALAJ_ASSIGN_OR_RETURN(const v1::SetZnodeResponse set, tree->SetZnode(request));
  PrintWritten(set.znode(), set.index(), options.common.output);
  return absl::OkStatus();
}

absl::Status DeleteOne(const std::string& path, std::optional<int64_t> version,
                       client::Coordination* tree) {
  v1::DeleteZnodeRequest request;
  request.set_path(path);
  if (version.has_value()) request.set_expected_version(*version);
  return tree->DeleteZnode(request).status();
}

absl::Status Delete(const ZnodeOptions& options, client::Coordination* tree) {
  if (options.recursive) {
    FALAJ_ASSIGN_OR_RETURN(std::vector<std::string> paths,
                           Below(options.path, true, v1::ReadOptions(), tree));
    std::reverse(paths.begin(), paths.end());  // Children first.
    for (const std::string& path : paths) {
      const absl::Status status = DeleteOne(path, std::nullopt, tree);
      if (!status.ok() && ReasonOf(status) != Reason::kZnodeNotFound) return status;
    }
  }
  return DeleteOne(options.path, options.if_version, tree);
}

v1::WatchZnodesRequest WatchRequestOf(const ZnodeOptions& options) {
  v1::WatchZnodesRequest request;
  v1::ZnodeWatch* watch = request.add_watches();
  watch->set_path(options.path);
  watch->set_scope(options.subtree    ? v1::WATCH_SCOPE_SUBTREE
                   : options.children ? v1::WATCH_SCOPE_CHILDREN
                                      : v1::WATCH_SCOPE_ZNODE);
  request.set_after_index(options.after.value_or(0));
  return request;
}

// A watch that outlives its connections: it goes on after the last index it has seen, for as long
// as it takes. Only before the first message an error that may pass is final: the address may be
// wrong, and there is no index to go on from.
class LastingWatch {
 public:
  LastingWatch(const ZnodeOptions& options, client::Coordination* tree)
      : options_(options), tree_(tree), request_(WatchRequestOf(options)) {}

  // OK once enough changes are printed.
  absl::Status Run();

 private:
  void Print(const v1::WatchZnodesResponse& message);
  bool enough() const { return options_.count != 0 && printed_ >= options_.count; }
  static bool MayPass(const absl::Status& end);
  absl::Status Final(const absl::Status& end) const;

  const ZnodeOptions& options_;
  client::Coordination* const tree_;
  v1::WatchZnodesRequest request_;  // after_index is the last one seen.
  int64_t printed_ = 0;
  bool begun_ = false;
  bool interrupted_ = false;
};

absl::Status LastingWatch::Run() {
  rpc::Backoff backoff({.base = absl::Milliseconds(100), .max = absl::Seconds(5)},
                       Random::FromSystem());
  Mutex mu;
  CondVar never;
  while (true) {
    const absl::Status end = tree_->WatchZnodes(
        request_,
        [this](const v1::WatchZnodesResponse& message) {
          Print(message);
          return !enough();
        },
        nullptr);
    if (enough()) return absl::OkStatus();
    if (!begun_ || !MayPass(end)) return Final(end);
    if (!std::exchange(interrupted_, true)) {
      backoff.Reset();
      std::fprintf(stderr, "the watch is interrupted, and will go on after index %s: %s\n",
                   absl::StrCat(request_.after_index()).c_str(),
                   std::string(end.message()).c_str());
    }
    MutexLock lock(&mu);
    never.WaitFor(&mu, backoff.Next());
  }
}

void LastingWatch::Print(const v1::WatchZnodesResponse& message) {
  if (std::exchange(interrupted_, false)) {
    std::fprintf(stderr, "the watch goes on after index %s\n",
                 absl::StrCat(request_.after_index()).c_str());
  }
  const OutputMode mode =
      options_.common.output == OutputMode::kJson ? OutputMode::kJson : OutputMode::kTsv;
  const std::string lines = RenderEvents(message, mode);
  std::fwrite(lines.data(), 1, lines.size(), stdout);
  std::fflush(stdout);
  request_.set_after_index(message.index());
  printed_ += message.events_size();
  begun_ = true;
}

bool LastingWatch::MayPass(const absl::Status& end) {
  switch (end.code()) {
    case absl::StatusCode::kOk:  // The other side has ended it: it is going away.
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
      return true;
    case absl::StatusCode::kInternal:  // gRPC's own: the stream was reset.
      return ReasonOf(end) == Reason::kNone;
    case absl::StatusCode::kResourceExhausted:  // Too slow, or too many of us.
      return ReasonOf(end) == Reason::kQuotaExceeded;
    default:
      return false;
  }
}

absl::Status LastingWatch::Final(const absl::Status& end) const {
  const std::string last = absl::StrCat(request_.after_index());
  if (ReasonOf(end) == Reason::kWatchCompacted) {
    return MakeError(Reason::kWatchCompacted,
                     absl::StrCat("the changes after index ", last,
                                  " are no longer kept, some may be missed: read what you need, "
                                  "and watch again from there"),
                     {{"after_index", last}});
  }
  if (request_.after_index() > 0) {
    std::fprintf(stderr, "seen up to index %s: go on with --after %s\n", last.c_str(),
                 last.c_str());
  }
  return end;
}

}  // namespace

ExitCode RunZnode(const ZnodeOptions& options) {
  const bool holds = options.action == "elect" || options.action == "lock" ||
                     (options.action == "create" && options.ephemeral);
  if (holds) return RunZnodeHold(options);
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  if (!options.command.empty()) {
    return FailUsage(MakeError(Reason::kInvalidRequest,
                               "a command after -- needs elect, lock or create -e",
                               {{"field", "command"}}));
  }
  client::Coordination tree(session->admin_options());
  absl::Status status;
  if (options.action == "ls") status = List(options, &tree);
  if (options.action == "get") status = PrintZnode(options, &tree);
  if (options.action == "create") status = Create(options, &tree);
  if (options.action == "set") status = Set(options, &tree);
  if (options.action == "delete") status = Delete(options, &tree);
  if (options.action == "watch") status = LastingWatch(options, &tree).Run();
  return status.ok() ? ExitCode::kOk : Fail(status);
}

}  // namespace falaj::cli
