/**
 * @file appsockmi.h
 * Moves live TLS connections of stock OpenSSL 3 to another host.
 *
 * sockmi.h describes the conventions. All calls may be used by several threads,
 * each for another SSL. An SSL may be used by one thread at a time, as with
 * OpenSSL itself, and nothing but the SSL may use its socket. The calls that
 * can block are import_ssl(), export_ssl(), sockmi_export_ssl_with() and
 * sockmi_update_keys().
 *
 * Three steps make an SSL exportable:
 *
 * 1. sockmi_enable() on its library context, before the SSL_CTX is created.
 * 2. The property query "?provider=sockmi" in that SSL_CTX; sockmi_enable()
 *    makes it the context's default.
 * 3. sockmi_set_fd() instead of SSL_set_fd(3).
 *
 * OpenSSL's configuration can replace the first two, for programs that are not
 * to be changed: docs/provider.md. Without the third, an SSL is exportable only
 * between two records.
 */
#ifndef SOCKMI_APPSOCKMI_H
#define SOCKMI_APPSOCKMI_H

#include <openssl/ssl.h>
#include <sockmi/sockmi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One request of import_ssl(). */
struct sockmi_import_ssl_req {
  /* in */
  /* Fresh, from an SSL_CTX that suits the role. Owned by the caller. Filled if
   * the request is met; else see import_ssl(). NULL: the request is for a
   * socket, and criteria.states has the states of sockets only. */
  SSL* ssl;
  int preferred_state; /* set of states to look for first; 0: none */
  struct sockmi_criteria criteria;
  /* out */
  int ssl_state; /* state of the endpoint; 0: request not met */
  /* The socket; sockmi_set_fd() has set it into ssl. Owned by the caller; -1 if
   * the request was not met. */
  int fd;
  void* payload; /* owned by the caller: free(3); NULL: none */
  size_t payload_len;
  size_t write_taken; /* see sockmi_write_taken() */
  uint64_t group;     /* of the endpoint, see import_socket(); 0: none */
  /* in: called in the thread of the call, before the endpoint is taken; returns
   * 0, or an errno if this process cannot use the endpoint. NULL: it can. */
  int (*accept)(void* accept_arg, const void* payload, size_t payload_len);
  void* accept_arg;     /* passed to accept(); borrowed */
  uint64_t reserved[1]; /* 0 */
};

/**
 * Enable the sockmi provider in a library context, for SSL_CTXs created later.
 *
 * Also loads the default provider, and makes "?provider=sockmi" the context's
 * default property query.
 *
 * @param libctx  Borrowed. NULL: the default library context.
 *
 * @return 0; or -1 with errno set.
 *   EINVAL   OpenSSL cannot load the provider
 *   ENOTSUP  the library context is restricted to FIPS algorithms
 *   EEXIST   another copy of libappsockmi has the provider in this context
 *
 * Thread-safe. May be called again for the same context.
 */
SOCKMI_API int sockmi_enable(OSSL_LIB_CTX* libctx);

/**
 * Attach a socket to an SSL, like SSL_set_fd(3), so that the SSL can be
 * exported at any moment.
 *
 * Unlike SSL_set_fd(3), which returns 1, this call returns 0 on success, as all
 * calls of this library do. A caller that still tests for 1 takes every success
 * for a failure, so the difference cannot remain unnoticed.
 *
 * The BIO keeps record boundaries. It reads nothing from fd beyond the current
 * record, even with SSL_set_read_ahead(3), so poll(2) reports what follows.
 *
 * @param ssl  Borrowed.
 * @param fd   Borrowed; freeing the SSL does not close it.
 *
 * @return 0; or -1 with errno set.
 *   ENOMEM  no memory for the BIO
 */
SOCKMI_API int sockmi_set_fd(SSL* ssl, int fd);

/**
 * Import SSL objects, and sockets. Like import_socket(), with an SSL in each
 * request that is for one.
 *
 * The SSL of a met request continues as if the handshake had taken place here,
 * except that SSL_session_reused(3) reports a resumption; see
 * sockmi_session_reused(). It may already have data: read before polling. The
 * SSL_CTX's servername, client_hello and ALPN callbacks are called, with the
 * names of the original handshake.
 *
 * The SSL of an unmet request is as it was, with two exceptions. An endpoint
 * that did not fit it may have changed what load_ssl() lists. The SSL is
 * unusable and must be replaced if sockmid took its endpoint back because this
 * process took too long to accept it, or if another endpoint of the same group
 * did not fit.
 *
 * @param irqs     1 to 64 requests, borrowed. The out fields of all of them are
 *                 set, those of an unmet request to state 0, fd -1, no payload.
 * @param nirqs    Number of requests.
 * @param timeout  Milliseconds; 0: does not wait; negative: waits forever.
 *
 * @return As import_socket(), with these differences:
 *   EINVAL   a state that is not one of an SSL in a request with an SSL; a TLS
 *            state, or no state, in a request without one
 *   EBADMSG  the reply from sockmid or the endpoint's TLS state is malformed
 *   ENOTSUP  the endpoint does not fit the SSL
 *   ENOKEY   the provider is not in the SSL's path
 *
 * An endpoint that this process cannot use is not offered to it again.
 */
