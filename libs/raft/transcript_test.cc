// Runs testdata/*.txt: commands to a cluster of RaftCores, and what they must answer. A protocol
// bug becomes a new text file and no code. The commands are explained in README.md. With
// FALAJ_REWRITE_TRANSCRIPTS=1 the answers are written instead of compared, to be read before they
// are committed.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"
#include "libs/raft/test_cluster.h"

namespace falaj::raft {
namespace {

using Words = std::vector<std::string>;

uint64_t ToNumber(absl::string_view text) {
  uint64_t number = 0;
  EXPECT_TRUE(absl::SimpleAtoi(text, &number)) << "not a number: " << text;
  return number;
}

NodeId ToNode(absl::string_view text) { return NodeId(static_cast<int32_t>(ToNumber(text))); }

// "7/2" -> {7, 2}.
EntryId ToEntryId(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  return {LogIndex(ToNumber(parts.at(0))), Term(ToNumber(parts.at(1)))};
}

// The words "name=value" of a command.
std::map<std::string, std::string> ToSettings(const Words& words) {
  std::map<std::string, std::string> settings;
  for (const std::string& word : words) {
    const std::vector<std::string> parts = absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (parts.size() == 2) settings[parts[0]] = parts[1];
  }
  return settings;
}

// Transcript carries out commands and collects the answer to each.
class Transcript {
 public:
  Transcript();

  std::string Run(const std::string& line);

 private:
  void Say(absl::string_view line) { absl::StrAppend(&answer_, line, "\n"); }
  void SayStatus(const absl::Status& status);
  void SayReady(NodeId id, const Ready& ready);

  void Node(const Words& words);
  void Step(const Words& words);
  void Ready_(const Words& words);
  void Stabilize(const Words& words);
  void Deliver(const Words& words, bool drop);
  void Status(const Words& words);
  void Member(const Words& words);
  RaftCore& core(const Words& words) { return *cluster_.node(ToNode(words.at(1))).core; }

