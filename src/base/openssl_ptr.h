// Owns an object of OpenSSL.
#pragma once

#include <memory>

namespace sockmi {

template <class T, void (*Free)(T*)>
struct OpenSslDeleter {
  void operator()(T* object) const { Free(object); }
};
template <class T, void (*Free)(T*)>
using OpenSslPointer = std::unique_ptr<T, OpenSslDeleter<T, Free>>;

}  // namespace sockmi
