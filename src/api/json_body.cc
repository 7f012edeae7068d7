#include "api/json_body.h"

#include <algorithm>
#include <limits>

namespace sockmi::api {
namespace {

using nlohmann::json;

// `T` is the type of the value in the library, `kind` its name in errors.
template <class T, class Value>
Result<Value> read(const json& from, const char* key, std::optional<Value> otherwise,
                   bool (json::*is_right)() const noexcept, const char* kind) {
  const auto it = from.find(key);
  if (it == from.end() || it->is_null()) {
    if (otherwise) return std::move(*otherwise);
    return fail(EINVAL, "invalid body: '{}' is missing", key);
  }
  if (!((*it).*is_right)()) return fail(EINVAL, "invalid body: '{}' is not a {}", key, kind);
  const T value = it->get<T>();
  if constexpr (std::is_arithmetic_v<T>) {
    if (value > std::numeric_limits<Value>::max())
      return fail(EINVAL, "invalid body: '{}' is too large", key);
  }
  return static_cast<Value>(value);
}

}  // namespace

Result<JsonBody> JsonBody::parse(ByteView body) {
  auto value = json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return fail(EINVAL, "invalid body: expected a JSON object");
  return JsonBody(std::move(value));
}

Result<std::string> JsonBody::text(const char* key, std::optional<std::string> otherwise) const {
  return read<std::string>(value_, key, std::move(otherwise), &json::is_string, "string");
}

Result<bool> JsonBody::flag(const char* key, std::optional<bool> otherwise) const {
  return read<bool>(value_, key, otherwise, &json::is_boolean, "boolean");
}

Result<std::vector<std::string>> JsonBody::texts(const char* key) const {
  const auto it = value_.find(key);
  if (it == value_.end() || it->is_null()) return std::vector<std::string>();
  std::vector<std::string> out;
  if (it->is_array()) {
    for (const json& each : *it)
      if (each.is_string()) out.push_back(each.get<std::string>());
  }
  if (!it->is_array() || out.size() != it->size())
    return fail(EINVAL, "invalid body: '{}' is not a list of strings", key);
  return out;
}

Result<std::vector<std::vector<std::uint64_t>>> JsonBody::counts(const char* key,
                                                                 std::size_t size) const {
  const auto it = value_.find(key);
  const auto is_row = [size](const json& row) {
    return row.is_array() && row.size() == size &&
           std::all_of(row.begin(), row.end(),
                       [](const json& each) { return each.is_number_unsigned(); });
  };
  if (it == value_.end() || !it->is_array() || !std::all_of(it->begin(), it->end(), is_row))
    return fail(EINVAL, "invalid body: '{}' is not a list of lists of {} numbers", key, size);
  return it->get<std::vector<std::vector<std::uint64_t>>>();
}

Result<unsigned> JsonBody::count(const char* key, std::optional<unsigned> otherwise) const {
  return read<std::uint64_t>(value_, key, otherwise, &json::is_number_unsigned, "natural number");
}

}  // namespace sockmi::api
