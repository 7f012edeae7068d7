// httpsd: an HTTPS file server whose live connections can all move to another instance of
// it, at any moment.
#include <CLI/CLI.hpp>

#include "server.h"

int main(int argc, char** argv) {
  httpsd::Options options;
  CLI::App app{
      "An HTTPS/1.1 file server whose live connections move between hosts. SIGUSR1 exports them "
      "all.",
      "httpsd"};
  app.add_option("--listen", options.listen, "ADDRESS:PORT");
  app.add_option("--root", options.root, "folder of the files")->capture_default_str();
  app.add_option("--cert", options.cert, "certificate chain, PEM")->required();
  app.add_option("--key", options.key, "private key, PEM")->required();
  app.add_option("--service", options.service, "under which connections are exported and imported")
      ->capture_default_str();
  app.add_option("--name", options.name, "for the Server header")->capture_default_str();
  app.add_flag("--no-listen", options.no_listen, "only import");
  CLI11_PARSE(app, argc, argv);
  httpsd::Server server(options);
  return server.start() ? server.run() : 1;
}
