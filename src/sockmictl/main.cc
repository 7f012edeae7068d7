// sockmictl, the operator's tool. It uses the daemon's HTTP interface, except for the
// cluster commands and flush, which need no daemon.
#include "sockmictl/command_line.h"

int main(int argc, char** argv) {
  return sockmi::sockmictl::run(argc, argv);
}
