#include "tests/simulation/simulation.h"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/random.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/client_campaign.h"
#include "tests/simulation/client_operations.h"
#include "tests/simulation/client_session.h"
#include "tests/simulation/client_watch.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/history.h"
#include "tests/simulation/nemesis.h"

namespace falaj::simulation {
namespace {

constexpr SimTime kRecoveryMax = 30 * kSecond;

Cluster::Options DrawCluster(const RunOptions& run, uint64_t seed, Random* random) {
  Cluster::Options options;
  options.cluster_id = Uuid::FromRandomBits(seed, 1);
  const uint64_t size = random->Below(10);
  options.voters = size < 1 ? 1 : size < 7 ? 3 : 5;
  options.raft = Cluster::DrawRaft(random);
  options.raft.planted_bug = run.planted_bug;
  options.lost_disks_return = run.lost_disks != LostDisks::kStayAway;
  options.have_directories = run.lost_disks == LostDisks::kReturnEmpty;
  return options;
}

// Everything a run is made of.
class Life {
 public:
  explicit Life(const RunOptions& options)
      : options_(options),
        random_(options.seed),
        seed_(random_.Next()),
        cluster_options_(DrawCluster(options, seed_, &random_)),
        around_(seed_),
        queue_(around_.Next()),
        network_(&queue_, around_.Next()),
        trace_(&queue_, options.trace),
        cluster_(cluster_options_, around_, {&queue_, &network_, &trace_}),
        history_(&cluster_.findings(), &queue_, &cluster_.replay()),
        nemesis_(&cluster_, random_.Next()) {
    const uint64_t writers = 2 + random_.Below(3);
    for (uint64_t i = 0; i < writers; ++i) AddOperations(/*with_session=*/true);
    AddOperations(/*with_session=*/false);
    const uint64_t contenders = 2 + random_.Below(2);
    for (uint64_t i = 0; i < contenders; ++i) AddCampaign();
    AddWatch("/", v1::WATCH_SCOPE_SUBTREE);
    AddWatch("/e", v1::WATCH_SCOPE_CHILDREN);
    AddWatch("/r/0/1", v1::WATCH_SCOPE_ZNODE);
  }

  RunReport Run() {
    // All founders must be there for the cluster to begin: not a thing that a majority can do.
    if (cluster_options_.have_directories) {
      Until([this] { return cluster_.invariants().leader() != NodeId(); });
    }
    nemesis_.Start();
    Until([this] { return cluster_.queue().now() >= options_.faulty_time; });
    nemesis_.HealCore();
    Recover("a majority that is well serves its clients", [this] { return EverybodyIsServed(); });
    nemesis_.HealAll();
    Recover("nodes and watches agree once all is well", [this] { return EverybodyAgrees(); });
    if (!cluster_.findings().first()) JudgeHistory();
    return Report();
  }

 private:
  Caller* AddCaller() {
    const auto endpoint = kFirstClient + static_cast<Endpoint>(callers_.size());
    callers_.push_back(
        std::make_unique<Caller>(cluster_.world(), &cluster_.nodes(), endpoint, random_.Next()));
    return callers_.back().get();
  }
  ClientSession* AddSession(Caller* caller) {
    const SimTime timeout = random_.Between(kSecond, 3 * kSecond);
    sessions_.push_back(std::make_unique<ClientSession>(cluster_.world(), caller, timeout));
    return sessions_.back().get();
  }
  void AddOperations(bool with_session) {
    Caller* const caller = AddCaller();
    ClientSession* const session = with_session ? AddSession(caller) : nullptr;
    operations_.push_back(std::make_unique<ClientOperations>(
        cluster_.world(), caller, session, &history_,
        ClientOperations::Options{.seed = random_.Next(), .with_session = with_session}));
    operations_.back()->Start();
  }
  void AddCampaign() {
    Caller* const caller = AddCaller();
    campaigns_.push_back(std::make_unique<ClientCampaign>(
        cluster_.world(), caller, AddSession(caller), &history_, "/elections/one", random_.Next()));
    campaigns_.back()->Start();
  }
  void AddWatch(const char* path, v1::WatchScope scope) {
    v1::WatchZnodesRequest request;
    request.add_watches()->set_path(path);
    request.mutable_watches(0)->set_scope(scope);
    watches_.push_back(std::make_unique<ClientWatch>(cluster_.world(), AddCaller(),
                                                     std::move(request), random_.Next()));
    watches_.back()->Start();
  }

