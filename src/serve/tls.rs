//! TLS by rustls, with certificate and key from PEM files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result, Stage, io};

/// A certificate chain with its private key.
#[derive(Clone)]
pub struct Tls(pub(super) TlsAcceptor);

impl std::fmt::Debug for Tls {
    // The private key must never be printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate chain (the server's own certificate first) and its private key from PEM files.
    ///
    /// # Errors
    /// When a file cannot be read or has no such content, the key is encrypted, or the two do not match.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self> {
        let bad = |file: &Path, problem: String| Error::new(Stage::Serve, problem).in_file(file);
        let read = |file: &Path| std::fs::read(file).map_err(|e| io(Stage::Serve, file, e));
        let chain: Vec<CertificateDer> = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| bad(certificate, format!("expected certificates as PEM: {e}")))?;
        if chain.is_empty() {
            return Err(bad(certificate, "expected certificates as PEM, found none".into()));
        }
        let pem = read(key)?;
        if is_encrypted(&pem) {
            let name = key.display();
            let hint = format!(
                "openssl pkey -in {name} -out plain.pem writes it without encryption; restrict who can read \
                 that file"
            );
            let problem = "the private key is encrypted, expected one that is not";
            return Err(bad(key, problem.into()).hint(hint));
        }
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| bad(key, format!("expected a private key as PEM: {e}")))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(certificate, e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|e| {
                bad(certificate, format!("the certificate and the private key do not match: {e}"))
            })?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Whether a key is encrypted, in PKCS #8 or in OpenSSL's traditional format.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}
