// falaj: the command line of Falaj.
#include "services/cli/command_line.h"

int main(int argc, char** argv) { return static_cast<int>(falaj::cli::RunCommandLine(argc, argv)); }
