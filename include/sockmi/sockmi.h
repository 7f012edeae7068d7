/**
 * @file sockmi.h
 * Moves live TCP connections to another host.
 *
 * Applications use this header alone for sockets without TLS, and appsockmi.h,
 * which includes it, for SSL objects.
 *
 * Daemon: all calls talk to this host's sockmid over its Unix socket
 * ($SOCKMID_SOCKET, default /run/sockmid/sockmid.sock). None needs a privilege.
 *
 * Errors: unless stated otherwise, a call that fails returns -1, sets errno,
 * and leaves a text for sockmi_last_error(); the connection is then as it was
 * before the call.
 *
 * Ownership: every pointer and descriptor passed to a call is borrowed until
 * the call returns, unless stated otherwise.
 *
 * Threads: all calls may be used by several threads, each for another
 * connection. export_ssl(3) says what other threads and processes may do with
 * a socket while it is exported.
 *
 * Structures: set every structure to zero before you set its fields. The fields
 * `reserved` are for later versions of the library, which will not change the
 * size of a structure: they must be zero (EINVAL), and are zero in what the
 * library fills.
 *
 * Signals: a signal does not interrupt a call. The connection to sockmid never
 * raises SIGPIPE.
 *
 * Blocking: every call with a time limit ends, even if sockmid hangs. Exports
 * end within their time limit (options->timeout; if that is 0, one minute per
 * 64 endpoints) plus six seconds; imports within theirs plus six seconds;
 * sockmi_event_open() and sockmi_export_done() within five seconds (ETIMEDOUT).
 * sockmi_event_next() and sockmi_event_close() do not wait.
 *
 * Source: M. Bernaschi, F. Casadei, P. Ruco, "Migration of secure connections
 * using SockMi", ;login:, 2007 (the SockMi paper).
 */
#ifndef SOCKMI_SOCKMI_H
#define SOCKMI_SOCKMI_H

#include <sockmi/version.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOCKMI_API __attribute__((visibility("default")))

/* States of an endpoint. Each is one bit, so that their OR is a set of states.
 * SOCKMI_CONNECTED: no TLS, or TLS that sockmi need not know about. */
#define SOCKMI_BOUND 0x01              /* a bound socket */
#define SOCKMI_LISTENING 0x02          /* a listening socket */
#define SOCKMI_CONNECTED 0x04          /* a connected socket */
#define SOCKMI_CLIENT_CONNECTED 0x08   /* TLS client, before its handshake */
#define SOCKMI_SERVER_CONNECTED 0x10   /* TLS server, before its handshake */
#define SOCKMI_CLIENT_ESTABLISHED 0x20 /* TLS client, after its handshake */
#define SOCKMI_SERVER_ESTABLISHED 0x40 /* TLS server, after its handshake */

/* Maximum size in bytes of the payload of an endpoint. */
#define SOCKMI_PAYLOAD_MAX (1u << 20)

/* Maximum number of endpoints of a group; see sockmi_export_sockets(). */
#define SOCKMI_GROUP_MAX 16u

/** What the address of one side must match. All zero: matches anything. */
struct sockmi_match {
  int af;                 /* AF_INET, AF_INET6; AF_UNSPEC: any address */
  unsigned char addr[16]; /* network order; IPv4 uses the first 4 bytes */
  unsigned prefix;        /* leading bits of addr that count; see af */
  uint16_t port;          /* host order; 0: any */
  uint8_t reserved[6];    /* 0 */
};

/** Which endpoints an import accepts. */
struct sockmi_criteria {
  unsigned states;     /* set of accepted states; 0: all that fit the call */
  const char* service; /* service of the export; borrowed; NULL: "default" */
  struct sockmi_match local, remote;
  uint64_t reserved[2]; /* 0 */
};

