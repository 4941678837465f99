// The program's entry: everything else is in the commands.
#include "cli/cli.h"

int main(int argc, char** argv) { return exodus::cli::run(argc, argv); }
