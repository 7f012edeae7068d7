/* To be preloaded: a name service that does not answer for user 65534 (like an LDAP
 * server that hangs) until a byte is written to the FIFO $NSS_GATE. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

int getpwuid_r(uid_t uid, struct passwd* entry, char* buffer, size_t size, struct passwd** found) {
  static const char asked[] = "name service asked\n";
  int (*real)(uid_t, struct passwd*, char*, size_t, struct passwd**) =
      dlsym(RTLD_NEXT, "getpwuid_r");
  const char* gate = getenv("NSS_GATE");
  if (uid == 65534 && gate && write(STDERR_FILENO, asked, sizeof asked - 1) > 0)
    close(open(gate, O_RDONLY | O_CLOEXEC));
  return real(uid, entry, buffer, size, found);
}
