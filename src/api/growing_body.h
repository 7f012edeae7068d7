// The body of a request, which uses only as much memory as has arrived of it. Otherwise a
// client could make the daemon allocate memory by a large Content-Length alone.
#pragma once

#include <cstdint>
#include <limits>

#include <boost/asio/buffer.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>

#include "base/secret.h"

namespace sockmi::api {

struct GrowingBody {
  using value_type = Secret;  // an export's body contains keys

  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(boost::beast::http::header<isRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>&, boost::system::error_code& error) {
      error = {};
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, boost::system::error_code& error) {
      error = {};
      for (const auto buffer : boost::beast::buffers_range_ref(buffers)) {
        const auto* data = static_cast<const std::uint8_t*>(buffer.data());
        body_.insert(body_.end(), data, data + buffer.size());
      }
      return boost::beast::buffer_bytes(buffers);
    }
    void finish(boost::system::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace sockmi::api
