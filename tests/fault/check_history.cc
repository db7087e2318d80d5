// falaj_check_history HISTORY: judges whether what the clients of a fault run saw of the znodes
// they read and wrote is linearizable. HISTORY is JSON lines, see history.py.
//
// Ends with 0 if it is, 1 if it is not, 3 if that could not be decided, 2 if the file makes no
// sense.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/simulation/linearizability.h"

namespace falaj::simulation {
namespace {

using Json = nlohmann::json;
using Outcome = Operation::Outcome;

constexpr size_t kConfigurationsMax = 20'000'000;

// Reads records one by one; what is not about data is passed over.
class HistoryReader {
 public:
  void Take(const Json& record) {
    const std::string& kind = record.at("f").get_ref<const std::string&>();
    const std::string outcome = record.value("outcome", "");
    if (outcome == "none") return;  // Certainly no effect.
    Operation operation;
    if (kind == "get") {
      if (outcome == "unknown" || record.at("local").get<bool>()) return;
      operation.steps.push_back(Get(record, outcome));
    } else if (kind == "multi") {
      for (const Json& step : record.at("steps")) {
        operation.steps.push_back(Write(step.at("kind").get<std::string>(), step));
      }
      operation.failed_step = record.value("failed", size_t{0});
    } else if (kind == "create" || kind == "set" || kind == "delete") {
      operation.steps.push_back(Write(kind, record));
    } else {
      return;
    }
    operation.invoked = record.at("invoked").get<int64_t>();
    operation.outcome = kind == "get" ? Outcome::kOk : OutcomeOf(outcome);
    if (operation.outcome != Outcome::kUnknown) {
      operation.returned = record.at("returned").get<int64_t>();
    }
    operations_.push_back(std::move(operation));
  }

  // A write whose value somebody read has happened before that read returned, whatever its writer
  // knows. Without this, every write without an answer could be anywhere.
  std::vector<Operation> Finish() && {
    std::map<uint64_t, std::pair<int64_t, int64_t>> first_seen;  // Value: when, version.
    for (const Operation& operation : operations_) {
      const Step& step = operation.steps[0];
      if (step.kind != Step::Kind::kGet || !step.seen.exists()) continue;
      const std::pair seen(operation.returned, step.seen.version);
      const auto [at, is_new] = first_seen.emplace(step.seen.value, seen);
      if (!is_new) at->second = std::min(at->second, seen);
    }
    for (Operation& operation : operations_) {
      if (operation.outcome != Outcome::kUnknown) continue;
      for (Step& step : operation.steps) {
        const auto seen = first_seen.find(step.value);
        if (step.kind == Step::Kind::kDelete || seen == first_seen.end()) continue;
        operation.returned = std::min(operation.returned, seen->second.first);
        step.seen.version = seen->second.second;
        if (operation.steps.size() == 1) operation.outcome = Outcome::kOk;
      }
    }
    return std::move(operations_);
  }

 private:
  int ZnodeOf(const std::string& path) {
    return znodes_.emplace(path, static_cast<int>(znodes_.size())).first->second;
  }

  Step Get(const Json& record, const std::string& outcome) {
    Step step;
    step.kind = Step::Kind::kGet;
    step.znode = ZnodeOf(record.at("path").get<std::string>());
    if (outcome == "ok") {
      step.seen = {record.at("version").get<int64_t>(), record.at("value").get<uint64_t>()};
    } else if (outcome != "ZNODE_NOT_FOUND") {
      throw std::invalid_argument("a get was answered with " + outcome);
    }
    return step;
  }

  Step Write(const std::string& kind, const Json& record) {
    Step step;
    step.kind = kind == "create" ? Step::Kind::kCreate
                : kind == "set"  ? Step::Kind::kSet
                                 : Step::Kind::kDelete;
    step.znode = ZnodeOf(record.at("path").get<std::string>());
    step.value = record.value("value", uint64_t{0});
    if (record.contains("expected") && !record.at("expected").is_null()) {
      step.expected_version = record.at("expected").get<int64_t>();
    }
    step.seen.version = record.value("version", ZnodeView::kMissing);
    return step;
  }

  static Outcome OutcomeOf(const std::string& outcome) {
    if (outcome == "ok") return Outcome::kOk;
    if (outcome == "unknown") return Outcome::kUnknown;
    if (outcome == "ZNODE_NOT_FOUND") return Outcome::kNotFound;
    if (outcome == "ZNODE_ALREADY_EXISTS") return Outcome::kAlreadyExists;
    if (outcome == "VERSION_MISMATCH") return Outcome::kVersionMismatch;
    throw std::invalid_argument("a write was answered with " + outcome);
  }

  std::map<std::string, int> znodes_;
  std::vector<Operation> operations_;
};

int Judge(const char* path) {
  std::ifstream file(path);
  if (!file) throw std::invalid_argument(std::string("cannot read ") + path);
  HistoryReader reader;
  for (std::string line; std::getline(file, line);) reader.Take(Json::parse(line));
  std::vector<Operation> history = std::move(reader).Finish();
  const size_t operations = history.size();
  const Judgement judgement = JudgeLinearizability(std::move(history), kConfigurationsMax);
  switch (judgement.verdict) {
    case Verdict::kLinearizable:
      std::printf("%zu operations are linearizable\n", operations);
      return 0;
    case Verdict::kNotLinearizable:
      std::printf("not linearizable: no order explains %s\n", judgement.explanation.c_str());
      return 1;
    case Verdict::kUndecided:
      std::printf("undecided: too many orders of the %zu operations are possible\n", operations);
      return 3;
  }
  return 2;
}

}  // namespace
}  // namespace falaj::simulation

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: falaj_check_history HISTORY\n");
    return 2;
  }
  try {
    return falaj::simulation::Judge(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "falaj_check_history: %s\n", error.what());
    return 2;
  }
}
