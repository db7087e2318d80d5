// Ctrl-C as a question a loop may ask, so that a command can leave in good order.
#ifndef SERVICES_CLI_INTERRUPT_H_
#define SERVICES_CLI_INTERRUPT_H_

namespace falaj::cli {

// From now on SIGINT and SIGTERM only set a flag; the second one ends the process.
void CatchInterrupts();
bool Interrupted();

}  // namespace falaj::cli

#endif  // SERVICES_CLI_INTERRUPT_H_
