#pragma once
#include "base/address.h"
#include "base/error.h"
namespace sockmi::tcp {
struct Segment {
  FourTuple tuple;  // local: the receiver
  std::uint32_t seq, ack;
  std::uint16_t window;
  bool fin = false;
  ByteView data;
};
Result<> inject_data(const Segment& segment, std::uint32_t mark);
}
