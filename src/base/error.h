// The one error type of the whole: an errno for programs, a reason for people.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <utility>

#include <fmt/core.h>

namespace sockmi {

struct Error {
  int code = 0;        // an errno value, never 0 in a live Error
  std::string reason;  // "what was tried: why it failed", no trailing newline, no secrets
};

template <class T = void>
using Result = std::expected<T, Error>;

// An error of our own making.
template <class... Args>
std::unexpected<Error> fail(int code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The error that the last system call left in errno; its text is appended to `what`.
std::unexpected<Error> fail_errno(std::string what);
// The error at the head of OpenSSL's queue, which is emptied.
std::unexpected<Error> fail_openssl(int code, std::string what);

// Passes a failed Result on to the caller.
template <class T>
std::unexpected<Error> pass(Result<T>&& failed) {
  return std::unexpected(std::move(failed.error()));
}

// The one place that knows how to print an error: "reason (ECODE)".
std::string to_string(const Error& error);

}  // namespace sockmi

// `TRY(expr)`: returns the error of a Result<void> to the caller.
#define SOCKMI_JOIN2(a, b) a##b
#define SOCKMI_JOIN(a, b) SOCKMI_JOIN2(a, b)
#define TRY(expr)                                                        \
  if (auto SOCKMI_JOIN(tried_, __LINE__) = (expr); !SOCKMI_JOIN(tried_, __LINE__)) \
  return std::unexpected(std::move(SOCKMI_JOIN(tried_, __LINE__).error()))
// `TRY_LET(name, expr)`: the value of a Result<T> as `name`, or its error to the caller.
#define TRY_LET(name, expr)                                              \
  auto SOCKMI_JOIN(result_, name) = (expr);                              \
  if (!SOCKMI_JOIN(result_, name))                                       \
    return std::unexpected(std::move(SOCKMI_JOIN(result_, name).error())); \
  auto name = std::move(*SOCKMI_JOIN(result_, name))

// The same inside a coroutine; `expr` may co_await.
#define CO_TRY(expr)                                                     \
  if (auto SOCKMI_JOIN(tried_, __LINE__) = (expr); !SOCKMI_JOIN(tried_, __LINE__)) \
  co_return std::unexpected(std::move(SOCKMI_JOIN(tried_, __LINE__).error()))
#define CO_TRY_LET(name, expr)                                           \
  auto SOCKMI_JOIN(result_, name) = (expr);                              \
  if (!SOCKMI_JOIN(result_, name))                                       \
    co_return std::unexpected(std::move(SOCKMI_JOIN(result_, name).error())); \
  auto name = std::move(*SOCKMI_JOIN(result_, name))
