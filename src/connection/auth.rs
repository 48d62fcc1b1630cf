//! What a connection adds to a request: [`Auth`], one variant per `type`, and [`Placement`], where
//! its values go.

use http::HeaderName;

use super::aws::Aws;
use super::oauth2::{ClientAuthentication, Grant, OAuth2};
use crate::secret::Secret;

/// A connection's credential, checked: every text in it can be sent where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A signature by AWS keys.
    Aws(Box<Aws>),
    /// `Authorization: Basic …` (RFC 7617).
    Basic(Basic),
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(Secret),
    /// Any of fields, parameters, Basic and body fields together.
    Custom(Box<Custom>),
    /// Fields by name.
    Header(Vec<Field>),
    /// Nothing.
    None,
    /// A token of an authorization server (RFC 6749).
    OAuth2(Box<OAuth2>),
    /// Query parameters by name.
    Query(Vec<Parameter>),
}

/// User name and password of `Authorization: Basic`; either may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basic {
    /// The user-id, without `:`.
    pub username: Secret,
    /// The password.
    pub password: Secret,
}

/// The parts of `type = "custom"`; each may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custom {
    /// Fields of the head.
    pub headers: Vec<Field>,
    /// Query parameters.
    pub params: Vec<Parameter>,
    /// `Authorization: Basic`.
    pub basic: Option<Basic>,
    /// Members merged into the request's content.
    pub body: Option<BodyFields>,
}

/// Members merged into the caller's content, and its one media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFields {
    /// Of `application/x-www-form-urlencoded` content.
    Form(Vec<Parameter>),
    /// Of a JSON object.
    Json(Vec<Parameter>),
}

/// A field of the head that carries a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: HeaderName,
    /// Its name in the letter case of the configuration.
    pub written: Box<str>,
    /// Its value: a valid field value.
    pub value: Secret,
}

/// A named value of the query or of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, decoded.
    pub name: Box<str>,
    /// Its value, decoded.
    pub value: Secret,
}

impl Auth {
    /// What may be wrong with it, in words, but is no mistake for sure.
    pub fn doubt(&self) -> Option<String> {
        match self {
            Self::Aws(aws) => aws.doubt(),
            _ => None,
        }
    }

    /// The name that `type` has in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Aws(aws) => aws.kind,
            Self::Basic(_) => "basic",
            Self::Bearer(_) => "bearer",
            Self::Custom(_) => "custom",
            Self::Header(_) => "header",
            Self::None => "none",
            Self::OAuth2(oauth2) => oauth2.kind,
            Self::Query(_) => "query",
        }
    }

    /// By what requests are signed, if they are.
    pub fn aws(&self) -> Option<&Aws> {
        match self {
            Self::Aws(aws) => Some(aws),
            _ => None,
        }
    }

    /// Every place that this credential fills, so that the caller's own value is taken out first.
    pub fn placement(&self) -> Placement {
        let mut placement = Placement::default();
        match self {
            Self::Aws(_) | Self::Basic(_) | Self::Bearer(_) => placement.authorization(),
            Self::Custom(custom) => {
                placement.fields(&custom.headers);
                placement.params(&custom.params);
                // Frameworks merge query and content: a second value there would be one too many.
                if let Some(BodyFields::Form(fields) | BodyFields::Json(fields)) = &custom.body {
                    placement.params(fields);
                }
                if custom.basic.is_some() {
                    placement.authorization();
                }
            }
            Self::Header(headers) => placement.fields(headers),
            Self::None => {}
            Self::OAuth2(oauth2) => placement.headers.push(oauth2.token.header.clone()),
            Self::Query(params) => placement.params(params),
        }
        placement
    }

    /// Every secret, to be replaced by what a command told.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::Aws(aws) => aws.secrets_mut(),
            Self::Basic(basic) => vec![&mut basic.username, &mut basic.password],
            Self::Bearer(token) => vec![token],
            Self::Custom(custom) => custom.secrets_mut(),
            Self::Header(headers) => headers.iter_mut().map(|field| &mut field.value).collect(),
            Self::None => Vec::new(),
            Self::OAuth2(oauth2) => oauth2.secrets_mut(),
            Self::Query(params) => params.iter_mut().map(|param| &mut param.value).collect(),
        }
    }

    /// Whether it is a value with a lifetime, which has to be renewed.
    pub fn is_renewed(&self) -> bool {
        let told = |(_, secret): &(String, &Secret)| secret.command().is_some();
        matches!(self, Self::Aws(_) | Self::OAuth2(_)) || self.secrets().iter().any(told)
    }

    /// Every secret with the key that holds it, in the order of the configuration reference.
    pub fn secrets(&self) -> Vec<(String, &Secret)> {
        match self {
            Self::Aws(aws) => aws.secrets(),
            Self::Basic(basic) => basic.secrets("").into(),
            Self::Bearer(token) => vec![("token".to_owned(), token)],
            Self::Custom(custom) => custom.secrets(),
            Self::Header(headers) => field_secrets(headers),
            Self::None => Vec::new(),
            Self::OAuth2(oauth2) => oauth2.secrets(),
            Self::Query(params) => parameter_secrets("params", params),
        }
    }
}

