//! `[auth]` and `[acl]`: who may connect, and what they may do. Read by `access`, which opens the files.
//! Holds the names of files, never what is in them.

use super::{
    ConfigError, HookSettings, IntrospectionSettings, ListenerSettings, Settings, hook, introspection,
    jwt::{self, JwtSettings},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthSettings {
    /// Whether clients without credentials may connect. Without any authentication they may on loopback addresses and
    /// unix sockets all the same. Default false.
    pub(crate) allow_anonymous: bool,
    /// Which client identifiers a client may choose. Default `any`.
    pub(crate) client_ids: ClientIdPolicy,
    /// In which order tokens, passwords, introspection and the HTTP hook are asked; the first that knows a client decides. Default
    /// `jwt`, `password`, `introspection`, `http`.
    pub(crate) order: Vec<AuthSource>,
    /// The file with who is banned: addresses, users, client identifiers; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bans_file: Option<PathBuf>,
    /// User names and passwords.
    pub(crate) password: PasswordSettings,
    /// Tokens.
    pub(crate) jwt: JwtSettings,
    /// Tokens that their issuer is asked about.
    pub(crate) introspection: IntrospectionSettings,
    /// A server that is asked.
    pub(crate) http: HookSettings,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            client_ids: ClientIdPolicy::default(),
            order: AuthSource::ALL.into(),
            bans_file: None,
            password: PasswordSettings::default(),
            jwt: JwtSettings::default(),
            introspection: IntrospectionSettings::default(),
            http: HookSettings::default(),
        }
    }
}

/// Who can say whether a client is who it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuthSource {
    /// Tokens: one that counts.
    Jwt,
    /// The password file, of the users that it has.
    Password,
    /// Introspection: a token that counts where it was issued.
    Introspection,
    /// The HTTP hook.
    Http,
}

impl AuthSource {
    /// All that there are, in the order in which they are asked where nobody says otherwise.
    const ALL: [Self; 4] = [Self::Jwt, Self::Password, Self::Introspection, Self::Http];
}

/// `[auth.password]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PasswordSettings {
    /// The password file, made with `quelea passwd`; read again when it changes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
}

/// Which client identifiers a client may choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientIdPolicy {
    /// Any, also one that somebody else has: the last one takes the session over.
    #[default]
    Any,
    /// Its user name, or that with a colon and anything behind it; who has no user name is given one.
    User,
}

/// `[acl]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AclSettings {
    /// The file with the rules; read again when it changes. What no rule allows is denied. Default none: everybody who is
    /// connected may publish and subscribe to everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// The same in the form of Mosquitto's `acl_file`; one of the two. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mosquitto_file: Option<PathBuf>,
}

impl AuthSettings {
    /// Whether clients have a way to show who they are.
    pub(crate) fn is_configured(&self) -> bool {
        self.password.file.is_some()
            || self.jwt.is_configured()
            || self.introspection.url.is_some()
            || self.http.url.is_some()
    }
}

/// Refuses what does not go together.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    let (auth, acl) = (&settings.auth, &settings.acl);
    jwt::check(&auth.jwt)?;
    hook::check(&auth.http)?;
    introspection::check(&auth.introspection)?;
    check_order(auth)?;
    let certificates = settings.listener.values().any(ListenerSettings::names_clients);
    if auth.client_ids == ClientIdPolicy::User && !auth.is_configured() && !certificates {
        let expected = "\"any\", as no authentication is configured (auth.password.file, auth.jwt, auth.introspection, auth.http, listener.NAME.tls.user_name_from)";
        return Err(ConfigError::value("auth.client_ids", "\"user\"", expected));
    }
    if let (Some(_), Some(path)) = (&acl.file, &acl.mosquitto_file) {
        let expected = "nothing, as acl.file is set: the rules are in one file";
        return Err(ConfigError::value("acl.mosquitto_file", &format!("{path:?}"), expected));
    }
    let files = [
        ("auth.password.file", &auth.password.file),
        ("auth.bans_file", &auth.bans_file),
        ("auth.jwt.secret_file", &auth.jwt.secret_file),
        ("auth.jwt.keys_file", &auth.jwt.keys_file),
        ("auth.jwt.jwks_ca", &auth.jwt.jwks_ca),
        ("auth.introspection.ca", &auth.introspection.ca),
        ("auth.introspection.client_secret_file", &auth.introspection.client_secret_file),
        ("auth.http.ca", &auth.http.ca),
        ("auth.http.headers_file", &auth.http.headers_file),
        ("acl.file", &acl.file),
        ("acl.mosquitto_file", &acl.mosquitto_file),
    ];
    let empty = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.as_os_str().is_empty());
    match files.into_iter().find(|(_, path)| empty(path)) {
        Some((key, _)) => Err(ConfigError::value(key, "\"\"", "the path of a file")),
        None => Ok(()),
    }
}

/// Refuses an order in which somebody is asked twice, or never.
fn check_order(auth: &AuthSettings) -> Result<(), ConfigError> {
    // Who is not asked anyway need not be named, as it was before there was such a thing.
    let is_spare = |source| source == AuthSource::Introspection && auth.introspection.url.is_none();
    let is_wrong = |source: &AuthSource| match auth.order.iter().filter(|one| *one == source).count() {
        0 => !is_spare(*source),
        count => count > 1,
    };
    if !AuthSource::ALL.iter().any(is_wrong) {
        return Ok(());
    }
    let value = format!("{:?}", auth.order).to_lowercase();
    let expected = "jwt, password, introspection (where it is configured) and http, each once, in any order";
    Err(ConfigError::value("auth.order", &value, expected))
}

impl Settings {
    /// Gives the optional keys of these sections a value, for [`Settings::sample`].
    pub(super) fn sample_access(&mut self) {
        self.auth.password.file = Some(PathBuf::new());
        self.auth.bans_file = Some(PathBuf::new());
        self.auth.jwt = JwtSettings::sample();
        self.auth.introspection = IntrospectionSettings::sample();
        self.auth.http = HookSettings::sample();
        self.acl = AclSettings { file: Some(PathBuf::new()), mosquitto_file: Some(PathBuf::new()) };
    }
}