/** One request of import_socket(). */
struct sockmi_import_socket_req {
  /* in */
  int preferred_state; /* set of states to look for first; 0: none */
  struct sockmi_criteria criteria;
  /* out */
  int state; /* state of the endpoint; 0: request not met */
  /* Owned by the caller; -1 if the request was not met. Close-on-exec; in the
   * blocking mode that the exporter used. */
  int fd;
  void* payload; /* owned by the caller: free(3); NULL: none */
  size_t payload_len;
  uint64_t group; /* of the endpoint, see import_socket(); 0: none */
  /* in: called in the thread of the call, before the endpoint is taken; returns
   * 0, or an errno if this process cannot use the endpoint. NULL: it can. */
  int (*accept)(void* accept_arg, const void* payload, size_t payload_len);
  void* accept_arg;     /* passed to accept(); borrowed */
  uint64_t reserved[1]; /* 0 */
};

/* Flag of an export: hand over to another process of this host, see
 * sockmi_export_socket_with(). */
#define SOCKMI_HAND_OVER 0x1u

/** Options of an export. All zero: defaults. */
struct sockmi_export_options {
  const char* service; /* borrowed; NULL: "default" */
  const void* payload; /* opaque; borrowed; at most SOCKMI_PAYLOAD_MAX bytes */
  size_t payload_len;
  int timeout;          /* milliseconds until the decision; 0: one minute */
  uint64_t flags;       /* 0 or SOCKMI_HAND_OVER */
  uint64_t reserved[3]; /* 0 */
};

/**
 * Import sockets that other hosts export, or other processes of this host hand
 * over.
 *
 * Blocks until at least one request is met, and then meets as many as it can
 * at that moment. Each endpoint goes to the first request, in order, whose
 * criteria it meets; preferred states are looked for first. Ends at most six
 * seconds after the timeout. An endpoint belongs either to the caller or to
 * sockmid at any time, never to both.
 *
 * The endpoints of a group (see sockmi_export_sockets()) arrive in one call, or
 * not at all: when each of them meets the criteria of a request of its own.
 * Preferred states have no effect on them. Requests that the endpoints of one
 * group have met have the same number in `group`, others another one or 0.
 *
 * An endpoint that this process cannot use (`accept`, or no descriptor is left)
 * stays with sockmid, which does not offer it to this process again, and in the
 * end sends it back. So does a group of which this is true of one endpoint.
 *
 * @param irqs     1 to 64 requests, borrowed. The out fields of all of them are
 *                 set, those of an unmet request to state 0, fd -1, no payload.
 * @param nirqs    Number of requests.
 * @param timeout  Milliseconds; 0: does not wait; negative: waits forever.
 *
 * @return The number of requests met; 0 on timeout; -1 with errno set, and then
 *   nothing was imported; sockmi_last_error() has the reason as text.
 *   EINVAL      an argument is invalid: impossible criteria, a TLS state, not 1
 *               to 64 requests
 *   ENXIO       sockmid is not running
 *   ENOENT      the service is not configured
 *   EACCES      policy: this user may not import this service
 *   EDQUOT      this user has too many requests at sockmid
 *   ENOMEM      no memory for the payload
 *   EMFILE      this process can have no more descriptors
 *   ETIMEDOUT   the time is over: sockmid does not answer, or has taken the
 *               endpoint back because this process took too long to accept it
 *   ECONNRESET  sockmid ended during the call
 *   EBADMSG     a malformed reply from sockmid
 *
 * Thread-safe.
 */
SOCKMI_API int import_socket(struct sockmi_import_socket_req* irqs,
                             unsigned int nirqs, int timeout);

/** Export a socket with default options. See sockmi_export_socket_with(). */
SOCKMI_API int export_socket(int fd, int state, int af, const void* to);

