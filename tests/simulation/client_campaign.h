#ifndef TESTS_SIMULATION_CLIENT_CAMPAIGN_H_
#define TESTS_SIMULATION_CLIENT_CAMPAIGN_H_

#include <cstdint>
#include <optional>
#include <string>

#include "libs/base/random.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/client_session.h"
#include "tests/simulation/history.h"

namespace falaj::simulation {

// ClientCampaign is a client that stands for election again and again: it waits until it leads,
// holds the lead for a while, and resigns, or dies.
class ClientCampaign {
 public:
  // Nothing is owned.
  ClientCampaign(const World& world, Caller* caller, ClientSession* session, History* history,
                 std::string path, uint64_t seed)
      : world_(world),
        caller_(caller),
        session_(session),
        history_(history),
        path_(std::move(path)),
        random_(seed) {}

  void Start() { StandLater(); }

 private:
  void StandLater();
  void Stand();
  void OnAnswered(const History::Campaign& campaign, const std::optional<Answer>& answer);
  void Hold();
  void Resign();

  const World world_;
  Caller* const caller_;
  ClientSession* const session_;
  History* const history_;
  const std::string path_;
  Random random_;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_CLIENT_CAMPAIGN_H_
