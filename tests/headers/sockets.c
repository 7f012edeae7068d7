/* Uses every function of sockmi/sockmi.h. It is compiled as C11 and as C++11, against the
 * installed header. Exit status 0 if the installed library behaves as the header says. */
#include <sockmi/sockmi.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "expect.h"

#if SOCKMI_VERSION_NUMBER < (SOCKMI_VERSION_MAJOR << 16)
#error "the preprocessor cannot compare SOCKMI_VERSION_NUMBER"
#endif

/* Sizes are part of the ABI: new fields take the place of reserved ones. */
#ifdef __LP64__
static_assert(sizeof(struct sockmi_match) == 32, "sockmi_match");
static_assert(sizeof(struct sockmi_criteria) == 96, "sockmi_criteria");
static_assert(sizeof(struct sockmi_import_socket_req) == 160, "sockmi_import_socket_req");
static_assert(sizeof(struct sockmi_export_socket_req) == 64, "sockmi_export_socket_req");
static_assert(sizeof(struct sockmi_export_options) == 64, "sockmi_export_options");
static_assert(sizeof(struct sockmi_event) == 136, "sockmi_event");
#endif

/* $SOCKMID_SOCKET names a socket that does not exist. */
int main(void) {
  struct sockmi_import_socket_req import_request;
  struct sockmi_export_socket_req export_request;
  struct sockmi_export_options options;
  struct sockmi_event event;
  struct sockmi_export_answer answer;
  memset(&import_request, 0, sizeof import_request);
  memset(&export_request, 0, sizeof export_request);
  memset(&options, 0, sizeof options);
  memset(&answer, 0, sizeof answer);
  export_request.state = SOCKMI_CONNECTED;
  expect(strcmp(sockmi_version(), SOCKMI_VERSION_STRING) == 0, "sockmi_version");
  expect(import_socket(&import_request, 1, 0) == -1 && errno == ENXIO, "import_socket");
  expect(export_socket(0, SOCKMI_CONNECTED, AF_UNSPEC, NULL) == -1 && errno == ENXIO,
         "export_socket");
  expect(sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_UNSPEC, NULL, &options) == -1 &&
             errno == ENXIO,
         "sockmi_export_socket_with");
  expect(
      sockmi_export_sockets(&export_request, 1, AF_UNSPEC, NULL, &options) == -1 && errno == ENXIO,
      "sockmi_export_sockets");
  expect(sockmi_event_open(NULL) == -1 && errno == ENXIO, "sockmi_event_open");
  expect(sockmi_event_next(0, &event) == -1 && errno == EBADF, "sockmi_event_next");
  expect(sockmi_event_close(0) == -1 && errno == EBADF, "sockmi_event_close");
  expect(sockmi_export_done(1, 0, 0) == -1 && errno == ENXIO, "sockmi_export_done");
  expect(sockmi_exports_done(&answer, 1) == -1 && errno == ENXIO && answer.error == ENXIO,
         "sockmi_exports_done");
  return failures != 0;
}