/**
 * Export a socket: move its endpoint to another host.
 *
 * Blocks until the endpoint lives on the other host, usually some milliseconds.
 * On success fd is dead (ENOTCONN), and the caller must still close it.
 *
 * On failure the connection continues on this host, unharmed, with two
 * exceptions:
 *
 * EINPROGRESS: it was decided that the endpoint moves, but the other host, or
 * sockmid, has not said whether it did. fd stays frozen (its calls fail with
 * EPERM) until that is known or an operator decides. Then fd either works again
 * or is dead.
 *
 * ECONNABORTED: the other host lost the endpoint after the decision. The
 * connection has ended.
 *
 * ETIMEDOUT is final: a sockmid that hangs does not move the endpoint later. If
 * it hangs while the endpoint is frozen, nothing that is sent leaves this host
 * before sockmid continues, or ends.
 *
 * With SOCKMI_HAND_OVER in options->flags the socket goes to another process of
 * this host that imports the service. The peer notices nothing: the socket
 * itself changes hands, and with it what it has received. Blocks until that
 * process has taken it. Until then it belongs to the caller, whatever becomes
 * of that process or of sockmid, but nobody may use it: not this process, not
 * its children. On success fd is dead, and in no epoll(7) set of this process
 * any more. EINPROGRESS and ECONNABORTED do not occur. `to` must be NULL.
 *
 * @param fd       TCP socket. Borrowed.
 * @param state    SOCKMI_BOUND, SOCKMI_LISTENING or SOCKMI_CONNECTED.
 * @param af       Family of `to`: AF_INET or AF_INET6; AF_UNSPEC: any host.
 * @param to       The target host's address, a struct in_addr or in6_addr.
 *                 Borrowed. NULL: any host that accepts.
 * @param options  Borrowed, with its strings and payload. NULL: defaults.
 *
 * @return 0; or -1 with errno set; sockmi_last_error() has the reason as text.
 *   EINVAL           an argument is invalid: none of these states, or not the
 *                    one of fd; `af` is not known; `to` is this host
 *   EBADF            fd is not an open descriptor
 *   ENOTSOCK         fd is not a socket
 *   EPROTONOSUPPORT  fd is not a TCP socket
 *   ENOTCONN         the socket is closed, or neither bound nor connected
 *   EMSGSIZE         the payload exceeds SOCKMI_PAYLOAD_MAX
 *   EACCES           policy: this user may not export this service, or this
 *                    bound or listening socket
 *   EADDRNOTAVAIL    the local address does not belong to the socket's network
 *                    namespace
 *   EADDRINUSE       another socket of the other host, or another network
 *                    namespace of this host, has the endpoint's address
 *   EAFNOSUPPORT     the other host has no address of the endpoint's family
 *   ENOTSUP          this state, address or option cannot be moved
 *   EBUSY            another export of the endpoint is not over
 *   ENXIO            sockmid is not running on this host
 *   EHOSTDOWN        sockmid of this host is stopping
 *   EDQUOT           this user has too many requests at sockmid
 *   ENOENT           the service is not configured on this host
 *   EHOSTUNREACH     no host answered
 *   ECONNREFUSED     the other host does not serve this service, or no longer:
 *                    its sockmid is stopping
 *   ESRCH            no application on the other host, or no other process in
 *                    a hand-over, imports this service
 *   ENOBUFS          the other host's import queue is full
 *   ENOSPC           the disk of a sockmid's journal is full, or broken
 *   ECANCELED        the other host failed, or was restarted, at the last step
 *   ETIMEDOUT        the time is over: the other host was not ready, or sockmid
 *                    does not answer
 *   ECONNRESET       sockmid ended before it had decided anything
 *   EBADMSG          a malformed reply from sockmid
 *   EMFILE           this process can have no more descriptors
 *   EINPROGRESS      see above
 *   ECONNABORTED     see above
 *
 * Thread-safe for different sockets.
 */
SOCKMI_API int sockmi_export_socket_with(
    int fd, int state, int af, const void* to,
    const struct sockmi_export_options* options);

