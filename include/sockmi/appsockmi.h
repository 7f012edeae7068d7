/* appsockmi.h - move live TLS connections of stock OpenSSL 3 to another host. See sockmi.h for the conventions.
 *
 * Three things make an SSL exportable: sockmi_enable() on its library context before the SSL_CTX is made; the property query
 * "?provider=sockmi" in that SSL_CTX (sockmi_enable makes it the context's default); sockmi_set_fd() instead of SSL_set_fd().
 * The first two can also be had by OpenSSL's configuration, for programs that are not to be changed: docs/provider.md. Without the third an SSL
 * is exportable between two records only.
 */
#ifndef SOCKMI_APPSOCKMI_H
#define SOCKMI_APPSOCKMI_H

#include <openssl/ssl.h>
#include <sockmi/sockmi.h>

#ifdef __cplusplus
extern "C" {
#endif

struct import_ssl_req {
  /* in */
  SSL *ssl;            /* fresh, from an SSL_CTX fit for the role; filled when the request is met, else as it was */
  int preferred_state;
  struct sockmi_criteria criteria;
  /* out */
  int ssl_state;       /* 0: this request was not met */
  int fd;              /* the socket, also set into ssl by sockmi_set_fd(); owned by the caller */
  void *payload;       /* malloc(3)ed, for the caller to free(3); NULL if there was none */
  size_t payload_len;
  size_t write_taken;  /* see sockmi_write_taken() */
};

/* Switches the sockmi provider on in a library context (NULL: the default one), for SSL_CTXs made afterwards. Loads the default
 * provider too, and makes "?provider=sockmi" the default property query. 1 on success, as OpenSSL counts; 0 on error. */
SOCKMI_API int sockmi_enable(OSSL_LIB_CTX *libctx);

/* As SSL_set_fd(3), with a BIO that keeps record boundaries so that the SSL can be exported at any moment. Nothing beyond the record that is
 * being read is taken from fd, also with SSL_set_read_ahead(3): poll(2) tells of it. fd is not closed with the SSL. 1 on success, 0 on error. */
SOCKMI_API int sockmi_set_fd(SSL *ssl, int fd);

/* As import_socket(), for SSL objects. A met request's ssl works on as if the handshake had been made here; the SSL of a request
 * that was not met is as it was. */
SOCKMI_API int import_ssl(struct import_ssl_req *irqs, unsigned int nirqs, int timeout);

/* As export_socket(). On 0 the ssl can neither read nor write nor derive any more (two writers under one key would break the cipher) and
 * its keys are wiped (sockmi_last_error() says so if that failed; else it is ""); the caller frees it and closes the descriptor. On -1 it works on.
 *
 * An SSL in its handshake (state: established), or in the middle of a record on a BIO that is not ours, is first brought to where it can be
 * saved: the call goes on with it as far as the peer does, for a second at most (less, if options->timeout is less).
 *
 * Besides export_socket()'s errors: EAGAIN (it did not get there, or an SSL_write is half done, see sockmi_write_taken(): try again after the
 * next read or write), EPROTO (the handshake failed), ENOTSUP (protocol version, cipher or state not served; compression; kernel TLS; a
 * renegotiation under way), EINVAL (state does not fit the SSL, no descriptor), ENOKEY (sockmi_enable() came after the SSL_CTX),
 * ESHUTDOWN (it was exported before). */
SOCKMI_API int export_ssl(SSL *ssl, int state, int af, const void *to);
SOCKMI_API int export_ssl_with(SSL *ssl, int state, int af, const void *to, const struct sockmi_export_options *options);

/* Writes the TLS state of ssl into a buffer of its own: *pbuf, to be freed with sockmi_image_free(), which wipes it. Returns its size in
 * bytes, or -1. The buffer holds keys: never write it to a disk. ssl is not spent: the caller must see to it that only one of the two
 * SSLs goes on. (The article returns 0: here the size is needed by load_ssl.) */
SOCKMI_API int save_ssl(void **pbuf, SSL *ssl, int ssl_state);
SOCKMI_API void sockmi_image_free(void *buf, size_t len);

/* Fills ssl from such a buffer. 0, or -1 with errno (EBADMSG: truncated, altered or no image) and ssl as it was. Where an image is good, but
 * does not fit ssl's context (ENOTSUP, ENOKEY), ssl is as it was but for its groups, session id context, pre-shared key callbacks and a client's
 * ALPN protocols, of which OpenSSL does not tell what they were: set them again, or take a new SSL.
 * The servername, client_hello and ALPN callbacks of ssl's context are called, with the connection's names: docs/tls.md.
 * A BIO made by sockmi_set_fd() may be set before or after. */
SOCKMI_API int load_ssl(void *buf, size_t len, SSL *ssl, int ssl_state);

/* How many bytes at the head of the application's interrupted SSL_write (the one that had returned SSL_ERROR_WANT_WRITE when its SSL was
 * exported) are in the image and on their way already: the application goes on behind them. 0 if none was interrupted. As long as not all
 * of that has been sent, SSL_read and SSL_shutdown fail with SSL_ERROR_WANT_WRITE where they would have nothing to read.
 * Defined for SSL_MODE_ENABLE_PARTIAL_WRITE; without that mode such an SSL is exported only when no write is half done (EAGAIN). */
SOCKMI_API size_t sockmi_write_taken(const SSL *ssl);

/* As SSL_session_reused(3), of the handshake with the peer. libssl itself takes a loaded SSL's session for a resumed one: an application that
 * chooses by it, as RFC 5929, 3, does for tls-unique, asks here. */
SOCKMI_API int sockmi_session_reused(const SSL *ssl);

/* A KeyUpdate of TLS 1.3 in both directions, for instance after import_ssl(): the keys and secrets of the traffic up to then are wiped here, and
 * whoever gets this process's memory later can not read what was said before. It shuts nobody out who holds the connection's traffic secrets:
 * the next ones are derived from them (RFC 8446, 7.2). After a host that is not trusted any more, make a new connection. The peer's half is done
 * when its answer has been read. 1 on success, 0 on error: ENOTSUP (not TLS 1.3), EAGAIN (an SSL_write is half done, or the handshake). */
SOCKMI_API int sockmi_update_keys(SSL *ssl);

/* How many bytes of memory for keys and images this process could not lock, since RLIMIT_MEMLOCK did not allow it: they are kept out of core
 * dumps, but may be swapped to a disk. */
SOCKMI_API size_t sockmi_unlocked_secrets(void);

#ifdef __cplusplus
}
#endif
#endif
