/* Uses every function of sockmi/appsockmi.h. It is compiled as C11 and as C++11, against
 * the installed header. Exit status 0 if the installed library behaves as the header
 * says. */
#include <sockmi/appsockmi.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "expect.h"

#ifdef __LP64__
static_assert(sizeof(struct sockmi_import_ssl_req) == 176, "sockmi_import_ssl_req");
static_assert(sizeof(struct sockmi_export_ssl_req) == 72, "sockmi_export_ssl_req");
#endif

/* $SOCKMID_SOCKET names a socket that does not exist. */
int main(void) {
  struct sockmi_import_ssl_req request;
  struct sockmi_export_options options;
  struct sockmi_export_ssl_req going;
  SSL_CTX* context;
  SSL *first, *second;
  void* image = NULL;
  int size;
  memset(&request, 0, sizeof request);
  memset(&options, 0, sizeof options);
  memset(&going, 0, sizeof going);
  expect(sockmi_enable(NULL) == 0, "sockmi_enable");
  context = SSL_CTX_new(TLS_client_method());
  first = SSL_new(context);
  second = SSL_new(context);
  SSL_set_connect_state(first);
  expect(sockmi_set_fd(first, 0) == 0, "sockmi_set_fd");
  expect(sockmi_session_reused(first) == 0, "sockmi_session_reused");
  expect(sockmi_write_taken(first) == 0, "sockmi_write_taken");
  expect(sockmi_update_keys(first) == -1, "sockmi_update_keys");
  expect(export_ssl(first, SOCKMI_CLIENT_CONNECTED, AF_UNSPEC, NULL) == -1 && errno == ENXIO,
         "export_ssl");
  expect(sockmi_export_ssl_with(first, SOCKMI_CLIENT_CONNECTED, AF_UNSPEC, NULL, &options) == -1 &&
             errno == ENXIO,
         "sockmi_export_ssl_with");
  going.ssl = first;
  going.state = SOCKMI_CLIENT_CONNECTED;
  expect(sockmi_export_ssls(&going, 1, AF_UNSPEC, NULL, &options) == -1 && errno == ENXIO,
         "sockmi_export_ssls");
  size = save_ssl(&image, first, SOCKMI_CLIENT_CONNECTED);
  expect(size > 0, "save_ssl");
  expect(size > 0 && load_ssl(image, (size_t)size, second, SOCKMI_CLIENT_CONNECTED) == 0,
         "load_ssl");
  if (size > 0) sockmi_image_free(image, (size_t)size);
  request.ssl = first;
  expect(import_ssl(&request, 1, 0) == -1 && errno == ENXIO, "import_ssl");
  (void)sockmi_unlocked_secrets();
  SSL_free(first);
  SSL_free(second);
  SSL_CTX_free(context);
  return failures != 0;
}
