#ifndef TESTS_SIMULATION_QUIET_LOG_H_
#define TESTS_SIMULATION_QUIET_LOG_H_

#include "gtest/gtest.h"

#include "libs/base/log.h"

namespace falaj::simulation {

// The metadata nodes' own log lines would drown what matters: they lose their disks all the time.
// Register one in a test's main file:
//
//   const testing::Environment* const kQuietLog = testing::AddGlobalTestEnvironment(new QuietLog);
class QuietLog : public testing::Environment {
  void SetUp() override {
    log::Options options;
    options.level_min = log::Level::kOff;
    log::Configure(options);
  }
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_QUIET_LOG_H_
