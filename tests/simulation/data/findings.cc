#include "tests/simulation/data/findings.h"

namespace falaj::simulation::data {

absl::string_view MarkName(Mark mark) {
  static constexpr const char* kNames[] = {
#define FALAJ_DATA_MARK(constant, name, what) name,
      FALAJ_DATA_MARKS(FALAJ_DATA_MARK)
#undef FALAJ_DATA_MARK
  };
  return kNames[static_cast<size_t>(mark)];
}

absl::string_view MarkMeaning(Mark mark) {
  static constexpr const char* kMeanings[] = {
#define FALAJ_DATA_MARK(constant, name, what) what,
      FALAJ_DATA_MARKS(FALAJ_DATA_MARK)
#undef FALAJ_DATA_MARK
  };
  return kMeanings[static_cast<size_t>(mark)];
}

}  // namespace falaj::simulation::data
