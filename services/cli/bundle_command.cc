#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "google/protobuf/util/json_util.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/telemetry/process_metrics.h"
#include "services/cli/commands.h"
#include "services/cli/http_get.h"
#include "services/cli/json_line.h"
#include "services/cli/process_account.h"
#include "services/cli/progress.h"
#include "services/cli/session.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

std::string Json(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const auto printed = google::protobuf::util::MessageToJsonString(message, &text, options);
  return printed.ok() ? text + "\n" : absl::StrCat(printed.message().ToString(), "\n");
}

// One bundle: what can be had is written, what cannot is noted, and neither keeps the rest away.
class Bundle {
 public:
  Bundle(const BundleOptions& options, const Session& session)
      : options_(options), admin_(session.admin_options()), timeout_(session.timeout) {}

  absl::StatusOr<ExitCode> Collect() {
    std::error_code error;
    std::filesystem::create_directories(options_.directory, error);
    if (error || !std::filesystem::is_empty(options_.directory, error) || error) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat(options_.directory, " must be an empty or a new directory"),
                       {{"field", "directory"}});
    }
    // What is asked for: the cluster, the topics, what moves, and two pages of each server.
    ProgressBar progress("bundle", static_cast<int64_t>(3 + 2 * options_.http.size()),
                         Clock::Real());
    Write("about.json", JsonLine()
                                .Add("version", telemetry::BuildVersion())
                                .Add("revision", telemetry::BuildRevision())
                                .Add("time", PrettyTime(absl::Now()))
                                .AddRaw("machine", MachineJson())
                                .ToString() +
                            "\n");
    CollectCluster();
    progress.Update(3, 0);
    int64_t done = 3;
    for (const std::string& address : options_.http) {
      const std::string name = absl::StrReplaceAll(address, {{":", "-"}, {"/", "-"}});
      for (const char* page : {"metrics", "healthz"}) {
        const auto text = GetPage(address, page);
        Take(absl::StrCat(page, "-", name, ".txt"), text.status(), text.value_or(""));
        progress.Update(++done, 0);
      }
    }
    if (!missing_.empty()) Write("missing.txt", missing_);
    FALAJ_RETURN_IF_ERROR(written_);
    std::fprintf(stderr, "%d files in %s%s\n", files_, options_.directory.c_str(),
                 missing_.empty() ? "" : "; missing.txt says what could not be had");
    return missing_.empty() ? ExitCode::kOk : ExitCode::kPartial;
  }

 private:
  // A server that is not well says why, with another status than 200, on /healthz only.
  absl::StatusOr<std::string> GetPage(const std::string& address, absl::string_view page) const {
    FALAJ_ASSIGN_OR_RETURN(HttpAnswer answer, HttpGet(address, absl::StrCat("/", page), timeout_));
    if (answer.status == 200 || page == "healthz") return std::move(answer.body);
    return absl::UnavailableError(
        absl::StrCat("http://", address, "/", page, " answered with status ", answer.status));
  }

  void CollectCluster() {
    const auto cluster = admin_.GetCluster();
    Take("cluster.json", cluster.status(), cluster.ok() ? Json(*cluster) : "");
    const auto topics = admin_.ListTopics(true);
    std::string lines;
    for (const v1::Topic& summary : topics.ok() ? *topics : std::vector<v1::Topic>()) {
      const auto topic = admin_.GetTopic(summary.name());
      if (topic.ok()) absl::StrAppend(&lines, Json(*topic));
      // One that was deleted meanwhile is not missing.
      if (!topic.ok() && ReasonOf(topic.status()) != Reason::kTopicNotFound) {
        NoteMissing(absl::StrCat("topics.json, ", summary.name()), topic.status());
      }
    }
    Take("topics.json", topics.status(), lines);
    const auto moves = admin_.ListReassignments("");
    lines.clear();
    for (const v1::Reassignment& one : moves.ok() ? *moves : std::vector<v1::Reassignment>()) {
      absl::StrAppend(&lines, Json(one));
    }
    Take("reassignments.json", moves.status(), lines);
  }

  void Take(const std::string& name, const absl::Status& status, const std::string& text) {
    if (status.ok()) {
      Write(name, text);
    } else {
      NoteMissing(name, status);
    }
  }

  void NoteMissing(absl::string_view what, const absl::Status& why) {
    absl::StrAppend(&missing_, what, ": ", ReasonName(ReasonOf(why)), ": ", why.message(), "\n");
  }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream file(options_.directory + "/" + name, std::ios::binary);
    file << text;
    if (!file.flush() && written_.ok()) {
      written_ = MakeError(Reason::kInvalidRequest,
                           absl::StrCat("cannot write ", options_.directory, "/", name));
    }
    ++files_;
  }

  const BundleOptions& options_;
  client::Admin admin_;
  const absl::Duration timeout_;
  int files_ = 0;
  std::string missing_;
  absl::Status written_;
};

}  // namespace

ExitCode RunBundle(const BundleOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  Bundle bundle(options, *session);
  const absl::StatusOr<ExitCode> code = bundle.Collect();
  return code.ok() ? *code : Fail(code.status());
}

}  // namespace falaj::cli