  TestCluster cluster_;
  std::map<std::string, std::function<void(const Words&)>> commands_;
  std::string answer_;
};

Transcript::Transcript() {
  commands_["node"] = [this](const Words& w) { Node(w); };
  commands_["step"] = [this](const Words& w) { Step(w); };
  commands_["ready"] = [this](const Words& w) { Ready_(w); };
  commands_["stabilize"] = [this](const Words& w) { Stabilize(w); };
  commands_["deliver"] = [this](const Words& w) { Deliver(w, false); };
  commands_["drop"] = [this](const Words& w) { Deliver(w, true); };
  commands_["status"] = [this](const Words& w) { Status(w); };
  commands_["member"] = [this](const Words& w) { Member(w); };
  commands_["hold"] = [this](const Words& w) {
    SayReady(ToNode(w.at(1)), cluster_.Take(ToNode(w.at(1))));
  };
  commands_["persisted"] = [this](const Words& w) { cluster_.Finish(ToNode(w.at(1))); };
  commands_["tick"] = [this](const Words& w) {
    for (uint64_t i = w.size() > 2 ? ToNumber(w.at(2)) : 1; i > 0; --i) core(w).Tick();
  };
  commands_["due"] = [this](const Words& w) {
    const int ticks = core(w).TicksUntilDue();
    Say(ticks == std::numeric_limits<int>::max() ? "never" : absl::StrCat("in ", ticks));
  };
  commands_["tell"] = [this](const Words& w) {
    Say(core(w).OwesCommits() ? "owes commits" : "owes nothing");
    core(w).TellCommits();
  };
  commands_["doubt"] = [this](const Words& w) { core(w).Doubt(ToNode(w.at(2))); };
  commands_["propose"] = [this](const Words& w) { SayStatus(core(w).Propose(w.at(2)).status()); };
  commands_["read"] = [this](const Words& w) {
    const bool patient = std::count(w.begin(), w.end(), "patient") > 0;
    const ReadPatience patience = patient ? ReadPatience::kNextHeartbeat : ReadPatience::kNone;
    SayStatus(core(w).ReadIndex(ToNumber(w.at(2)), patience));
  };
  commands_["transfer"] = [this](const Words& w) {
    SayStatus(core(w).TransferLeadership(ToNode(w.at(2))));
  };
  commands_["snapshot"] = [this](const Words& w) {
    SayStatus(cluster_.TakeSnapshot(ToNode(w.at(1))));
  };
  commands_["fail"] = [this](const Words& w) {
    cluster_.node(ToNode(w.at(1))).held.clear();
    core(w).StorageFailed();
  };
  commands_["crash"] = [this](const Words& w) { cluster_.Crash(ToNode(w.at(1))); };
  commands_["start"] = [this](const Words& w) { SayStatus(cluster_.Start(ToNode(w.at(1)))); };
}

std::string Transcript::Run(const std::string& line) {
  answer_.clear();
  const Words words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  const auto command = commands_.find(words.at(0));
  if (command == commands_.end()) return absl::StrCat("unknown command ", words.at(0), "\n");
  command->second(words);
  return answer_.empty() ? "ok\n" : answer_;
}

void Transcript::SayStatus(const absl::Status& status) {
  if (!status.ok()) Say(absl::StrCat(ReasonName(ReasonOf(status)), ": ", status.message()));
}

// node 1 voters=1,2,3 [learners=4] [log=1,1,2] [term=2] [vote=1] [commit=2] [chunk=N]
// [kept=N] [window=N] [bytes=N] [lag=N] [patience=N] [reads=N] [bug=NAME] [dir=N]
void Transcript::Node(const Words& words) {
  auto settings = ToSettings(words);
  Options options;
  options.self = ToNode(words.at(1));
  options.election_ticks_min = options.election_ticks_max = 10;
  options.heartbeat_ticks = 2;
  options.entries_kept = settings.contains("kept") ? ToNumber(settings["kept"]) : 0;
  if (settings.contains("patience")) {
    options.election_ticks_max = static_cast<int>(ToNumber(settings["patience"]));
  }
  if (settings.contains("lag")) options.promote_lag_max_entries = ToNumber(settings["lag"]);
  if (settings.contains("chunk")) options.snapshot_chunk_bytes = ToNumber(settings["chunk"]);
  if (settings.contains("bug")) {
    const auto bug = PlantedBugFromName(settings["bug"]);
    ASSERT_TRUE(bug.has_value()) << settings["bug"];
    options.planted_bug = *bug;
  }
  if (settings.contains("dir")) {
    options.directory = TestDirectory(static_cast<uint8_t>(ToNumber(settings["dir"])));
  }
  if (settings.contains("reads")) options.reads_waiting_max = ToNumber(settings["reads"]);
  options.commits_ride = settings.contains("ride");
  if (settings.contains("window")) options.inflight_max = ToNumber(settings["window"]);
  if (settings.contains("bytes")) options.message_bytes_max = ToNumber(settings["bytes"]);
  Restored initial;
  pb::RaftMembership* members = initial.snapshot.meta.mutable_membership();
  for (const auto& voter : absl::StrSplit(settings["voters"], ',', absl::SkipEmpty())) {
    members->add_voters(ToNode(voter).value());
  }
  for (const auto& learner : absl::StrSplit(settings["learners"], ',', absl::SkipEmpty())) {
    members->add_learners(ToNode(learner).value());
  }
  uint64_t term = 0;
  for (const auto& entry_term : absl::StrSplit(settings["log"], ',', absl::SkipEmpty())) {
    pb::RaftEntry entry;
    entry.set_index(initial.entries.size() + 1);
    entry.set_term(term = ToNumber(entry_term));
    entry.set_type(pb::RAFT_ENTRY_TYPE_COMMAND);
    entry.set_data(absl::StrCat("e", entry.index()));
    initial.entries.push_back(entry);
  }
  if (settings.contains("term")) term = ToNumber(settings["term"]);
  initial.hard_state.set_term(term);
  if (settings.contains("vote")) initial.hard_state.set_vote(ToNode(settings["vote"]).value());
  if (settings.contains("commit")) initial.hard_state.set_commit(ToNumber(settings["commit"]));
  cluster_.Add(options, std::move(initial));
}

// step VOTE from=2 to=1 term=3 [log=5/2] [commit=4] [no] [hint=3/1] [round=1] [transfer]
// [entries=5/2,6/2] [dir=N] [from-dir=N]
void Transcript::Step(const Words& words) {
  auto settings = ToSettings(words);
  pb::RaftMessage message;
  pb::RaftMessageType type;
  ASSERT_TRUE(pb::RaftMessageType_Parse("RAFT_MESSAGE_TYPE_" + words.at(1), &type)) << words[1];
  message.set_type(type);
  message.set_from(ToNode(settings["from"]).value());
  message.set_to(ToNode(settings["to"]).value());
  message.set_term(ToNumber(settings["term"]));
  if (settings.contains("log")) {
    const EntryId log = ToEntryId(settings["log"]);
    message.set_log_index(log.index.value());
    message.set_log_term(log.term.value());
  }
  if (settings.contains("hint")) {
    const EntryId hint = ToEntryId(settings["hint"]);
    message.set_hint_index(hint.index.value());
    message.set_hint_term(hint.term.value());
  }
  const auto directory = [&](const char* setting) {
    return std::string(TestDirectory(static_cast<uint8_t>(ToNumber(settings[setting]))).bytes());
  };
  if (settings.contains("dir")) message.set_to_directory(directory("dir"));
  if (settings.contains("from-dir")) message.set_from_directory(directory("from-dir"));
  if (settings.contains("commit")) message.set_commit(ToNumber(settings["commit"]));
  if (settings.contains("round")) message.set_read_round(ToNumber(settings["round"]));
  for (const auto& text : absl::StrSplit(settings["entries"], ',', absl::SkipEmpty())) {
    pb::RaftEntry* entry = message.add_entries();
    const EntryId id = ToEntryId(text);
    entry->set_index(id.index.value());
    entry->set_term(id.term.value());
    entry->set_type(pb::RAFT_ENTRY_TYPE_COMMAND);
    entry->set_data(absl::StrCat("e", id.index));
  }
  if (settings.contains("snapshot")) {
    const EntryId id = ToEntryId(settings["snapshot"]);
    message.mutable_snapshot()->set_index(id.index.value());
    message.mutable_snapshot()->set_term(id.term.value());
    message.mutable_snapshot()->mutable_membership()->add_voters(1);
    message.mutable_snapshot()->set_size_bytes(static_cast<int64_t>(ToNumber(settings["size"])));
    message.mutable_snapshot()->set_checksum(crc32c::Of(settings["whole"]));
    message.set_chunk_offset(ToNumber(settings["offset"]));
    message.set_chunk(settings["chunk"]);
  }
  message.set_reject(std::count(words.begin(), words.end(), "no") > 0);
  message.set_transfer(std::count(words.begin(), words.end(), "transfer") > 0);
  SayStatus(cluster_.Deliver(message));
}

void Transcript::SayReady(NodeId id, const Ready& ready) {
  const std::string prefix = absl::StrCat(id, ": ");
  if (ready.soft_state) {
    Say(absl::StrCat(prefix, RoleName(ready.soft_state->role), " of term ", ready.soft_state->term,
                     ", leader ", ready.soft_state->leader));
  }
  for (const auto& message : ready.messages) Say("  send " + Describe(message));
  if (ready.snapshot) {
    Say(absl::StrCat("  install snapshot ", ready.snapshot->meta.index(), "/",
                     ready.snapshot->meta.term()));
  }
  if (ready.initial_membership) Say("  sync founders " + Describe(*ready.initial_membership));
  if (ready.hard_state) {
    Say(absl::StrCat("  ", ready.must_sync ? "sync" : "write", " term ", ready.hard_state->term(),
                     " vote ", ready.hard_state->vote(), " commit ", ready.hard_state->commit()));
  }
  for (const auto& entry : ready.entries) Say("  sync " + Describe(entry));
  for (const auto& message : ready.messages_after_persist) Say("  then " + Describe(message));
  for (const auto& entry : ready.committed_entries) Say("  apply " + Describe(entry));
  for (const ReadState& read : ready.reads) {
    Say(absl::StrCat("  read ", read.request_id, " at ", read.index));
  }
  for (uint64_t request : ready.dropped_reads) Say(absl::StrCat("  drop read ", request));
}

// ready 1: carries out Readies until there are none.
void Transcript::Ready_(const Words& words) {
  const NodeId id = ToNode(words.at(1));
  while (core(words).HasReady()) {
    SayReady(id, cluster_.Take(id));
    while (!cluster_.node(id).held.empty()) cluster_.Finish(id);
  }
}

// stabilize [quiet] [without=2,3]: Readies and messages until nothing moves; messages from and to
// the nodes left out are lost.
void Transcript::Stabilize(const Words& words) {
  const bool quiet = std::count(words.begin(), words.end(), "quiet") > 0;
  const std::string left_out = ToSettings(words)["without"];
  std::vector<NodeId> without;
  for (const auto& node : absl::StrSplit(left_out, ',', absl::SkipEmpty())) {
    without.push_back(ToNode(node));
  }
  const auto is_out = [&](int32_t id) {
    return std::count(without.begin(), without.end(), NodeId(id)) > 0;
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.core == nullptr || is_out(id.value()) || !node.core->HasReady()) continue;
      Ready_({"ready", absl::StrCat(id)});
      moved = true;
    }
    for (const pb::RaftMessage& message : std::exchange(cluster_.in_flight(), {})) {
      if (is_out(message.from()) || is_out(message.to())) continue;
      SayStatus(cluster_.Deliver(message));
      moved = true;
    }
  }
  if (quiet) answer_.clear();
}

