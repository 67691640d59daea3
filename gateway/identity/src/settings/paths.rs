//! Where a provider's relative paths start from.

use std::path::{Path, PathBuf};

use super::client_authentication::ClientAuthenticationSettings as Authentication;
use super::oidc::OidcSettings;

impl OidcSettings {
    /// Makes every path in it start from `base`, unless it is absolute.
    pub fn start_paths_from(&mut self, base: &Path) {
        let start = |path: &mut PathBuf| *path = base.join(&*path);
        self.ca_file.iter_mut().for_each(start);
        let Some(introspection) = &mut self.introspection else {
            return;
        };
        if let Some(files) = &mut introspection.client_certificate {
            start(&mut files.certificate_file);
            start(&mut files.key_file);
        }
        match &mut introspection.authentication {
            Authentication::ClientSecretBasic(secret) | Authentication::ClientSecretPost(secret) => {
                secret.secret_file.iter_mut().for_each(start);
            }
            Authentication::PrivateKeyJwt(key) => start(&mut key.key_file),
            Authentication::TlsClientAuth => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_starts_from_the_configuration() {
        let provider = |authentication: &str| {
            let yaml = format!(
                "name: corp\nissuer: https://login.example\naudiences: [nats]\nca_file: ca.pem\nintrospection:\n  client_id: n\n  \
                 client_certificate: {{ certificate_file: c.pem, key_file: /k.pem }}\n  authentication:\n    {authentication}\n"
            );
            let mut settings: OidcSettings = serde_saphyr::from_str(&yaml).unwrap();
            settings.start_paths_from(Path::new("/base"));
            settings
        };
        for (authentication, file) in [
            ("client_secret_basic: { secret_file: s }", "/base/s"),
            ("client_secret_post: { secret_file: /s }", "/s"),
            ("private_key_jwt: { key_file: key.pem }", "/base/key.pem"),
        ] {
            let settings = provider(authentication);
            assert_eq!(settings.ca_file, Some("/base/ca.pem".into()));
            let introspection = settings.introspection.unwrap();
            let files = introspection.client_certificate.unwrap();
            assert_eq!(files.certificate_file, Path::new("/base/c.pem"));
            assert_eq!(files.key_file, Path::new("/k.pem"));
            let found = match introspection.authentication {
                Authentication::ClientSecretBasic(secret) | Authentication::ClientSecretPost(secret) => {
                    secret.secret_file
                }
                Authentication::PrivateKeyJwt(key) => Some(key.key_file),
                Authentication::TlsClientAuth => None,
            };
            assert_eq!(found, Some(file.into()));
        }
    }
}
