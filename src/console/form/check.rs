//! Whether a draft is good: read with the whole configuration, by the configuration's own rules.

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::{Host, Url};
use zeroize::Zeroizing;

use super::draft::{Draft, Reference, To};
use super::fields::{NAME, TYPE};
use super::overlay::{Overlay, WITHHELD};
use super::text::toml;
use super::told::{Missing, Told};
use crate::config::diagnostic::Diagnostic;
use crate::config::shape::is_variable_name;
use crate::config::source::{FileKind, Location, Outside};
use crate::config::{self, Config, Edit};
use crate::connection::Connection;
use crate::connection::auth::Auth;
use crate::connection::aws::Source;
use crate::connection::oauth2::Grant;

/// Where a draft stands, as far as its file's name is asked for: nothing is there.
const PLACE: &str = "(draft)";

/// What is known of a draft.
pub(super) struct Checked {
    pub(super) toml: Zeroizing<String>,
    /// Everything that is wrong.
    pub(super) errors: Vec<Told>,
    /// What the running instance does not have.
    pub(super) missing: Vec<Missing>,
    /// What may be wrong, and is no mistake for sure.
    pub(super) warnings: Vec<String>,
    /// It can be tried; or why not, if nothing is wrong with it.
    pub(super) ready: Result<Ready, Option<String>>,
}

/// A draft that can be tried.
pub(super) struct Ready {
    /// The whole configuration, its connections included.
    pub(super) config: Config,
    pub(super) connection: Arc<Connection>,
}

/// The configuration that a draft is checked with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) location: &'a Location,
    pub(super) outside: &'a dyn Outside,
    pub(super) edit: Edit,
}

/// Checks a draft, what was typed in taken for what it stands for. `errors` are those that its shape
/// has. Reads files, and so blocks.
///
/// Where the console may not edit, nothing of this machine is given to a draft: whoever writes one could
/// have it sent to a server of theirs.
pub(super) fn check(
    draft: &Draft,
    mut errors: Vec<Told>,
    surroundings: Surroundings<'_>,
) -> Checked {
    let text = toml(draft);
    let mut world = World::new(surroundings);
    let references = draft.references();
    for reference in &references {
        let value = draft.values.get(&reference.field).cloned();
        world.refer(reference, value, &mut errors);
    }
    let place = folder(surroundings.location).join(PLACE);
    let (config, diagnostics) = config::load_with(
        surroundings.location,
        &world.overlay,
        place.clone(),
        text.clone(),
    );
    let diagnostics = diagnostics.iter().flat_map(|all| all.as_slice());
    let ours = diagnostics.filter(|diagnostic| diagnostic.file() == place);
    // What is no value at all was told, and is not there for the configuration.
    let told_before: Vec<_> = errors
        .iter()
        .filter_map(|told| told.field.clone())
        .collect();
    let mut is_whole = true;
    for diagnostic in ours {
        is_whole = false;
        let field = field(diagnostic.key(), &draft.name, &references);
        if !told_before.contains(&field) && !world.explains(&field, diagnostic) {
            let told = Told::at(&field, diagnostic.message());
            errors.push(told.hint(diagnostic.hint()));
        }
    }
    errors.extend(elsewhere(surroundings));
    let connection = config.connections.iter().find(|it| *it.name == *draft.name);
    let connection = connection
        .filter(|_| is_whole && errors.is_empty())
        .cloned();
    let ready = match (connection, world.obstacle()) {
        _ if !errors.is_empty() => Err(None),
        (_, Some(obstacle)) => Err(Some(obstacle)),
        (None, None) => Err(None),
        (Some(connection), None) => match spends(&connection, draft, surroundings.edit) {
            Some(obstacle) => Err(Some(obstacle)),
            None => Ok(Ready { config, connection }),
        },
    };
    let warnings = match &ready {
        Ok(ready) => ready.connection.auth.doubt().into_iter().collect(),
        Err(_) => Vec::new(),
    };
    Checked {
        toml: text,
        errors,
        missing: world.missing,
        warnings,
        ready,
    }
}