// deliver [from=1] [to=2] [type=APPEND]: hands over what is in flight and fits. drop: loses it.
void Transcript::Deliver(const Words& words, bool drop) {
  auto settings = ToSettings(words);
  std::vector<pb::RaftMessage> kept;
  for (const pb::RaftMessage& message : std::exchange(cluster_.in_flight(), {})) {
    const bool fits =
        (!settings.contains("from") || ToNode(settings["from"]).value() == message.from()) &&
        (!settings.contains("to") || ToNode(settings["to"]).value() == message.to()) &&
        (!settings.contains("type") ||
         pb::RaftMessageType_Name(message.type()) == "RAFT_MESSAGE_TYPE_" + settings["type"]);
    if (!fits) {
      kept.push_back(message);
    } else if (!drop) {
      SayStatus(cluster_.Deliver(message));
    }
  }
  auto& in_flight = cluster_.in_flight();
  in_flight.insert(in_flight.begin(), kept.begin(), kept.end());
}

void Transcript::Status(const Words& words) {
  const CoreStatus status = core(words).status();
  Say(absl::StrCat(RoleName(status.soft.role), " term ", status.soft.term, " leader ",
                   status.soft.leader, " vote ", status.vote, " log ", status.first_index, "..",
                   status.last_index, " persisted ", status.persisted, " committed ",
                   status.committed, " applied ", status.applied, " members ",
                   Describe(status.membership)));
  for (const FollowerStatus& follower : status.followers) {
    Say(absl::StrCat("  ", follower.node, follower.learner ? " learner" : "", " match ",
                     follower.match, follower.receiving_snapshot ? " receiving snapshot" : ""));
  }
  if (!status.founders_awaited.empty()) {
    Say("  awaits " +
        absl::StrJoin(status.founders_awaited, ",",
                      [](std::string* out, NodeId node) { absl::StrAppend(out, node); }));
  }
  if (!status.refusal.empty()) Say("  " + status.refusal);
}

