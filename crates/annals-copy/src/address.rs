//! Addresses: the text that names a place on the command line.
//!
//! Owns the notation. A text with a scheme is a server, any other is a directory.

use std::path::PathBuf;

use annals::Options;

use crate::{Directory, Error, Source, Target};

/// The address of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A store in a directory.
    Directory(PathBuf),
    /// Something on a server, and its scheme.
    Server {
        /// The scheme, such as `postgres`.
        scheme: String,
        /// The whole address.
        url: String,
    },
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        match text.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => {
                Self::Server { scheme: scheme.to_ascii_lowercase(), url: text.to_owned() }
            }
            _ => Self::Directory(text.into()),
        }
    }
}

/// One letter is a drive on Windows.
fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
}

impl Address {
    /// Opens the place to copy from it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a scheme that is unknown or was left out of this build; those of the place.
    pub fn source(&self) -> Result<Box<dyn Source>, Error> {
        match self {
            Self::Directory(path) => Ok(Box::new(Directory::source(path)?)),
            #[cfg(feature = "postgres")]
            Self::Server { scheme, url } if is_postgres(scheme) => {
                if crate::postgres::Parameters::of(url)?.table.is_some() {
                    return Ok(Box::new(crate::Classic::source(url)?));
                }
                Ok(Box::new(crate::Postgres::source(url)?))
            }
            #[cfg(feature = "nats")]
            Self::Server { scheme, url } if is_nats(scheme) => {
                Ok(Box::new(crate::Nats::source(url)?))
            }
            Self::Server { scheme, url } => Err(unknown(scheme, url)),
        }
    }

    /// Opens the place to copy to it. A new directory has these options.
    ///
    /// # Errors
    ///
    /// Those of [`Address::source`].
    pub fn target(&self, options: Options) -> Result<Box<dyn Target>, Error> {
        match self {
            Self::Directory(path) => Ok(Box::new(Directory::target_with(path, options)?)),
            #[cfg(feature = "postgres")]
            Self::Server { scheme, url } if is_postgres(scheme) => {
                if crate::postgres::Parameters::of(url)?.table.is_some() {
                    let what = "a table of another program is only read".to_owned();
                    return Err(Error::Unsupported { place: without_password(url), what });
                }
                Ok(Box::new(crate::Postgres::target(url)?))
            }
            #[cfg(feature = "nats")]
            Self::Server { scheme, url } if is_nats(scheme) => {
                Ok(Box::new(crate::Nats::target(url)?))
            }
            Self::Server { scheme, url } => Err(unknown(scheme, url)),
        }
    }
}

#[cfg(feature = "nats")]
fn is_nats(scheme: &str) -> bool {
    matches!(scheme, "nats" | "tls")
}

#[cfg(feature = "postgres")]
fn is_postgres(scheme: &str) -> bool {
    matches!(scheme, "postgres" | "postgresql")
}

fn unknown(scheme: &str, url: &str) -> Error {
    let known =
        [("postgres", "postgres"), ("postgresql", "postgres"), ("nats", "nats"), ("tls", "nats")];
    let what = match known.iter().find(|(known, _)| *known == scheme) {
        Some((_, feature)) => format!(
            "this program was built without the feature {feature:?}: install it with \
             cargo install annals-cli --features {feature}"
        ),
        None => format!(
            "{scheme}:// is no kind of place; known are a directory, postgres:// and nats://"
        ),
    };
    Error::Unsupported { place: without_password(url), what }
}

/// The address without the passwords in it. There may be several, with commas between them.
pub(crate) fn without_password(url: &str) -> String {
    url.split(',').map(one_without_password).collect::<Vec<_>>().join(",")
}

fn one_without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{name}@{host}")
        }
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_a_scheme_is_a_directory() {
        for text in ["ledger", "./a:b", "C:\\ledger", "c://x", "a b://c", "/tmp/x"] {
            assert_eq!(Address::from(text), Address::Directory(text.into()), "{text}");
        }
        let Address::Server { scheme, .. } = Address::from("Postgres://db") else { panic!() };
        assert_eq!(scheme, "postgres");
    }

    #[test]
    fn passwords_are_left_out() {
        for (url, shown) in [
            ("postgres://ann:secret@db:5432/x?schema=s", "postgres://ann@db:5432/x?schema=s"),
            ("postgres://ann:a@b@db/x", "postgres://ann@db/x"),
            ("postgres://db/x@y", "postgres://db/x@y"),
            ("nats://token@host", "nats://token@host"),
            ("nats://a:x@one:1,nats://b:y@two:2?name=s", "nats://a@one:1,nats://b@two:2?name=s"),
            ("dir", "dir"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn schemes_that_are_unknown_or_left_out_are_told() {
        let text = |url: &str| Address::from(url).source().err().map(|error| error.to_string());
        assert!(text("mysql://db").is_some_and(|text| text.contains("no kind of place")));
    }
}