SOCKMI_API int import_ssl(struct sockmi_import_ssl_req* irqs,
                          unsigned int nirqs, int timeout);

/** Export an SSL with default options. See sockmi_export_ssl_with(). */
SOCKMI_API int export_ssl(SSL* ssl, int state, int af, const void* to);

/**
 * Export an SSL and its socket. Like sockmi_export_socket_with().
 *
 * On success the SSL can neither read, nor write, nor derive keys any more (two
 * writers under one key would break the cipher), and its keys are wiped.
 * sockmi_last_error() reports it if the wiping failed; otherwise it returns "".
 * The caller frees the SSL and closes the descriptor. On failure the SSL
 * continues to work, with the exceptions of sockmi_export_socket_with().
 *
 * An SSL that is in its handshake (with an established state), or in the middle
 * of a record on a BIO that sockmi_set_fd() did not create, is first brought to
 * a point at which it can be saved: the call continues with it as far as the
 * peer does, for at most one second, or options->timeout if that is less.
 *
 * @param ssl      Borrowed.
 * @param state    SOCKMI_CLIENT_CONNECTED, SOCKMI_SERVER_CONNECTED,
 *                 SOCKMI_CLIENT_ESTABLISHED or SOCKMI_SERVER_ESTABLISHED.
 * @param af       See sockmi_export_socket_with().
 * @param to       See sockmi_export_socket_with().
 * @param options  Borrowed, with its strings and payload. NULL: defaults.
 *
 * @return 0; or -1 with errno set; sockmi_last_error() has the reason as text.
 *   As sockmi_export_socket_with(), where EINVAL and ENOTSUP may also concern
 *   the SSL; and:
 *   EAGAIN     the point was not reached, or an SSL_write is half done, see
 *              sockmi_write_taken(): try again after the next read or write
 *   EPROTO     the handshake failed
 *   ENOTSUP    the TLS state cannot be moved: protocol version or cipher suite;
 *              compression; kernel TLS; a renegotiation in progress
 *   EINVAL     the state does not fit the SSL; or the SSL has no descriptor
 *   ENOKEY     sockmi_enable() was called after the SSL_CTX was created
 *   ESHUTDOWN  the SSL was exported before
 *
 * After EINPROGRESS an SSL with sockmi_set_fd() neither reads nor writes
 * (EPERM) while its socket is frozen. An SSL on another BIO must not be used
 * until the socket is no longer frozen: a record that it writes before that
 * breaks the connection on either host.
 */
SOCKMI_API int sockmi_export_ssl_with(
    SSL* ssl, int state, int af, const void* to,
    const struct sockmi_export_options* options);

/** One request of sockmi_export_ssls(). */
struct sockmi_export_ssl_req {
  /* in */
  SSL* ssl; /* borrowed; NULL: a socket without TLS */
  int fd;   /* the socket, borrowed, if ssl is NULL; else ignored */
  int state;
  const void* payload; /* opaque; borrowed; at most SOCKMI_PAYLOAD_MAX bytes */
  size_t payload_len;
  unsigned group; /* chosen by the caller; 0: the endpoint moves by itself */
  /* out */
  int error; /* 0: moved; else errno of export_ssl() or export_socket() */
  uint64_t reserved[4]; /* 0 */
};

/**
 * Export many SSL objects and sockets of one service together.
 *
 * Like sockmi_export_sockets(), groups included, with an SSL in each request
 * that is for one. So a group can be the TLS connection of a client and the
 * connection to the server behind, which has no TLS. See
 * sockmi_export_ssl_with() for what becomes of an SSL. While sockmid moves some
 * endpoints, the call saves the next ones.
 *
 * @param reqs     Requests, borrowed. An SSL or socket is in one request only.
 * @param nreqs    Number of requests.
 * @param af       See sockmi_export_socket_with().
 * @param to       See sockmi_export_socket_with().
 * @param options  Borrowed. NULL: defaults. Its payload is ignored.
 *
 * @return The number of endpoints moved; or -1 if none was, with errno and
 *   sockmi_last_error() of the last error. EINVAL also if a request has a TLS
 *   state and no SSL, or if a group is not possible; then nothing was moved.
 *
 * Thread-safe for different SSLs and sockets.
 */
SOCKMI_API int sockmi_export_ssls(struct sockmi_export_ssl_req* reqs,
                                  unsigned nreqs, int af, const void* to,
                                  const struct sockmi_export_options* options);

