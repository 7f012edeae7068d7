// Endpoints that one process of this host hands over to another one, together or not at
// all.
//
// Both processes have a descriptor of the same socket, and the daemon has one. The
// endpoint belongs to the process that has taken the token, which the exporting process
// has made. The importing process takes it when it can use the endpoint; the exporting
// one takes it when it wants the endpoint back, no matter why: a refusal, a time-out, the
// end of the daemon. The daemon never takes it, so its death changes nothing. It can
// offer the endpoint to one process after another without knowing what became of the
// first one, because at most one of them gets the token.
//
// Alternatives considered: a token for each delivery, as for endpoints that came from
// another host. Then the importing process would have to take two at once, or the daemon
// would have to live to say to whom the endpoint belongs.
#pragma once

#include <memory>

#include "base/error.h"
#include "base/token.h"
#include "context/async_event.h"

namespace sockmi::daemon {

struct HandOverRequest {
  explicit HandOverRequest(const asio::any_io_executor& executor) : over(executor) {}
  Event over;  // set when nothing of it is open any more
  std::size_t open = 0;
};

class HandOver {
 public:
  HandOver(std::shared_ptr<HandOverRequest> request, Token token)
      : request_(std::move(request)),
        token_(std::move(token)) {
    ++request_->open;
  }
  HandOver(const HandOver&) = delete;

  Token& token() { return token_; }
  // Whether one of the two processes has taken it for good.
  bool is_decided() const { return token_.is_lost(); }
  // The offer is over: the endpoints go to nobody else. The first result counts.
  void settle(Result<> result) {
    if (over_) return;
    over_ = true;
    result_ = std::move(result);
    if (--request_->open == 0) request_->over.set();
  }
  bool is_over() const { return over_; }
  const Result<>& result() const { return result_; }

 private:
  std::shared_ptr<HandOverRequest> request_;
  Token token_;
  bool over_ = false;
  Result<> result_;
};

}  // namespace sockmi::daemon
