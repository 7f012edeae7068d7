// What was decided, for importers in doubt and for the daemon after a restart. Lines of text, no secrets.
//
// A record is written before COMMIT is sent, and is the point of no return. It is not fsync()ed: it must outlive the daemon, which a
// write(2) does; when the whole host dies, the redirects and sockets that it speaks of die too.
#pragma once

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/unique_fd.h"
#include "image/endpoint.h"

namespace sockmi::broker {

class Journal {
 public:
  // Reads what is there (a torn last line counts as not written).
  static Result<Journal> open(const std::filesystem::path& folder);
  Result<> committed(const image::MigrationId& id, const std::string& host, const FourTuple& tuple);
  // The importer has it; nobody will ask again.
  void acknowledged(const image::MigrationId& id);
  bool has(const image::MigrationId& id) const { return committed_.contains(id); }

 private:
  Result<> append(const std::string& line);
  unique_fd file_;
  std::set<image::MigrationId> committed_;
};

}  // namespace sockmi::broker