/**
 * Save the TLS state of an SSL into a buffer, for applications that move the
 * socket themselves.
 *
 * The buffer contains keys: never write it to a disk. The SSL remains usable;
 * the caller must ensure that only one of the two SSLs continues. Does not
 * block.
 *
 * @param pbuf       Set to the buffer. Owned by the caller, who frees it with
 *                   sockmi_image_free(), which wipes it.
 * @param ssl        Borrowed.
 * @param ssl_state  The SSL's state, as for sockmi_export_ssl_with().
 *
 * @return The size of the buffer in bytes (in the SockMi paper, 0; but
 *   load_ssl() needs the size); or -1 with errno set.
 *   EAGAIN     in the middle of the handshake, of a record on a BIO that
 *              sockmi_set_fd() did not create, or of an SSL_write, see
 *              sockmi_write_taken(): try again after the next read or write
 *   EINVAL     the state does not fit the SSL
 *   ENOTSUP    the TLS state cannot be moved: protocol version or cipher suite;
 *              compression; kernel TLS; a renegotiation in progress
 *   ENOKEY     sockmi_enable() was called after the SSL_CTX was created
 *   ESHUTDOWN  the SSL was exported before
 */
SOCKMI_API int save_ssl(void** pbuf, SSL* ssl, int ssl_state);

/**
 * Wipe and free a buffer of save_ssl().
 *
 * @param buf  Ownership passes to the call. NULL: nothing happens.
 * @param len  The return value of save_ssl().
 */
SOCKMI_API void sockmi_image_free(void* buf, size_t len);

/**
 * Fill an SSL from a buffer of save_ssl().
 *
 * Calls the servername, client_hello and ALPN callbacks of the SSL's context,
 * with the connection's names: docs/tls.md. A BIO of sockmi_set_fd() may be set
 * before or after this call.
 *
 * @param buf        Borrowed; need not be aligned.
 * @param len        Size in bytes.
 * @param ssl        Fresh; borrowed.
 * @param ssl_state  The state that was saved.
 *
 * @return 0; or -1 with errno set.
 *   EBADMSG  truncated, altered, or not an image
 *   EINVAL   an argument is invalid: no buffer; not the state of an SSL, or not
 *            this image's; the SSL has had a handshake already
 *   ENOTSUP  the image is good, but does not fit the SSL's context
 *   ENOKEY   the provider is not in the SSL's path
 *   ENOMEM   no memory
 *
 * On an error the SSL is as it was, with one exception. After ENOTSUP or ENOKEY
 * its groups, session id context, pre-shared key callbacks and a client's ALPN
 * protocols may have changed, because OpenSSL does not return their old values:
 * set them again, or use a new SSL.
 */
SOCKMI_API int load_ssl(const void* buf, size_t len, SSL* ssl, int ssl_state);

/**
 * Return how much of an interrupted SSL_write() the image contains.
 *
 * If the application's last SSL_write() had returned SSL_ERROR_WANT_WRITE when
 * the SSL was exported, this many bytes at the beginning of its data are in the
 * image and need not be written again: the application continues behind them.
 * Until they have all been sent, SSL_read() and SSL_shutdown() fail with
 * SSL_ERROR_WANT_WRITE where they would have nothing to read.
 *
 * Defined for SSL_MODE_ENABLE_PARTIAL_WRITE. Without that mode such an SSL is
 * exported only while no write is half done (EAGAIN).
 *
 * @param ssl  Filled by load_ssl() or import_ssl(). Borrowed.
 *
 * @return Number of bytes; 0 if no write was interrupted.
 */
SOCKMI_API size_t sockmi_write_taken(const SSL* ssl);

/**
 * Like SSL_session_reused(3), for the handshake with the peer.
 *
 * libssl itself takes the session of a loaded SSL for a resumed one. An
 * application that depends on this (RFC 5929, section 3, for tls-unique) uses
 * this call.
 *
 * @param ssl  Borrowed.
 *
 * @return 1 if the handshake with the peer was a resumption; else 0.
 */
SOCKMI_API int sockmi_session_reused(const SSL* ssl);

/**
 * Update the keys of a TLS 1.3 connection in both directions, for instance
 * after import_ssl().
 *
 * Sends a KeyUpdate. The keys and secrets of earlier traffic are wiped here, so
 * that someone who obtains this process's memory later cannot read that
 * traffic. This does not exclude anyone who has the connection's traffic
 * secrets, because the next ones are derived from them (RFC 8446, section 7.2):
 * after a host that is no longer trusted, make a new connection. The peer's
 * half is done when its answer has been read. Blocks as SSL_write(3) does, if
 * the socket is blocking.
 *
 * @param ssl  Borrowed.
 *
 * @return 0; or -1 with errno set.
 *   ENOTSUP    not TLS 1.3
 *   EAGAIN     an SSL_write or the handshake is half done
 *   EPROTO     sending failed
 *   ESHUTDOWN  the SSL was exported before
 */
SOCKMI_API int sockmi_update_keys(SSL* ssl);

/**
 * Return how many bytes of memory for keys and images this process could not
 * lock, because RLIMIT_MEMLOCK did not allow it.
 *
 * They are excluded from core dumps, but may be swapped to a disk.
 */
SOCKMI_API size_t sockmi_unlocked_secrets(void);

#ifdef __cplusplus
}
#endif
#endif
