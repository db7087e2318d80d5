#include "tests/simulation/findings.h"

namespace falaj::simulation {

absl::string_view MarkName(Mark mark) {
  static constexpr const char* kNames[] = {
#define FALAJ_SIM_MARK(constant, name, what) name,
      FALAJ_SIM_MARKS(FALAJ_SIM_MARK)
#undef FALAJ_SIM_MARK
  };
  return kNames[static_cast<size_t>(mark)];
}

absl::string_view MarkMeaning(Mark mark) {
  static constexpr const char* kMeanings[] = {
#define FALAJ_SIM_MARK(constant, name, what) what,
      FALAJ_SIM_MARKS(FALAJ_SIM_MARK)
#undef FALAJ_SIM_MARK
  };
  return kMeanings[static_cast<size_t>(mark)];
}

}  // namespace falaj::simulation
