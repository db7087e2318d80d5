#ifndef TESTS_SIMULATION_HISTORY_H_
#define TESTS_SIMULATION_HISTORY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "falaj/internal/v1/coordination.pb.h"

#include "libs/base/ids.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/findings.h"
#include "tests/simulation/linearizability.h"
#include "tests/simulation/replay.h"

namespace falaj::simulation {

// A read a client makes.
struct ReadRequest {
  std::string path;
  bool list = false;
  bool linearizable = true;
  LogIndex min_index;
};

// History is what all clients did and saw. Each answer is held at once to the replay of the log:
//
//   answers       every write was answered what its entry was answered, every read saw the state at
//                 the index it names
//   real time     who began after another had ended holds a higher index (writes), or none lower
//                 (linearizable reads); with the above, a proof that the whole history, all znodes
//                 and multis included, is linearizable in the order of the log
//   one image     no client ever sees a state older than one it has seen
//   elections     who was told to lead was the first candidate at that index; tokens rise
//
// That proof trusts the indices that nodes name. Judge() does not: it looks for an order in what
// clients saw of the registers alone.
class History {
 public:
  // Nothing is owned.
  History(Findings* findings, const EventQueue* queue, const Replay* replay)
      : findings_(findings), queue_(queue), replay_(replay) {}

  // The highest index that a completed operation has named.
  LogIndex newest() const { return newest_; }

  // An operation begins: returns its number. `command` may touch registers only or none.
  size_t Begin(const internal::v1::CoordinationCommand& command);
  size_t Begin(const ReadRequest& read);
  // It was answered: with success, or with an error of the state machine.
  void End(size_t operation, const internal::v1::CoordinationCommand& command,
           const Answer& answer);
  void End(size_t operation, const ReadRequest& read, const Answer& answer);
  // It certainly had no effect.
  void EndRefused(size_t operation);

  struct Campaign {
    std::string path;
    SessionId session;
    uint64_t token_floor = 0;  // From BeginCampaign.
  };
  Campaign BeginCampaign(const std::string& path, SessionId session) const;
  void EndCampaign(const Campaign& campaign, const v1::CampaignResponse& won);

  // Searches for an order of what was done to the registers.
  Judgement Judge() const { return JudgeLinearizability(registers_); }
  size_t operations() const { return begun_.size(); }

  // Registers are the znodes that the search knows: those whose path has this form.
  static bool IsRegister(const std::string& path) { return path.rfind("/r/", 0) == 0; }

 private:
  struct Begun {
    LogIndex newest;      // history_.newest() at the time.
    size_t in_registers;  // Its place there, or kNowhere.
  };
  static constexpr size_t kNowhere = static_cast<size_t>(-1);
  struct Lead {
    uint64_t token = 0;
    SessionId session;
  };

  int NumberOf(const std::string& path);
  bool ToSteps(const internal::v1::CoordinationCommand& command, std::vector<Step>* steps);
  size_t Add(std::vector<Step> steps);
  void EndRegisters(const Begun& begun, const internal::v1::CoordinationCommand& command,
                    const Answer& answer);
  void Saw(LogIndex index) { newest_ = std::max(newest_, index); }

  Findings* const findings_;
  const EventQueue* const queue_;
  const Replay* const replay_;
  LogIndex newest_;
  std::vector<Begun> begun_;
  std::vector<Operation> registers_;
  std::map<std::string, int> numbers_;
  std::map<std::string, Lead> leads_;  // The newest of each election.
  std::map<uint64_t, SessionId> token_owners_;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_HISTORY_H_
