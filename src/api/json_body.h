// Reads the JSON body of a request. A value of another type is refused, not ignored: a
// request to export with such a criterion must not select every connection.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::api {

class JsonBody {
 public:
  // Errors: EINVAL if the body is not one JSON object.
  static Result<JsonBody> parse(ByteView body);

  // Each returns the value of a key; `otherwise` if the key is absent, or its value null.
  // Errors: EINVAL if the value has another type, or is absent and there is no
  // `otherwise`.
  Result<std::string> text(const char* key, std::optional<std::string> otherwise = {}) const;
  Result<bool> flag(const char* key, std::optional<bool> otherwise = {}) const;
  // Returns the strings of a list; none if the key is absent, or its value null.
  Result<std::vector<std::string>> texts(const char* key) const;
  // Returns the lists of a list, each of which has `size` natural numbers.
  Result<std::vector<std::vector<std::uint64_t>>> counts(const char* key, std::size_t size) const;
  Result<unsigned> count(const char* key, std::optional<unsigned> otherwise = {}) const;

 private:
  explicit JsonBody(nlohmann::json value) : value_(std::move(value)) {}
  nlohmann::json value_;
};

}  // namespace sockmi::api
