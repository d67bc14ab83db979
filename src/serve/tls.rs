//! TLS by rustls: certificate and key out of PEM files.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result, Stage};

/// An acceptor with this certificate (the chain, the server's own first) and private key.
///
/// # Errors
/// When a file cannot be read, holds none, or the two do not belong together.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let bad = |file: &Path, problem: String| Error::new(Stage::Serve, problem).in_file(file);
    let chain: Vec<CertificateDer> =
        CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|e| bad(certificate, format!("expected certificates as PEM: {e}")))?;
    if chain.is_empty() {
        return Err(bad(certificate, "expected certificates as PEM, found none".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| bad(key, format!("expected a private key as PEM: {e}")))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(certificate, e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| bad(certificate, format!("certificate and key do not fit: {e}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
