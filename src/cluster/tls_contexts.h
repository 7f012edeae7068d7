// TLS contexts for control connections, made from the credentials in force.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/ssl/context.hpp>

#include "cluster/credentials.h"

namespace sockmi::cluster {

struct Contexts {
  explicit Contexts(std::shared_ptr<const Credentials> credentials);
  static Result<std::shared_ptr<Contexts>> make(std::shared_ptr<const Credentials> credentials);

  const std::shared_ptr<const Credentials> credentials;
  boost::asio::ssl::context server, client;
};

// Makes a refused certificate's reason be written to `words`, which must live as long as
// the handshake.
void send_refusal(SSL* ssl, std::string* words);

}  // namespace sockmi::cluster
