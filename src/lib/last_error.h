// Stores the errors of the C API: errno, and a text per thread.
#pragma once

#include "base/error.h"

namespace sockmi::lib {

int report(const Error& error);  // returns -1, with errno and the text set
void clear_error();              // called at the start of each API function

}  // namespace sockmi::lib
