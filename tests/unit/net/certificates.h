// Certificates for tests, made with the openssl command in a temporary directory: one CA, another
// that nobody trusts, and leaves that are good, expired, for another host, or for clients.
#pragma once

#include <stdexcept>
#include <string>

#include "core/endpoint.h"
#include "tests/support/process.h"

namespace exodus::test {

class Certificates {
  public:
    Certificates() {
        authority("ca");
        authority("other-ca");
        leaf("good", "ca", "subjectAltName=DNS:db.example,DNS:localhost,IP:127.0.0.1",
             "CN=db.example");
        leaf("wrong-host", "ca", "subjectAltName=DNS:elsewhere.example", "CN=elsewhere.example");
        leaf("expired", "ca", "subjectAltName=DNS:db.example,IP:127.0.0.1", "CN=db.example", true);
        leaf("foreign", "other-ca", "subjectAltName=DNS:db.example,IP:127.0.0.1", "CN=db.example");
        leaf("client", "ca", "extendedKeyUsage=clientAuth", "CN=app");
    }
    [[nodiscard]] std::string file(const std::string& name) const { return directory_.file(name); }
    [[nodiscard]] TlsSettings server(const std::string& leaf_name,
                                     const std::string& ca = {}) const {
        TlsSettings settings;
        settings.enabled = true;
        settings.cert_file = file(leaf_name + ".pem");
        settings.key_file = file(leaf_name + ".key");
        if (!ca.empty()) settings.ca_file = file(ca + ".pem");
        return settings;
    }
    [[nodiscard]] TlsSettings client(const std::string& leaf_name = {}) const {
        TlsSettings settings;
        settings.enabled = true;
        settings.ca_file = file("ca.pem");
        if (!leaf_name.empty()) {
            settings.cert_file = file(leaf_name + ".pem");
            settings.key_file = file(leaf_name + ".key");
        }
        return settings;
    }

  private:
    void openssl(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), "openssl");
        const RunResult result = run(arguments, milliseconds(20'000));
        if (result.code != 0) throw std::runtime_error("openssl: " + result.err + result.out);
    }
    void authority(const std::string& name) {
        openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-days", "30", "-subj", "/CN=" + name, "-keyout", file(name + ".key"),
                 "-out", file(name + ".pem")});
    }
    void leaf(const std::string& name, const std::string& ca, const std::string& extension,
              const std::string& subject, bool expired = false) {
        openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-subj", "/" + subject, "-keyout", file(name + ".key"), "-out",
                 file(name + ".csr")});
        write_file(file(name + ".ext"), extension + "\n");
        // A negative number of days puts the end before the start of today.
        openssl({"x509", "-req", "-in", file(name + ".csr"), "-CA", file(ca + ".pem"), "-CAkey",
                 file(ca + ".key"), "-CAcreateserial", "-days", expired ? "-1" : "30", "-extfile",
                 file(name + ".ext"), "-out", file(name + ".pem")});
    }
    TempDir directory_;
};

/// One set for the whole executable: making them takes a second.
inline const Certificates& certificates() {
    static const Certificates made;
    return made;
}

}  // namespace exodus::test
