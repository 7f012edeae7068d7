// Shows what the daemon has at a path, as a table, as a list of fields, or as JSON.
#include <algorithm>

#include <fmt/format.h>

#include "sockmictl/commands.h"
#include "sockmictl/daemon_request.h"

namespace sockmi::sockmictl {
namespace {

using nlohmann::json;

struct View {
  const char* path;
  const char* list;
  std::vector<Column> columns;
};

void print_table(const json& rows, const std::vector<Column>& columns) {
  std::vector<std::size_t> widths;
  for (const Column& column : columns) {
    std::size_t width = std::string_view(column.title).size();
    for (const auto& row : rows)
      width = std::max(width, cell(row.value(column.key, json())).size());
    widths.push_back(width);
  }
  for (std::size_t i = 0; i < columns.size(); ++i)
    fmt::print("{:<{}}  ", columns[i].title, widths[i]);
  fmt::print("\n");
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns.size(); ++i)
      fmt::print("{:<{}}  ", cell(row.value(columns[i].key, json())), widths[i]);
    fmt::print("\n");
  }
}

void print_fields(const json& value, const std::string& prefix = "") {
  for (const auto& [key, each] : value.items()) {
    const std::string name = prefix.empty() ? key : fmt::format("{}.{}", prefix, key);
    if (each.is_object()) {
      print_fields(each, name);
    } else {
      fmt::print("{:<28} {}\n", cell(name), cell(each));
    }
  }
}

// Long lists are read in parts.
Result<json> read(const View& view) {
  if (!view.list) return ask("GET", view.path);
  json all = json::array();
  for (;;) {
    TRY_LET(answer, ask("GET", fmt::format("{}?offset={}&limit=1000", view.path, all.size())));
    const json part = answer.value(view.list, json::array());
    if (!part.is_array())
      return fail(EBADMSG, "unexpected answer from sockmid: '{}' is no list", view.list);
    all.insert(all.end(), part.begin(), part.end());
    if (part.empty() || all.size() >= answer.value("total", all.size()))
      return json{{view.list, std::move(all)}};
  }
}

Result<> print(const View& view, bool as_json) {
  TRY_LET(answer, read(view));
  if (as_json) {
    fmt::print("{}\n", json_text(answer, 2));
  } else if (view.list) {
    print_table(answer[view.list], view.columns);
  } else {
    // An operator must see before anything else that the host is cordoned.
    if (const auto cordoned = answer.find("cordoned"); cordoned != answer.end()) {
      print_fields({{"cordoned", *cordoned}});
      answer.erase(cordoned);
    }
    print_fields(answer);
  }
  return {};
}

}  // namespace

Setup show(const char* path, const char* list, std::vector<Column> columns) {
  return [view = View{path, list, std::move(columns)}](CLI::App&, const Globals& globals) {
    return [view, &globals] {
      return print(view, globals.as_json);
    };
  };
}

}  // namespace sockmi::sockmictl
