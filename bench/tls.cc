// Measures what TLS costs: saving an SSL's state and loading it into another SSL, and the
// throughput of records with the provider in the path. Prints one JSON object.
#include <cstring>

#include <nlohmann/json.hpp>

#include "tls_connection.h"

using namespace sockmi::bench;

namespace {

constexpr int kLoads = 400, kPairs = 31;
constexpr auto kSlice = std::chrono::milliseconds(50);
constexpr const char* kSuites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                   "TLS_CHACHA20_POLY1305_SHA256"};

struct Costs {
  double save, load;
  int bytes;
};

Costs image_costs(int version, const char* suite) {
  Connection connection(version, suite, true);
  std::vector<double> saves, loads;
  SslPtr last;
  int bytes = 0;
  for (int i = 0; i < kLoads; ++i) {
    void* image = nullptr;
    int size = -1;
    saves.push_back(
        time_of([&] { size = save_ssl(&image, connection.server(), SOCKMI_SERVER_ESTABLISHED); }));
    must(size > 0, sockmi_last_error());
    bytes = size;
    last = connection.fresh_server();
    int loaded = -1;
    loads.push_back(time_of([&] {
      loaded =
          load_ssl(image, static_cast<std::size_t>(size), last.get(), SOCKMI_SERVER_ESTABLISHED);
    }));
    must(loaded == 0, sockmi_last_error());
    sockmi_image_free(image, static_cast<std::size_t>(size));
  }
  connection.replace_server(std::move(last));
  return {median(saves), median(loads), bytes};
}

// Runs of both kinds alternate, so that noise of the machine affects both.
double throughput_ratio(const char* suite, std::size_t size) {
  Connection with(TLS1_3_VERSION, suite, true), without(TLS1_3_VERSION, suite, false);
  std::vector<double> ratios;
  for (int i = 0; i < kPairs; ++i) {
    const bool first = i % 2 == 0;
    const double one = (first ? with : without).throughput(size, kSlice),
                 other = (first ? without : with).throughput(size, kSlice);
    ratios.push_back(first ? one / other : other / one);
  }
  return median(ratios);
}
double worst_ratio(std::size_t size) {
  double worst = 1e9;
  for (const char* suite : kSuites)
    worst = std::min(worst, throughput_ratio(suite, size));
  return worst;
}

}  // namespace

int main() {
  const auto tls13 = image_costs(TLS1_3_VERSION, kSuites[0]),
             tls12 = image_costs(TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256");
  const nlohmann::json out{
      {"image_tls13_bytes", tls13.bytes},    {"save_ssl_p50_us", tls13.save},
      {"load_ssl_tls13_p50_us", tls13.load}, {"load_ssl_tls12_p50_us", tls12.load},
      {"tls_64_ratio", worst_ratio(64)},     {"tls_1k_ratio", worst_ratio(1024)},
      {"tls_16k_ratio", worst_ratio(16384)}};
  std::puts(out.dump().c_str());
}