impl Basic {
    fn secrets(&self, under: &str) -> [(String, &Secret); 2] {
        [
            (format!("{under}username"), &self.username),
            (format!("{under}password"), &self.password),
        ]
    }
}

impl Custom {
    fn secrets(&self) -> Vec<(String, &Secret)> {
        let mut all = field_secrets(&self.headers);
        all.extend(parameter_secrets("params", &self.params));
        all.extend(self.basic.iter().flat_map(|basic| basic.secrets("basic.")));
        match &self.body {
            Some(BodyFields::Form(fields)) => all.extend(parameter_secrets("form", fields)),
            Some(BodyFields::Json(fields)) => all.extend(parameter_secrets("json", fields)),
            None => {}
        }
        all
    }
}

impl OAuth2 {
    fn secrets(&self) -> Vec<(String, &Secret)> {
        let mut all = match &self.client.authentication {
            ClientAuthentication::Basic(secret) | ClientAuthentication::Post(secret) => {
                vec![("client_secret".to_owned(), secret)]
            }
            ClientAuthentication::None | ClientAuthentication::Tls => Vec::new(),
            ClientAuthentication::PrivateKeyJwt(key) => vec![("private_key".to_owned(), &key.key)],
        };
        if let Grant::JwtBearer(bearer) = &self.grant {
            all.push(("private_key".to_owned(), &bearer.key.key));
        }
        all.extend(parameter_secrets("params", &self.params));
        all
    }
}

impl Custom {
    fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        let fields = self.headers.iter_mut().map(|field| &mut field.value);
        let params = self.params.iter_mut().map(|param| &mut param.value);
        let mut all: Vec<_> = fields.chain(params).collect();
        if let Some(basic) = &mut self.basic {
            all.extend([&mut basic.username, &mut basic.password]);
        }
        if let Some(BodyFields::Form(fields) | BodyFields::Json(fields)) = &mut self.body {
            all.extend(fields.iter_mut().map(|field| &mut field.value));
        }
        all
    }
}

impl OAuth2 {
    /// Every secret, to be replaced by what a command told.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        let mut all: Vec<_> = self
            .params
            .iter_mut()
            .map(|param| &mut param.value)
            .collect();
        match &mut self.client.authentication {
            ClientAuthentication::Basic(secret) | ClientAuthentication::Post(secret) => {
                all.push(secret);
            }
            ClientAuthentication::None | ClientAuthentication::Tls => {}
            ClientAuthentication::PrivateKeyJwt(key) => all.push(&mut key.key),
        }
        if let Grant::JwtBearer(bearer) = &mut self.grant {
            all.push(&mut bearer.key.key);
        }
        all
    }
}

fn field_secrets(fields: &[Field]) -> Vec<(String, &Secret)> {
    fields
        .iter()
        .map(|field| (format!("headers.{}", field.written), &field.value))
        .collect()
}

fn parameter_secrets<'a>(under: &str, params: &'a [Parameter]) -> Vec<(String, &'a Secret)> {
    params
        .iter()
        .map(|param| (format!("{under}.{}", param.name), &param.value))
        .collect()
}

/// The one list of places that a credential fills: stripping and injecting both read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Field names.
    pub headers: Vec<HeaderName>,
    /// Query parameter names, decoded.
    pub params: Vec<Box<str>>,
}

impl Placement {
    fn authorization(&mut self) {
        self.headers.push(http::header::AUTHORIZATION);
    }

    fn fields(&mut self, fields: &[Field]) {
        self.headers
            .extend(fields.iter().map(|field| field.name.clone()));
    }

    fn params(&mut self, params: &[Parameter]) {
        self.params
            .extend(params.iter().map(|param| param.name.clone()));
    }
}
