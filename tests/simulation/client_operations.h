#ifndef TESTS_SIMULATION_CLIENT_OPERATIONS_H_
#define TESTS_SIMULATION_CLIENT_OPERATIONS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "falaj/internal/v1/coordination.pb.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/client_session.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/history.h"
#include "tests/simulation/replay.h"

namespace falaj::simulation {

// ClientOperations is a client that reads and writes znodes, one operation after the other:
// creates, sets, compare-and-sets, deletes, multis, gets and lists, of a few registers that all
// clients share, and ephemeral and sequential znodes of its own.
//
// A write that has a session is repeated under its request id until its outcome is known; one that
// has none is given up after a lost answer. Reads are repeated; some go to followers, some are
// local.
class ClientOperations {
 public:
  struct Options {
    uint64_t seed = 1;
    bool with_session = true;
    SimTime think_max = 40 * kMillisecond;  // Between two operations.
  };

  // Nothing is owned.
  ClientOperations(const World& world, Caller* caller, ClientSession* session, History* history,
                   const Options& options)
      : world_(world),
        caller_(caller),
        session_(session),
        history_(history),
        options_(options),
        random_(options.seed) {}

  void Start() { ThinkThenBegin(); }
  // How many operations have ended with a known outcome, reads and writes apart.
  uint64_t reads_done() const { return reads_done_; }
  uint64_t writes_done() const { return writes_done_; }

 private:
  struct Write {
    size_t operation = 0;  // In the history.
    internal::v1::CoordinationCommand command;
    SessionId session;
    SimTime deadline = 0;
    bool maybe_done = false;  // An attempt was lost.
  };

  void ThinkThenBegin();
  void Begin();
  void BeginRead();
  void TryRead(size_t operation, const ReadRequest& read, SimTime deadline);
  void BeginWrite();
  void TryWrite(Write write);
  void OnWriteAnswered(Write write, const std::optional<Answer>& answer);
  void EndWrite(const Write& write, const Answer* answer);
  void Learn(const Write& write, const Answer& answer);

  std::string AnyRegister(uint64_t group);
  std::string NextValue();
  void FillRegisterWrite(internal::v1::CoordinationCommand* command);
  void FillMulti(v1::ExecuteMultiRequest* multi);
  void FillEphemeral(v1::CreateZnodeRequest* create);

  const World world_;
  Caller* const caller_;
  ClientSession* const session_;  // Null if it has none.
  History* const history_;
  const Options options_;
  Random random_;
  uint64_t last_value_ = 0;
  LogIndex seen_;                            // The newest state it has seen.
  std::map<std::string, int64_t> versions_;  // Of registers, when it last saw them.
  uint64_t reads_done_ = 0;
  uint64_t writes_done_ = 0;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_CLIENT_OPERATIONS_H_
