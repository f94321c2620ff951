//! Which TLS settings need each other.

use super::load::Reader;
use super::settings::{ClientTlsSettings, ServerTlsSettings, Settings};
use super::{AuthType, ClientSslMode};

/// No files.
impl Default for ServerTlsSettings {
    fn default() -> Self {
        Self { server_tls_ca_file: None, server_tls_cert_file: None, server_tls_key_file: None }
    }
}

impl ClientTlsSettings {
    /// The mode that holds: `prefer` if there is a certificate and nothing else is said.
    #[must_use]
    pub fn mode(&self) -> ClientSslMode {
        let unsaid =
            if self.client_tls_cert_file.is_some() { ClientSslMode::Prefer } else { ClientSslMode::Disable };
        self.client_tls_sslmode.unwrap_or(unsaid)
    }
}

pub(super) fn check(settings: &Settings, reader: &mut Reader<'_>) {
    clients(settings, reader);
    let tls = &settings.server_tls;
    match (&tls.server_tls_cert_file, &tls.server_tls_key_file) {
        (Some(_), None) => {
            reader.refuse("server_tls", "server_tls_cert_file", "needs server_tls_key_file beside it");
        }
        (None, Some(_)) => {
            reader.refuse("server_tls", "server_tls_key_file", "needs server_tls_cert_file beside it");
        }
        _ => {}
    }
    let replicas = settings.replicas.iter().map(|url| ("replicas", url));
    for (key, url) in std::iter::once(("primary", &settings.primary)).chain(replicas) {
        for (keyword, path) in url.ssl.files().filter(|(_, path)| !path.exists()) {
            reader.refuse(
                "",
                key,
                &format!("has an {keyword} that names no file that exists: {}", path.display()),
            );
        }
    }
}

fn clients(settings: &Settings, reader: &mut Reader<'_>) {
    let tls = &settings.client_tls;
    match (&tls.client_tls_cert_file, &tls.client_tls_key_file) {
        (Some(_), None) => {
            reader.refuse("client_tls", "client_tls_cert_file", "needs client_tls_key_file beside it");
        }
        (None, Some(_)) => {
            reader.refuse("client_tls", "client_tls_key_file", "needs client_tls_cert_file beside it");
        }
        (None, None) if tls.mode() != ClientSslMode::Disable => {
            reader.refuse(
                "client_tls",
                "client_tls_sslmode",
                "needs client_tls_cert_file and client_tls_key_file",
            );
        }
        _ => {}
    }
    if tls.mode().wants_certificate() && tls.client_tls_ca_file.is_none() {
        reader.refuse("client_tls", "client_tls_sslmode", "needs client_tls_ca_file");
    }
    if settings.auth.auth_type == AuthType::Cert && !tls.mode().wants_certificate() {
        reader.refuse("auth", "auth_type", "is \"cert\": that needs client_tls_sslmode = \"verify-full\"");
    }
}
