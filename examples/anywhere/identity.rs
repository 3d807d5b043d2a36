//! The store's TLS identity: a self-signed certificate, generated for each start.
//!
//! It has a one-line text form, in which it is passed to another process.

use std::sync::Arc;

use virtnet::os::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Makes one for this machine.
pub(crate) fn generate() -> Identity {
    let certified_key = rcgen::generate_simple_self_signed(["127.0.0.1".to_string()]);
    let certified_key = certified_key.expect("an address is a name");
    let (certificate, key) =
        (certified_key.cert.der().to_vec(), certified_key.signing_key.serialize_der());
    Identity { certificate, key }
}

impl Identity {
    /// Writes it as one line.
    pub(crate) fn to_line(&self) -> String {
        let encode_hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        format!("{} {}\n", encode_hex(&self.certificate), encode_hex(&self.key))
    }

    /// Reads it again.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let decode_hex = |hex: &str| -> Option<Vec<u8>> {
            let byte_at = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
            (0..hex.len()).step_by(2).map(byte_at).collect()
        };
        let (certificate, key) = line.trim_end().split_once(' ')?;
        Some(Self { certificate: decode_hex(certificate)?, key: decode_hex(key)? })
    }

    /// What a client trusts: this and nothing else.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone().into())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions()?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    }

    /// Who a server is.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
        let key =
            self.key.clone().try_into().map_err(|why: &str| rustls::Error::General(why.into()));
        Ok(Arc::new(config.with_single_cert(vec![self.certificate.clone().into()], key?)?))
    }
}
