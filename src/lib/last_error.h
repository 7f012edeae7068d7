// Where the C API leaves its errors: errno, and a text of the calling thread.
#pragma once

#include "base/error.h"

namespace sockmi::lib {

int report(const Error& error);   // -1, with errno and the text set
void clear_error();               // at the start of each call

}  // namespace sockmi::lib