// member 1 add-learner|promote|remove|set-address 4 [host:port]; member 1 bind
void Transcript::Member(const Words& words) {
  if (words.at(2) == "bind") {
    const std::optional<MembershipChange> due = core(words).DueBinding();
    if (!due) return Say("nothing to bind");
    return SayStatus(core(words).ProposeMembership(*due).status());
  }
  MembershipChange change;
  change.kind = words.at(2) == "add-learner" ? MembershipChange::Kind::kAddLearner
                : words.at(2) == "promote"   ? MembershipChange::Kind::kPromote
                : words.at(2) == "remove"    ? MembershipChange::Kind::kRemove
                                             : MembershipChange::Kind::kSetAddress;
  if (words.size() > 4) change.address = words.at(4);
  change.node = ToNode(words.at(3));
  SayStatus(core(words).ProposeMembership(change).status());
}

// A file alternates commands and answers: lines up to "----" are commands, lines up to an empty one
// the answer. Lines that begin with # are kept as they are.
void RunFile(const std::filesystem::path& path) {
  std::ifstream in(path);
  Transcript transcript;
  std::string rewritten, line, actual, expected;
  bool in_answer = false;
  int number = 0;
  const auto finish = [&] {
    EXPECT_EQ(actual, expected) << "before line " << number << " of " << path.filename();
    absl::StrAppend(&rewritten, actual);
    actual.clear();
    expected.clear();
    in_answer = false;
  };
  while (std::getline(in, line)) {
    ++number;
    if (in_answer && !line.empty()) {
      absl::StrAppend(&expected, line, "\n");
      continue;
    }
    if (in_answer) finish();
    absl::StrAppend(&rewritten, line, "\n");
    if (line == "----") {
      in_answer = true;
    } else if (!line.empty() && line[0] != '#') {
      const std::string answer = transcript.Run(line);
      if (answer != "ok\n" || actual.empty()) {
        if (actual == "ok\n") actual.clear();
        absl::StrAppend(&actual, answer);
      }
    }
  }
  if (in_answer) finish();
  if (std::getenv("FALAJ_REWRITE_TRANSCRIPTS") != nullptr) std::ofstream(path) << rewritten;
}

class TranscriptTest : public testing::TestWithParam<std::string> {};

TEST_P(TranscriptTest, AnswersAsWritten) { RunFile(GetParam()); }

std::vector<std::string> TranscriptFiles() {
  std::vector<std::string> files;
  std::error_code none;  // Tests run in the root of the repository; TestDataIsFound says so if not.
  for (const auto& file : std::filesystem::directory_iterator("libs/raft/testdata", none)) {
    if (file.path().extension() == ".txt") files.push_back(file.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

TEST(TranscriptFilesTest, TestDataIsFound) { EXPECT_GT(TranscriptFiles().size(), 20u); }

INSTANTIATE_TEST_SUITE_P(Files, TranscriptTest, testing::ValuesIn(TranscriptFiles()),
                         [](const auto& file) {
                           return std::filesystem::path(file.param).stem().string();
                         });

}  // namespace
}  // namespace falaj::raft
