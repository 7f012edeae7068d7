// A TLS image in a file, and what an SSL that is loaded from it must do:
// tests/golden/images, made by make_images.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <nlohmann/json.hpp>

#include "base/secret.h"
#include "tls/tls.h"

namespace sockmi::tls::test {

inline constexpr std::string_view kExporterLabel = "EXPORTER-known-answer";
inline constexpr long kSessionTime = 1'000'000'000;  // 2001: every session counts as new enough

struct KnownAnswer {
  std::string name;  // of the files, without their extensions
  Bytes image;       // NAME.image; everything else is in NAME.json
  bool server = false, established = false;
  std::string version, suite;  // as SSL_get_version(3) and SSL_CIPHER_get_name(3) return them
  std::string alpn, server_name;
  bool extended_master = false;  // TLS 1.2
  Bytes exporter;                // of kExporterLabel, no context
  Bytes arrives;                 // what the peer sends next
  std::string reads;             // what the application reads of it, after what the image has
  unsigned pending = 0;          // SSL_pending(3) after the load
  std::string writes;            // what the application writes first
  // What is then sent to the peer, unsent bytes of the image first; empty if it has a
  // random part.
  Bytes leaves;
  unsigned write_taken = 0;
  // The image of the same connection's other end, made at the same moment; empty if there
  // is none.
  std::string other_end;
};

inline std::string to_hex(ByteView bytes) {
  std::string out;
  for (const auto byte : bytes)
    fmt::format_to(std::back_inserter(out), "{:02x}", byte);
  return out;
}
inline Bytes from_hex(const std::string& text) {
  Bytes out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    out.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(i, 2), nullptr, 16)));
  return out;
}

inline void write_files(const KnownAnswer& a, const std::filesystem::path& folder) {
  std::ofstream(folder / (a.name + ".image"), std::ios::binary)
      .write(reinterpret_cast<const char*>(a.image.data()), static_cast<long>(a.image.size()));
  const nlohmann::ordered_json json = {{"server", a.server},
                                       {"established", a.established},
                                       {"version", a.version},
                                       {"suite", a.suite},
                                       {"alpn", a.alpn},
                                       {"server_name", a.server_name},
                                       {"extended_master", a.extended_master},
                                       {"exporter", to_hex(a.exporter)},
                                       {"arrives", to_hex(a.arrives)},
                                       {"reads", a.reads},
                                       {"pending", a.pending},
                                       {"writes", a.writes},
                                       {"leaves", to_hex(a.leaves)},
                                       {"write_taken", a.write_taken},
                                       {"other_end", a.other_end}};
  std::ofstream(folder / (a.name + ".json")) << json.dump(1) << '\n';
}

inline Bytes file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}

inline KnownAnswer read_files(const std::filesystem::path& image) {
  const auto json =
      nlohmann::json::parse(std::ifstream(std::filesystem::path(image).replace_extension(".json")));
  KnownAnswer a;
  a.name = image.stem();
  a.image = file(image);
  a.server = json.at("server");
  a.established = json.at("established");
  a.version = json.at("version");
  a.suite = json.at("suite");
  a.alpn = json.at("alpn");
  a.server_name = json.at("server_name");
  a.extended_master = json.at("extended_master");
  a.exporter = from_hex(json.at("exporter"));
  a.arrives = from_hex(json.at("arrives"));
  a.reads = json.at("reads");
  a.pending = json.at("pending");
  a.writes = json.at("writes");
  a.leaves = from_hex(json.at("leaves"));
  a.write_taken = json.at("write_taken");
  a.other_end = json.at("other_end");
  return a;
}

// Returns the image files of all generations.
inline std::vector<std::filesystem::path> image_files(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".image") out.push_back(entry.path());
  std::ranges::sort(out);
  return out;
}

inline OSSL_LIB_CTX* provided() {
  static OSSL_LIB_CTX* const libctx = [] {
    OSSL_LIB_CTX* made = OSSL_LIB_CTX_new();
    if (!enable(made)) std::abort();
    return made;
  }();
  return libctx;
}

// Returns a context into which an image of any kind may be loaded.
inline SSL_CTX* any_context() {
  static SSL_CTX* const ctx = [] {
    SSL_CTX* made = SSL_CTX_new_ex(provided(), nullptr, TLS_method());
    SSL_CTX_set_security_level(made, 0);  // CCM-8 has a short tag
    SSL_CTX_set_cipher_list(made, "ALL");
    SSL_CTX_set_ciphersuites(made,
                             "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_"
                             "SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256");
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(
        made,
        [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned,
           void*) {
          *out = in + 1;
          *size = in[0];
          return SSL_TLSEXT_ERR_OK;
        },
        nullptr);
    return made;
  }();
  return ctx;
}

}  // namespace sockmi::tls::test
