/* sockmi.h - move live TCP connections to another host.
 *
 * Applications use this header alone for sockets without TLS, and appsockmi.h (which includes it) for SSL objects.
 * All calls talk to the host's sockmid over its Unix socket ($SOCKMID_SOCKET, default /run/sockmid/sockmid.sock); none
 * needs a privilege. All may be called by several threads, each for another connection. What others may do with a socket
 * while it is exported: export_ssl(3). A call that fails returns -1, sets errno, and leaves a text for
 * sockmi_last_error(); the connection is then as it was before the call.
 *
 * Every call ends, also if sockmid stands still: exports within their time (options->timeout; a minute for each 64 endpoints if that is 0) and six
 * seconds, imports within theirs and six seconds, sockmi_event_open() and sockmi_export_done() within five (ETIMEDOUT). sockmi_event_next() does not wait.
 *
 * Source: M. Bernaschi, F. Casadei, P. Ruco, "Migration of secure connections using SockMi", ;login:, 2007.
 */
#ifndef SOCKMI_SOCKMI_H
#define SOCKMI_SOCKMI_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOCKMI_API __attribute__((visibility("default")))

/* States of an endpoint. Bits, so that a set of them is their OR. */
#define SOCKMI_BOUND 0x01           /* bound, neither listening nor connected */
#define SOCKMI_LISTENING 0x02       /* listening */
#define SOCKMI_CONNECTED 0x04       /* connected; no TLS, or TLS that is none of our business */
#define SOCKMI_CLIENT_CONNECTED 0x08 /* TLS client, connected, handshake not performed */
#define SOCKMI_SERVER_CONNECTED 0x10 /* TLS server, connected, handshake not performed */
#define SOCKMI_CLIENT_ESTABLISHED 0x20 /* TLS client, handshake performed */
#define SOCKMI_SERVER_ESTABLISHED 0x40 /* TLS server, handshake performed */

/* The largest payload that an application may attach to an endpoint, in bytes. */
#define SOCKMI_PAYLOAD_MAX (1u << 20)

/* What one side's address must look like. All zero: anything. */
struct sockmi_match {
  int af;                /* AF_INET, AF_INET6; AF_UNSPEC: any address */
  unsigned char addr[16]; /* network order; IPv4 uses the first 4 bytes */
  unsigned prefix;       /* how many leading bits of addr count; with AF_UNSPEC ignored */
  uint16_t port;         /* host order; 0: any */
};

struct sockmi_criteria {
  unsigned states;     /* set of allowed states; 0: those that fit the call */
  const char *service; /* the service the endpoint was exported under; NULL: "default" */
  struct sockmi_match local, remote;
};

struct import_socket_req {
  /* in */
  int preferred_state;
  struct sockmi_criteria criteria;
  /* out */
  int state;           /* 0: this request was not met */
  int fd;              /* owned by the caller; close-on-exec; blocking mode as the exporter had it */
  void *payload;       /* malloc(3)ed, for the caller to free(3); NULL if there was none */
  size_t payload_len;
};

struct sockmi_export_options {
  const char *service;  /* NULL: "default" */
  const void *payload;  /* opaque to sockmi; at most SOCKMI_PAYLOAD_MAX bytes (else EMSGSIZE) */
  size_t payload_len;
  int timeout;          /* milliseconds for the whole export, until it is decided; 0: a minute */
};

/* Takes as many endpoints from the daemon as requests can be met, best effort, each by the first request (in order) whose
 * criteria it meets, preferred states first. Waits until at least one is met. timeout in milliseconds; negative: for ever.
 * Returns the number imported, 0 on timeout, -1 on error, and then nothing was taken:
 * EINVAL (criteria make no sense), EACCES (policy), ENOENT/ECONNREFUSED (no daemon), ETIMEDOUT (the daemon does not answer). */
SOCKMI_API int import_socket(struct import_socket_req *irqs, unsigned int nirqs, int timeout);

/* Moves the endpoint fd to another host and returns 0 once it lives there; fd is then dead (ENOTCONN) and still to be closed
 * by the caller. `to` is a struct in_addr or in6_addr as `af` says, the host that shall take it, or null: any that will.
 * On -1 the connection goes on here, unharmed, but for two: EINPROGRESS: it was decided that it goes, and the other host, or the daemon, does not
 * say whether it went; fd stays frozen (EPERM) until it does, or an operator decides, and then works again or is dead. ECONNABORTED: the other
 * host lost it after that, and the connection has ended. ETIMEDOUT is final: a daemon that stands still does not move it later. (If that happened in
 * the freeze, nothing that is sent leaves before the daemon goes on, or ends.) errno: ECANCELED (the other host failed or was restarted at the last step), EHOSTUNREACH (no host answered), ECONNREFUSED (refused by policy),
 * ENOBUFS (the importer's list is full), ESRCH (no application there imports this service), EPROTONOSUPPORT (not TCP),
 * ENOTCONN (not connected), EMSGSIZE (payload), EACCES (policy), ENOTSUP (the kernel lacks a way, see README), ETIMEDOUT. */
SOCKMI_API int export_socket(int fd, int state, int af, const void *to);
SOCKMI_API int export_socket_with(int fd, int state, int af, const void *to, const struct sockmi_export_options *options);

/* Moves many endpoints of one service together, which costs a fraction of moving them one by one. Each goes or stays by itself. */
struct export_socket_req {
  /* in */
  int fd;
  int state;
  const void *payload; /* opaque to sockmi; at most SOCKMI_PAYLOAD_MAX bytes */
  size_t payload_len;
  /* out */
  int error;           /* 0: it lives there, and fd is dead; else the errno that export_socket() would give */
};

/* `options` may be null; its payload does not count. Returns how many went; -1 if none
 * did, with errno and sockmi_last_error() of the last. */
SOCKMI_API int export_sockets(struct export_socket_req *reqs, unsigned int nreqs, int af, const void *to,
                              const struct sockmi_export_options *options);

/* Events: one descriptor to poll(2) for everything the daemon wants to tell a holder of connections. */
enum sockmi_event_type {
  SOCKMI_EVENT_IMPORT = 1, /* an endpoint of the service waits: an import is possible now */
  SOCKMI_EVENT_EXPORT = 2  /* the operator asks for connections to be exported (sockmictl export) */
};

struct sockmi_event {
  enum sockmi_event_type type;
  /* for SOCKMI_EVENT_EXPORT: */
  uint64_t request;           /* to be given to sockmi_export_done() */
  struct sockmi_match local, remote; /* which connections; all zero: all */
  int af;                     /* of `to`; AF_UNSPEC: no host was named, pass a null `to` */
  unsigned char to[16];
};

/* Registers the caller as an importer and holder of connections of the service (NULL: "default") and returns a descriptor
 * that polls readable when an event may be there, or -1. It must be read with sockmi_event_next() only. While it is open,
 * the daemon tells other hosts that endpoints of this service are wanted here. close(2) ends it. */
SOCKMI_API int sockmi_event_open(const char *service);

/* Fetches one event without blocking: 1 and *event, 0 when there is none, -1 with errno (EPIPE: the daemon is gone). */
SOCKMI_API int sockmi_event_next(int fd, struct sockmi_event *event);

/* Answers a SOCKMI_EVENT_EXPORT: how many connections were exported and how many could not be. 0, or -1 with errno. */
SOCKMI_API int sockmi_export_done(uint64_t request, unsigned exported, unsigned failed);

/* The calling thread's last error as one line of text; "" if there was none. Valid until the thread's next call. */
SOCKMI_API const char *sockmi_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
