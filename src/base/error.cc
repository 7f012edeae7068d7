#include "base/error.h"

#include <cstring>

#include <openssl/err.h>

namespace sockmi {

std::unexpected<Error> fail_errno(std::string what) {
  const int code = errno;
  return std::unexpected(Error{code, fmt::format("{}: {}", what, strerrordesc_np(code))});
}

std::unexpected<Error> fail_openssl(int code, std::string what) {
  const char* data = nullptr;
  int flags = 0;
  const unsigned long head = ERR_peek_error_all(nullptr, nullptr, nullptr, &data, &flags);
  if (const char* reason = ERR_reason_error_string(head)) {
    what += fmt::format(": {}", reason);
    if (data && *data && (flags & ERR_TXT_STRING)) what += fmt::format(" ({})", data);
  }
  ERR_clear_error();
  return std::unexpected(Error{code, std::move(what)});
}

std::string to_string(const Error& error) {
  const char* name = strerrorname_np(error.code);
  return fmt::format("{} ({})", error.reason, name ? name : "?");
}

}  // namespace sockmi
