// Checks that docs/image-format.md is true, and that an image with unknown fields is
// refused.
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "wire/control_messages.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"
#include "wire/tls_generated.h"

namespace sockmi::wire {
namespace {

using Fields = std::set<std::pair<std::string, std::string>>;  // name, type

// Returns the fields that a file's lines name, in the form of the pattern.
Fields find(const char* path, const char* pattern) {
  Fields out;
  std::ifstream in(std::filesystem::path(SOCKMI_SOURCE) / path);
  for (std::string line; std::getline(in, line);) {
    char name[64], type[64];
    if (std::sscanf(line.c_str(), pattern, name, type) == 2) out.emplace(name, type);
  }
  return out;
}

TEST(ImageFormat, DocumentAndSchemaHaveTheSameFields) {
  const Fields schema = find("src/wire/tls.fbs", "  %63[a-z0-9_]:%63[^;(];");
  EXPECT_EQ(schema.size(), TlsTypeTable()->num_elems + CertificateTypeTable()->num_elems)
      << "a field that this test's pattern does not find";
  EXPECT_EQ(find("docs/image-format.md", "| `%63[a-z0-9_]` | `%63[^`]`"), schema);
}

TEST(ImageFormat, DocumentStatesKindAndVersionOfTheEnvelope) {
  const Fields numbers = find("docs/image-format.md", "| %*d | %*d | %63[a-z] | %63[0-9]");
  EXPECT_TRUE(numbers.contains({"kind", std::to_string(kTlsKind)}));
  EXPECT_TRUE(numbers.contains({"version", std::to_string(kTlsVersion)}));
}

// Returns a Tls with a certificate in its chain. `tls` and `certificate` each add a field
// after the last one.
Secret image_with(bool tls, bool certificate) {
  WipingBuilder builder;
  const auto add_unknown = [&](const flatbuffers::TypeTable& type) {
    builder.AddElement<std::uint8_t>(
        flatbuffers::FieldIndexToOffset(static_cast<flatbuffers::voffset_t>(type.num_elems)), 1, 0);
  };
  const auto der = builder.CreateVector(std::vector<std::uint8_t>{1, 2, 3});
  const auto one = builder.StartTable();
  builder.AddOffset(Certificate::VT_DER, der);
  if (certificate) add_unknown(*CertificateTypeTable());
  const flatbuffers::Offset<Certificate> last(builder.EndTable(one));
  const auto chain = builder.CreateVector(std::vector{CreateCertificate(builder), last});
  const auto root = builder.StartTable();
  builder.AddElement<std::uint8_t>(Tls::VT_ESTABLISHED, 1, 0);
  builder.AddOffset(Tls::VT_PEER_CHAIN, chain);
  if (tls) add_unknown(*TlsTypeTable());
  builder.Finish(flatbuffers::Offset<Tls>(builder.EndTable(root)));
  return builder.take();
}

TEST(ImageFormat, AnImageWithUnknownFieldsIsRefused) {
  EXPECT_TRUE(read<Tls>(image_with(false, false)));
  EXPECT_EQ(read<Tls>(image_with(true, false)).error().code, ENOTSUP);
  EXPECT_EQ(read<Tls>(image_with(false, true)).error().code, ENOTSUP);
}

TEST(ImageFormat, AnEndpointWithUnknownFieldsIsRefused) {
  for (const bool unknown : {false, true}) {
    WipingBuilder builder;
    const auto text = builder.CreateString("10.0.0.1:1");
    const auto ip = builder.CreateVector(std::vector<std::uint8_t>{10, 0, 0, 1});
    const auto tcp_start = builder.StartTable();
    builder.AddOffset(Tcp::VT_LOCAL_IP, ip);
    builder.AddOffset(Tcp::VT_REMOTE_IP, ip);
    if (unknown)
      builder.AddElement<std::uint8_t>(
          flatbuffers::FieldIndexToOffset(
              static_cast<flatbuffers::voffset_t>(TcpTypeTable()->num_elems)),
          1, 0);
    const flatbuffers::Offset<Tcp> tcp(builder.EndTable(tcp_start));
    builder.Finish(CreateEndpointImage(builder, text, text, 0x40, tcp, 0, 0, text, text));
    const Secret bytes = builder.take();
    const auto image = read<EndpointImage>(bytes);
    ASSERT_TRUE(image);
    const auto endpoint = read_endpoint(*image);
    EXPECT_EQ(endpoint ? 0 : endpoint.error().code, unknown ? ENOTSUP : 0);
  }
}

}  // namespace
}  // namespace sockmi::wire