/** One request of sockmi_export_sockets(). */
struct sockmi_export_socket_req {
  /* in */
  int fd; /* borrowed */
  int state;
  const void* payload; /* opaque; borrowed; at most SOCKMI_PAYLOAD_MAX bytes */
  size_t payload_len;
  unsigned group; /* chosen by the caller; 0: the endpoint moves by itself */
  /* out */
  int error; /* 0: moved, fd is dead; else errno of export_socket() */
  uint64_t reserved[4]; /* 0 */
};

/**
 * Export many sockets of one service together.
 *
 * This costs a fraction of exporting them one by one. Each endpoint moves or
 * stays by itself, unless it has a group. Blocks until all are decided;
 * options->timeout bounds the whole call, and if it is 0, the limit is one
 * minute per 64 endpoints.
 *
 * Requests with the same group, if that is not 0, move together or not at all:
 * the two connections of a proxy, for example. One application on the other
 * host gets all of them, in one call. If one of them cannot move, the others
 * stay, with the same error. A group has at most SOCKMI_GROUP_MAX connections,
 * and no bound or listening socket; its payloads and TLS states have at most
 * 1.2 MiB altogether (EMSGSIZE). ECONNABORTED may concern a part of a group:
 * connections can end at any time.
 *
 * @param reqs     Requests, borrowed; see sockmi_export_socket_with() for `fd`,
 *                 `state` and `error`.
 * @param nreqs    Number of requests.
 * @param af       See sockmi_export_socket_with().
 * @param to       See sockmi_export_socket_with().
 * @param options  Borrowed. NULL: defaults. Its payload is ignored.
 *
 * @return The number of endpoints moved; or -1 if none was, with errno and
 *   sockmi_last_error() of the last error. EINVAL also if a request has a TLS
 *   state, or if a group is not possible; then nothing was moved.
 *
 * Thread-safe for different sockets.
 */
SOCKMI_API int sockmi_export_sockets(
    struct sockmi_export_socket_req* reqs, unsigned int nreqs, int af,
    const void* to, const struct sockmi_export_options* options);

/* Events: one descriptor to poll(2) for everything that sockmid reports to an
 * application that holds connections. */
enum sockmi_event_type {
  SOCKMI_EVENT_IMPORT = 1, /* an endpoint of the service can be imported now */
  SOCKMI_EVENT_EXPORT = 2  /* the operator requests exports (sockmictl) */
};

/** One event. The fields after `type` are those of SOCKMI_EVENT_EXPORT. */
struct sockmi_event {
  enum sockmi_event_type type;
  uint64_t request;                  /* to be passed to sockmi_export_done() */
  struct sockmi_match local, remote; /* which connections; all zero: all */
  int af;               /* of `to`; AF_UNSPEC: any host, pass NULL */
  unsigned char to[16]; /* target host */
  uint64_t reserved[4]; /* 0 */
};

/**
 * Register as an importer and holder of connections of a service.
 *
 * While the descriptor is open, sockmid reports to other hosts that endpoints
 * of this service are wanted here. All processes with such a descriptor get an
 * event for an endpoint; the first one to import it gets the endpoint. Waits
 * for sockmid for at most five seconds.
 *
 * @param service  Borrowed. NULL: "default".
 *
 * @return A descriptor that polls readable when there may be an event, owned by
 *   the caller, who ends the registration with sockmi_event_close(). Read it
 *   only with sockmi_event_next(). Or -1 with errno set.
 *   ENXIO       sockmid is not running
 *   ENOENT      the service is not configured
 *   EACCES      policy: this user may not import this service
 *   EDQUOT      this user has too many sessions at sockmid
 *   EMFILE      this process can have no more descriptors
 *   ETIMEDOUT   sockmid does not answer
 *   ECONNRESET  sockmid ended during the call
 *   EBADMSG     a malformed reply from sockmid
 *
 * Thread-safe.
 */
SOCKMI_API int sockmi_event_open(const char* service);