  // Lets things happen until `done`, or a promise is broken.
  void Until(const std::function<bool()>& done) {
    while (!done() && !cluster_.findings().first()) cluster_.queue().RunNext();
  }

  void Recover(const char* what, const std::function<bool()>& done) {
    const SimTime deadline = cluster_.queue().now() + kRecoveryMax;
    target_ = cluster_.replay().index();
    served_.clear();
    for (const auto& client : operations_) {
      served_.emplace_back(client->reads_done(), client->writes_done());
    }
    bool recovered = false;
    Until([&] { return (recovered = done()) || cluster_.queue().now() >= deadline; });
    if (!recovered)
      cluster_.findings().Report(
          "liveness", absl::StrCat("not within ", FormatTime(kRecoveryMax), " s: ", what));
  }

  // The first operation of each kind may have begun before.
  bool EverybodyIsServed() const {
    for (size_t i = 0; i < operations_.size(); ++i) {
      if (operations_[i]->reads_done() < served_[i].first + 2) return false;
      if (operations_[i]->writes_done() < served_[i].second + 2) return false;
    }
    return true;
  }

  bool EverybodyAgrees() const {
    for (const auto& watch : watches_) {
      if (watch->cursor() < target_) return false;
    }
    for (NodeId member : cluster_.invariants().membership().All()) {
      const SimNode* const node = cluster_.node(member);
      if (cluster_.is_wiped(member)) continue;
      if (!node->running() || node->node().state().index() < target_) return false;
    }
    return true;
  }

  void JudgeHistory() {
    const Judgement judgement = history_.Judge();
    if (judgement.verdict == Verdict::kNotLinearizable) {
      cluster_.findings().Report("linearizability", judgement.explanation);
    }
  }

  RunReport Report() {
    RunReport report;
    report.finding = cluster_.findings().first();
    report.time = cluster_.queue().now();
    report.events = cluster_.queue().count();
    report.hash = cluster_.queue().hash();
    report.operations = history_.operations();
    report.entries = cluster_.replay().index().value();
    report.terms = cluster_.invariants().leader_term().value();
    for (size_t i = 0; i < kMarks; ++i) {
      report.marks[i] = cluster_.findings().reached(static_cast<Mark>(i));
    }
    return report;
  }

  const RunOptions options_;
  Random random_;
  const uint64_t seed_;  // Of the world, and the cluster in it.
  const Cluster::Options cluster_options_;
  Random around_;
  EventQueue queue_;
  SimNetwork network_;
  Trace trace_;
  Cluster cluster_;
  History history_;
  Nemesis nemesis_;
  std::vector<std::unique_ptr<Caller>> callers_;
  std::vector<std::unique_ptr<ClientSession>> sessions_;
  std::vector<std::unique_ptr<ClientOperations>> operations_;
  std::vector<std::unique_ptr<ClientCampaign>> campaigns_;
  std::vector<std::unique_ptr<ClientWatch>> watches_;
  LogIndex target_;                                    // What must be reached to have recovered.
  std::vector<std::pair<uint64_t, uint64_t>> served_;  // Reads and writes when recovery began.
};

}  // namespace

RunReport Run(const RunOptions& options) { return Life(options).Run(); }

std::string Describe(const RunOptions& options, const RunReport& report) {
  if (!report.finding) return absl::StrCat("seed ", options.seed, ": ok");
  return absl::StrCat("seed ", options.seed, " at ", FormatTime(report.time),
                      " s: ", report.finding->invariant, ": ", report.finding->what);
}

}  // namespace falaj::simulation
