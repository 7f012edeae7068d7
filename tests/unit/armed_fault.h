// A fault point that is armed as long as the object lives.
#pragma once

#include <string>

#include "base/fault.h"

namespace sockmi::test {

class ArmedFault {
 public:
  explicit ArmedFault(std::string name, unsigned count = 1) : name_(std::move(name)) {
    fault::arm(name_, count);
  }
  ArmedFault(const ArmedFault&) = delete;
  // Uses up what the test has left, so that the next test does not fail.
  ~ArmedFault() {
    while (!fault::point(name_)) {
    }
  }

 private:
  std::string name_;
};

}  // namespace sockmi::test