/**
 * Fetch one event. Does not block.
 *
 * @param fd     Descriptor of sockmi_event_open(). Borrowed.
 * @param event  Set if the return value is 1. Borrowed.
 *
 * @return 1 if *event was set; 0 if there is no event; or -1 with errno set.
 *   EBADF       not a descriptor of sockmi_event_open()
 *   EPIPE       sockmid ended the registration: it has ended, or this process
 *               left 64 KiB of events unread
 *   ECONNRESET  sockmid ended in the middle of the registration
 *
 * Thread-safe.
 */
SOCKMI_API int sockmi_event_next(int fd, struct sockmi_event* event);

/**
 * End a registration, and close its descriptor. Does not block.
 *
 * close(2) ends the registration, too, but the library then keeps what it has
 * read of the next event until the next sockmi_event_open(). A child of fork(2)
 * has a copy of the descriptor, which is close-on-exec; the registration ends
 * when all copies are closed.
 *
 * @param fd  Descriptor of sockmi_event_open(). Ownership passes to the call.
 *
 * @return 0; or -1 with errno set.
 *   EBADF  not a descriptor of sockmi_event_open(); it is not closed
 *
 * Thread-safe, except that no other thread may use fd, as with close(2).
 */
SOCKMI_API int sockmi_event_close(int fd);

/**
 * Answer a SOCKMI_EVENT_EXPORT. Waits for sockmid for at most five seconds.
 *
 * @param request   sockmi_event.request.
 * @param exported  Number of connections that were exported.
 * @param failed    Number of connections that could not be exported.
 *
 * @return 0; or -1 with errno set.
 *   ENXIO       sockmid is not running
 *   ENOENT      there is no such request, or it is over
 *   EDQUOT      this user has too many sessions at sockmid
 *   EMFILE      this process can have no more descriptors
 *   ETIMEDOUT   sockmid does not answer
 *   ECONNRESET  sockmid ended during the call
 *   EBADMSG     a malformed reply from sockmid
 *
 * Thread-safe.
 */
SOCKMI_API int sockmi_export_done(uint64_t request, unsigned exported,
                                  unsigned failed);

/** One answer of sockmi_exports_done(). */
struct sockmi_export_answer {
  /* in: see sockmi_export_done() */
  uint64_t request;
  unsigned exported;
  unsigned failed;
  /* out */
  int error; /* 0; or ENOENT: there is no such request, or it is over */
  uint64_t reserved[2]; /* 0 */
};

/**
 * Answer many SOCKMI_EVENT_EXPORT together.
 *
 * When sockmid empties the host (sockmictl drain), it orders one connection per
 * event, and does not wait for an answer before the next event. An application
 * that first fetches all events that are there, exports their connections in
 * one call, and then answers all of them, is many times faster than one that
 * exports one connection after the other.
 *
 * Waits for sockmid for at most five seconds per 256 answers.
 *
 * @param answers   Answers, borrowed.
 * @param nanswers  Number of answers.
 *
 * @return The number of answers that sockmid has accepted; or -1 with errno of
 *   sockmi_export_done() set, without ENOENT. Answers that it then has not got
 *   have this errno, too.
 *   EINVAL  a reserved field is not zero
 *
 * Thread-safe.
 */
SOCKMI_API int sockmi_exports_done(struct sockmi_export_answer* answers,
                                   unsigned nanswers);

/**
 * Return the version of the library, which may differ from that of the headers
 * that the program was compiled with (SOCKMI_VERSION_STRING).
 *
 * @return "MAJOR.MINOR.PATCH". Owned by the library; always valid.
 *
 * Thread-safe.
 */
SOCKMI_API const char* sockmi_version(void);

/**
 * Return the calling thread's last error as one line of text.
 *
 * @return The text, or "" if there was no error. Owned by the library; valid
 *   until this thread's next call.
 */
SOCKMI_API const char* sockmi_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
