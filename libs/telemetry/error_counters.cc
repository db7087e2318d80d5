#include "libs/telemetry/error_counters.h"

#include <string>

namespace falaj::telemetry {

ErrorCounters::ErrorCounters(Registry* registry) {
  counters_.push_back(nullptr);  // kNone.
#define FALAJ_REASON(constant, name, code, definite, sentence)                                   \
  counters_.push_back(registry->AddCounter("falaj_errors_total",                                 \
                                           "Errors answered, by reason; parts of requests too.", \
                                           {{"reason", std::string(#name)}}));
#include "libs/base/errors.def"
#undef FALAJ_REASON
}

void ErrorCounters::Count(Reason reason) {
  if (reason != Reason::kNone) counters_[static_cast<size_t>(reason)]->Add();
}

}  // namespace falaj::telemetry
