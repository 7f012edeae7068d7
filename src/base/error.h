// The error type of the whole project: an errno for programs, and a reason for people.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

#include <fmt/core.h>

namespace sockmi {

struct Error {
  int code = 0;        // an errno value, never 0 in an Error that is returned
  std::string reason;  // "what was tried: why it failed", no trailing newline, no secrets
};

template <class T = void>
using Result = std::expected<T, Error>;

// Returns an error that this code detected itself, with a formatted reason.
template <class... Args>
std::unexpected<Error> fail(int code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// Returns the error that the last system call left in errno; appends its text to `what`.
std::unexpected<Error> fail_errno(std::string what);
// Returns the first error of OpenSSL's queue, and empties the queue.
std::unexpected<Error> fail_openssl(int code, std::string what);

// Passes the error of a failed Result on to the caller.
template <class T>
std::unexpected<Error> pass(Result<T>&& failed) {
  return std::unexpected(std::move(failed.error()));
}

// Formats an error as "reason (ECODE)". No other code formats errors.
std::string to_string(const Error& error);

}  // namespace sockmi

// `TRY(expr)`: returns from the function with the error of `expr`, a Result<void>, if it
// failed.
#define SOCKMI_JOIN2(a, b) a##b
#define SOCKMI_JOIN(a, b) SOCKMI_JOIN2(a, b)
#define TRY(expr)                                                                  \
  if (auto SOCKMI_JOIN(tried_, __LINE__) = (expr); !SOCKMI_JOIN(tried_, __LINE__)) \
  return std::unexpected(std::move(SOCKMI_JOIN(tried_, __LINE__).error()))
// `TRY_LET(name, expr)`: defines `name` as the value of `expr`, a Result<T>; returns from
// the function with its error if it failed.
#define TRY_LET(name, expr)                                                \
  auto SOCKMI_JOIN(result_, name) = (expr);                                \
  if (!SOCKMI_JOIN(result_, name))                                         \
    return std::unexpected(std::move(SOCKMI_JOIN(result_, name).error())); \
  auto name = std::move(*SOCKMI_JOIN(result_, name))

// The same inside a coroutine; `expr` may contain co_await.
#define CO_TRY(expr)                                                               \
  if (auto SOCKMI_JOIN(tried_, __LINE__) = (expr); !SOCKMI_JOIN(tried_, __LINE__)) \
  co_return std::unexpected(std::move(SOCKMI_JOIN(tried_, __LINE__).error()))
#define CO_TRY_LET(name, expr)                                                \
  auto SOCKMI_JOIN(result_, name) = (expr);                                   \
  if (!SOCKMI_JOIN(result_, name))                                            \
    co_return std::unexpected(std::move(SOCKMI_JOIN(result_, name).error())); \
  auto name = std::move(*SOCKMI_JOIN(result_, name))
