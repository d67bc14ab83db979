//! TLS by rustls: certificate and key out of PEM files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result, Stage, io};

/// A certificate with its key.
#[derive(Clone)]
pub struct Tls(pub(super) TlsAcceptor);

impl std::fmt::Debug for Tls {
    // Nothing of a private key is ever printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate (the chain, the server's own first) and its private key.
    ///
    /// # Errors
    /// When a file cannot be read, holds none, the key is encrypted, or the two do not belong together.
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
                "openssl pkey -in {name} -out plain.pem writes it without; keep that file to yourself"
            );
            let problem = "the private key is encrypted, and nobody is here to type its password";
            return Err(bad(key, problem.into()).hint(hint));
        }
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|e| bad(key, format!("expected a private key as PEM: {e}")))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(certificate, e.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|e| bad(certificate, format!("certificate and key do not fit: {e}")))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// As PKCS #8 says it, or as OpenSSL's older files do.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}
