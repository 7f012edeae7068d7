/* What the programs that use the installed headers have in common: they count what is not
 * as the headers say. */
#ifndef EXPECT_H
#define EXPECT_H

#include <sockmi/sockmi.h>

#include <errno.h>
#include <stdio.h>

static int failures;

static void expect(int met, const char* what) {
  if (met) return;
  fprintf(stderr, "%s: errno %d, %s\n", what, errno, sockmi_last_error());
  ++failures;
}

#endif
