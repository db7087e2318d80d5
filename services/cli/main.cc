// falaj: the command line of Falaj.
#include "libs/rpc/process.h"
#include "services/cli/command_line.h"

int main(int argc, char** argv) {
  falaj::rpc::TuneProcess();
  return static_cast<int>(falaj::cli::RunCommandLine(argc, argv));
}
