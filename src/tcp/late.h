#pragma once
#include "base/secret.h"
namespace sockmi::tcp {
struct Late {
  Bytes bytes;
  bool fin = false;
};
}
