// SPDX-License-Identifier: MIT OR Apache-2.0
//! The array's key and self-signed certificate, made at the first start. Hosts pin the key: losing it means enrolling
//! every host again, so the file that holds it is the one to back up.

use crate::durable_file;
use array_api::{KeyPin, key_pin_of_certificate};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KEY_FILE: &str = "tls-key.pem";
const CERTIFICATE_FILE: &str = "tls-cert.pem";

/// What the HTTPS listener needs.
pub(crate) struct ServerKey {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) pin: KeyPin,
}

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system refused.
    #[error(
        "{path} cannot be used: {source} (check its permissions and the space of its file system)"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not a key, not a certificate, or not of each other.
    #[error(
        "{path} is not usable: {reason} (restore it from a backup; or delete tls-cert.pem to have it made anew from \
         the key; deleting tls-key.pem too makes a new key, with which every host has to be added again)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

/// Reads key and certificate of `state_dir`, or makes what is missing.
pub(crate) fn load_or_create(state_dir: &Path) -> Result<ServerKey, KeyError> {
    let key_path = state_dir.join(KEY_FILE);
    let certificate_path = state_dir.join(CERTIFICATE_FILE);
    let key_pem = read_or_make(&key_path, || {
        KeyPair::generate().map(|pair| pair.serialize_pem())
    })?;
    let certificate_pem = read_or_make(&certificate_path, || {
        let pair = KeyPair::from_pem(&key_pem)?;
        let params = CertificateParams::new(vec!["shadowlun".to_owned()])?;
        Ok(params.self_signed(&pair)?.pem())
    })?;
    let malformed = |path: &Path, reason: String| KeyError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|error| malformed(&key_path, error.to_string()))?;
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(|error| malformed(&certificate_path, error.to_string()))?;
    let pin = key_pin_of_certificate(&certificate)
        .ok_or_else(|| malformed(&certificate_path, "it is no X.509 certificate".to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring's provider speaks TLS 1.3")
        .with_no_client_auth()
        // Refuses a certificate of another key.
        .with_single_cert(vec![certificate], key)
        .map_err(|error| malformed(&certificate_path, error.to_string()))?;
    Ok(ServerKey {
        config: Arc::new(config),
        pin,
    })
}

fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<String, rcgen::Error>,
) -> Result<String, KeyError> {
    let io = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make().map_err(|error| KeyError::Malformed {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
            durable_file::replace(path, text.as_bytes()).map_err(io)?;
            Ok(text)
        }
        Err(error) => Err(io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_stays_the_same_over_restarts_and_a_lost_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap().pin;
        assert_eq!(load_or_create(dir.path()).unwrap().pin, first);
        std::fs::remove_file(dir.path().join(CERTIFICATE_FILE)).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap().pin, first);
    }

    #[test]
    fn key_of_another_certificate_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        load_or_create(a.path()).unwrap();
        load_or_create(b.path()).unwrap();
        let foreign = b.path().join(CERTIFICATE_FILE);
        std::fs::copy(foreign, a.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(matches!(
            load_or_create(a.path()),
            Err(KeyError::Malformed { .. })
        ));
    }
}