/// What is wrong with the configuration without the draft.
fn elsewhere(surroundings: Surroundings<'_>) -> Vec<Told> {
    let loaded = config::load(surroundings.location, surroundings.outside);
    let Err(wrong) = loaded.result else {
        return Vec::new();
    };
    let told = wrong.as_slice().iter().map(|diagnostic| {
        let file = diagnostic.file().display();
        let place = match diagnostic.position() {
            Some((line, column)) => format!("{file}:{line}:{column}"),
            None => file.to_string(),
        };
        let message = format!(
            "the configuration as it stands is invalid: {place}: {}",
            diagnostic.message()
        );
        Told::elsewhere(message).hint(diagnostic.hint())
    });
    told.collect()
}

/// Where the relative paths of a draft lead from.
pub(super) fn folder(location: &Location) -> &Path {
    match location {
        Location::Embedded => Path::new(""),
        Location::File(path) => path.parent().unwrap_or(Path::new("")),
        Location::Folder(path) => path,
    }
}

/// The field that a key of the configuration belongs to.
fn field(key: Option<&str>, name: &str, references: &[Reference<'_>]) -> String {
    let below = format!("connections.{name}");
    let rest = key
        .and_then(|key| key.strip_prefix(&below))
        .unwrap_or_default();
    let Some(path) = rest.strip_prefix('.') else {
        return NAME.to_owned();
    };
    if path == "auth" {
        return TYPE.to_owned();
    }
    // Parts of a secret are no fields of their own.
    let whole = path.rsplit_once('.').filter(|(whole, part)| {
        ["env", "file", "format"].contains(part)
            && references.iter().any(|reference| reference.field == *whole)
    });
    whole.map_or(path, |(whole, _)| whole).to_owned()
}

/// Why a connection cannot be tried by whoever may not edit: it would be given what is this machine's, or
/// would have something asked here that only this machine can ask.
fn spends(connection: &Connection, draft: &Draft, edit: Edit) -> Option<String> {
    if edit == Edit::Allowed {
        return None;
    }
    let has = |key: &str| draft.entries.iter().any(|(field, _)| field.key == key);
    let is_own = has("tls.client_certificate") || has("tls.client_identity");
    if connection.tls.client.is_some() && !is_own {
        return Some(obstacle("the client certificate of `[defaults.tls]`"));
    }
    match &connection.auth {
        Auth::OAuth2(oauth2) if !matches!(oauth2.grant, Grant::AuthorizationCode(_)) => {
            local("token endpoint", oauth2.token_url.as_ref())
        }
        Auth::Aws(aws) => {
            let mut roles = aws.source.roles();
            if let Some(why) = roles.find_map(|role| local("STS", role.sts_endpoint.as_ref())) {
                return Some(why);
            }
            let last = aws.source.roles().last();
            let ends = last.map_or(&aws.source, |role| &role.source);
            (*ends == Source::Default).then(|| obstacle("what AWS SDKs find on this machine"))
        }
        _ => None,
    }
}

/// What stands in the way of asking an endpoint, by POST, on this machine: other connections of ours are
/// there, and what trusts all that is local.
fn local(what: &str, endpoint: Option<&Url>) -> Option<String> {
    let is_local = match endpoint?.host() {
        Some(Host::Domain(name)) => is_localhost(name.trim_end_matches('.')),
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_unspecified(),
        Some(Host::Ipv6(address)) => match address.to_canonical() {
            IpAddr::V4(address) => address.is_loopback() || address.is_unspecified(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unspecified(),
        },
        None => true,
    };
    is_local.then(|| {
        format!(
            "its {what} is on the machine that keybearer runs on, where a draft asks for nothing; set `allow_edit = true` in `[admin]` to try it"
        )
    })
}

/// RFC 6761 section 6.3: `localhost` and all names below it.
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

fn obstacle(what: &str) -> String {
    format!(
        "it would be given {what}, which a draft is not: give the value itself to try it, or set `allow_edit = true` in `[admin]`"
    )
}

/// What a draft may see.
struct World<'a> {
    surroundings: Surroundings<'a>,
    overlay: Overlay<'a>,
    missing: Vec<Missing>,
    /// The fields of what is withheld, though it is there.
    withheld: Vec<String>,
    /// The fields of what is neither there nor given.
    lacking: Vec<String>,
}

impl<'a> World<'a> {
    fn new(surroundings: Surroundings<'a>) -> Self {
        Self {
            surroundings,
            overlay: Overlay::new(surroundings.outside),
            missing: Vec::new(),
            withheld: Vec::new(),
            lacking: Vec::new(),
        }
    }

    /// Sees to what is at the end of a reference.
    fn refer(
        &mut self,
        reference: &Reference<'_>,
        value: Option<Zeroizing<Vec<u8>>>,
        errors: &mut Vec<Told>,
    ) {
        let field = &reference.field;
        let is_there = match reference.to {
            To::Env(name) => self.has_variable(field, name),
            To::File(path) => match self.has_file(field, path) {
                Ok(is_there) => is_there,
                Err(told) if value.is_none() => return errors.push(told),
                Err(_) => true,
            },
        };
        match (reference.to, value) {
            (To::Env(name), Some(value)) => self.overlay.set_variable(name, value),
            (To::File(path), Some(value)) => self.overlay.set_file(self.path(path), value),
            _ if is_there && self.surroundings.edit == Edit::Allowed => {}
            (to, None) => {
                match to {
                    To::Env(name) => self.overlay.withhold_variable(name),
                    To::File(path) => self.overlay.withhold_file(self.path(path)),
                }
                let fields = match is_there {
                    true => &mut self.withheld,
                    false => &mut self.lacking,
                };
                fields.push(field.clone());
            }
        }
    }

    fn path(&self, written: &str) -> PathBuf {
        folder(self.surroundings.location).join(written)
    }

    /// Whether there is such a variable; a name that is none is told of by the configuration.
    fn has_variable(&mut self, field: &str, name: &str) -> bool {
        if !is_variable_name(name) {
            return true;
        }
        let found = self.surroundings.outside.variable(name);
        let how = match found.as_deref().map(OsStr::is_empty) {
            None => "is not set",
            Some(true) => "is empty",
            Some(false) => return true,
        };
        self.missing
            .push(Missing::variable(field.to_owned(), name, how));
        false
    }

    /// Whether there is such a file.
    fn has_file(&mut self, field: &str, written: &str) -> Result<bool, Told> {
        let refuse = |why: &str| Err(Told::at(field, format!("`{written}` {why}")));
        if written.is_empty() {
            return Err(Told::at(field, "names no file"));
        }
        match self.surroundings.outside.kind(&self.path(written)) {
            Ok(FileKind::File) => Ok(true),
            Ok(FileKind::Folder) => refuse("is a folder, where a file is needed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.push(Missing::file(field.to_owned(), written));
                Ok(false)
            }
            Err(error) => refuse(&format!("cannot be read: {error}")),
        }
    }

    /// Whether a diagnostic says no more than that something is missing or withheld.
    fn explains(&self, field: &str, diagnostic: &Diagnostic) -> bool {
        let mut known = self.withheld.iter().chain(&self.lacking);
        let message = diagnostic.message();
        let is_absence = message.ends_with(WITHHELD)
            || message.starts_with("environment variable") && message.ends_with("is not set");
        is_absence && known.any(|known| known == field)
    }

    /// Why it cannot be tried.
    fn obstacle(&self) -> Option<String> {
        if let Some(field) = self.lacking.first() {
            return Some(format!(
                "`{field}` is not there yet: give the value itself to try it"
            ));
        }
        let field = self.withheld.first()?;
        Some(obstacle(&format!("what `{field}` names on this machine")))
    }
}
