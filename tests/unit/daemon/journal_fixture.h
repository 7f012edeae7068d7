// A journal in a folder of its own, as a daemon opens it, and its file as text.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "connections/journal.h"
#include "unit/temporary_folder.h"

namespace sockmi::daemon {

class JournalFixture : public testing::Test {
 protected:
  Journal open() {
    auto journal = Journal::open(folder_);
    EXPECT_TRUE(journal);
    return std::move(*journal);
  }
  std::string text() const {
    std::ifstream in(folder_ / "journal");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& text) { std::ofstream(folder_ / "journal", std::ios::app) << text; }

  const wire::MigrationId one_{1};
  const sockmi::test::TemporaryFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
};

}  // namespace sockmi::daemon
