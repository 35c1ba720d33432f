//! TLS for the server's connections, with a certificate that is read again when its files have changed.

use std::fs::Metadata;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client has for the handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and what signed it, in PEM.
    pub certificates: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is no PEM.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The two do not belong together, or cannot be used.
    #[error("cannot use the certificate in {}", .path.display())]
    Use {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

/// Answers handshakes with the newest certificate.
#[derive(Debug)]
pub(super) struct Tls {
    files: Certificate,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    stamp: Stamp,
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current")
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

/// What tells one state of the files from another.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    pub(super) fn load(files: Certificate) -> Result<Tls, TlsError> {
        let current = Current {
            stamp: stamp(&files),
            config: read(&files)?,
        };
        Ok(Tls {
            files,
            current: Mutex::new(current),
        })
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.config());
        tokio::time::timeout(PATIENCE, acceptor.accept(tcp))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Two looks at the directory for each connection; files that are not whole yet leave the old certificate in use.
    fn config(&self) -> Arc<ServerConfig> {
        let stamp = stamp(&self.files);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.stamp != stamp {
            match read(&self.files) {
                Ok(config) => {
                    tracing::info!(path = %self.files.certificates.display(), "certificate read again");
                    *current = Current { stamp, config };
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the old certificate stays in use");
                    current.stamp = stamp;
                }
            }
        }
        Arc::clone(&current.config)
    }
}

/// An error with what caused it.
struct Chain<'a>(&'a TlsError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        match std::error::Error::source(self.0) {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

fn stamp(files: &Certificate) -> Stamp {
    let of = |metadata: Metadata| Some((metadata.modified().ok()?, metadata.len()));
    [&files.certificates, &files.key].map(|path| std::fs::metadata(path).ok().and_then(of))
}

fn read(files: &Certificate) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source: rustls::pki_types::pem::Error| TlsError::Read {
            path,
            source: source.into(),
        }
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(&files.certificates))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(unreadable(&files.key))?;
    let refused = |source| TlsError::Use {
        path: files.certificates.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(refused)?;
    // The protocols that are upgraded to are spoken by the first HTTP only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
